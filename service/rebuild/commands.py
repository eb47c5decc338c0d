"""From an order to the builder's command line and environment."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import service
from service.errors import Forbidden
from service.rebuild.locations import find_location, find_recipe
from service.rebuild.orders import OrderedSource, RebuildOrder
from service.settings import Settings

DEFAULT_OVERLAP = 0.5
_PASSED_ON = frozenset(
    "PATH HOME LANG LANGUAGE LC_ALL LC_CTYPE TZ TMPDIR LD_LIBRARY_PATH PYTHONPATH PYTHONHOME "
    "VIRTUAL_ENV CUDA_VISIBLE_DEVICES CUDA_HOME NVIDIA_VISIBLE_DEVICES "
    "NVIDIA_DRIVER_CAPABILITIES PROJ_DATA PROJ_LIB GDAL_DATA GDAL_CACHEMAX SYSTEMROOT".split()
)
_OF_THE_NETWORK = frozenset(
    "HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY SSL_CERT_FILE SSL_CERT_DIR XDG_CACHE_HOME".split()
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GDAL_NUM_THREADS")


@dataclass(frozen=True)
class Plan:
    """An order that was checked.

    Attributes:
        verb: `build` or `update`.
        recipe: a trusted recipe's file, if one was named.
        content: what is written for the builder otherwise; None with a recipe.
    """

    verb: str
    recipe: Path | None
    content: dict[str, Any] | None


def make_plan(order: RebuildOrder, settings: Settings) -> Plan:
    """Checks what an order names.

    Raises:
        Forbidden: the setting that it needs is not set; the sentence names it.
        InvalidParameter: a location or recipe that is not there.
    """
    if order.recipe is not None:
        if settings.rebuild_recipes is None:
            raise _switched_off("rebuild_recipes", "recipes cannot be named")
        return Plan("build", find_recipe(order.recipe, settings.rebuild_recipes), None)
    if not settings.rebuild_roots:
        raise _switched_off("rebuild_roots", "imagery cannot be named, nor the gallery updated")
    if order.update is not None:
        change = order.update
        content: dict[str, Any] = {
            "add": [_place(source, settings) for source in change.add],
            "remove": list(change.remove),
            "retire": list(change.retire),
            "reread": change.reread,
        }
        return Plan("update", None, content)
    assert order.sources is not None
    content = {
        "sources": [_place(source, settings) for source in order.sources],
        "tile_sizes_m": list(order.tile_sizes_m),
        "overlap": DEFAULT_OVERLAP if order.overlap is None else order.overlap,
        **({} if order.area is None else {"area": order.area}),
    }
    return Plan("build", None, content)


def require_switched_on(settings: Settings) -> None:
    """Refuses where no rebuild can ever be.

    Raises:
        Forbidden: neither setting is set.
    """
    if not settings.rebuild_roots and settings.rebuild_recipes is None:
        raise _switched_off("rebuild_roots or rebuild_recipes", "the gallery cannot be rebuilt")


def _switched_off(setting: str, what: str) -> Forbidden:
    return Forbidden(
        f"{what}: the setting {setting} is not set",
        reason="rebuild_off",
        hint=f"start the service with {setting}",
    )


def _place(source: OrderedSource, settings: Settings) -> dict[str, Any]:
    told = source.model_dump(exclude_defaults=True)
    return {**told, "location": str(find_location(source.location, settings.rebuild_roots))}


def builder_command(plan: Plan, order_file: Path, settings: Settings) -> list[str]:
    """The words of the builder's process."""
    gallery = "--out" if plan.verb == "build" else "--gallery"
    told = "--recipe" if plan.verb == "build" else "--changes"
    words: list[object] = [
        sys.executable, "-P", "-m", "index_builder", plan.verb,
        "--encoder", settings.encoder.absolute(),
        gallery, settings.gallery.absolute(),
        told, (plan.recipe or order_file).absolute(),
        "--keep", settings.rebuild_keep,
        "--threads", settings.rebuild_threads,
        "--device", settings.device,
        "--progress", "json",
        "--stop-with-stdin",
    ]  # fmt: skip
    if plan.recipe is None:
        for root in settings.rebuild_roots:
            words += ["--within", root.resolve()]
    return [str(word) for word in words]


def builder_environment(
    plan: Plan, settings: Settings, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What the builder needs of our environment: no keys, no tokens, no settings of ours.

    Proxies, whose addresses may hold passwords, only where an operator's recipe may fetch tiles.
    """
    ours = os.environ if environment is None else environment
    allowed = _PASSED_ON | (_OF_THE_NETWORK if plan.recipe is not None else frozenset())
    passed = {name: value for name, value in ours.items() if name.upper() in allowed}
    # So that a checkout works from any folder; where all is installed it names site-packages.
    code = str(Path(service.__file__).resolve().parents[1])
    known = [passed["PYTHONPATH"]] if passed.get("PYTHONPATH") else []
    limits = dict.fromkeys(_THREADS, str(settings.rebuild_threads))
    return {
        **passed,
        **limits,
        "PYTHONPATH": os.pathsep.join([code, *known]),
        "PYTHONUNBUFFERED": "1",
    }
