"""Recipe files: YAML that may extend others, with overrides from the command line."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from crossfix.errors import RecipeError
from training.recipe import Recipe

EXTENDS = "extends"


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file.

    Args:
        path: a YAML file; all keys of `Recipe` must be in it or in the files (relative to it)
            that `extends` names. Mappings are merged in order, everything else is replaced.
        overrides: `group.key=value`, values in YAML spelling.

    Raises:
        RecipeError: not readable, an unknown or missing key, or an impossible value.
    """
    content = _read(path, seen=())
    for override in overrides:
        _apply_override(content, override)
    return recipe_of(content, source=str(path))


def recipe_of(content: Mapping[str, Any], *, source: str) -> Recipe:
    """Checks a mapping and freezes it.

    Raises:
        RecipeError: naming the first wrong key.
    """
    try:
        return Recipe.model_validate(dict(content))
    except ValidationError as problem:
        first = problem.errors()[0]
        if first["type"] == "value_error":  # our own words, which name the keys
            raise RecipeError(
                f"recipe {source}: {first['ctx']['error']}", hint="compare with recipes/demo.yaml"
            ) from problem
        key = ".".join(_keys(content, first["loc"])) or "the whole"
        what = {"missing": "is missing", "extra_forbidden": "is not known"}.get(
            first["type"], f"is wrong: {first['msg']}"
        )
        raise RecipeError(
            f"recipe {source}: key {key} {what}", hint="compare with recipes/demo.yaml"
        ) from problem


def _keys(content: Any, place: Sequence[str | int]) -> list[str]:  # noqa: ANN401
    """A place in a recipe as people write it: without the names of kinds that pydantic adds."""
    keys: list[str] = []
    for part in place:
        if isinstance(content, Mapping) and part == content.get("kind"):
            continue
        keys.append(str(part))
        content = content.get(part) if isinstance(content, Mapping) else None
    return keys


def _read(path: Path, *, seen: tuple[Path, ...]) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _NumberLoader)
    except (OSError, yaml.YAMLError) as problem:
        raise RecipeError(
            f"recipe {path} cannot be read as YAML", hint="give an existing recipe file"
        ) from problem
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path} is not a mapping", hint="start from recipes/demo.yaml")
    if path in seen:
        raise RecipeError(f"recipe {path} extends itself", hint="break the circle of `extends`")
    parents = content.pop(EXTENDS, [])
    base: dict[str, Any] = {}
    for parent in [parents] if isinstance(parents, str) else parents:
        base = _merged(base, _read(path.parent / str(parent), seen=(*seen, path)))
    return _merged(base, content)


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings key by key; a changed `kind` starts its mapping anew."""
    for key, value in changes.items():
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and _same_kind(old, value):
            base[key] = _merged(old, value)
        else:
            base[key] = value
    return base


def _same_kind(old: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    return "kind" not in changes or changes["kind"] == old.get("kind")


def _apply_override(content: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    *groups, key = name.split(".")
    target: Any = content
    for group in groups:
        target = target.get(group) if isinstance(target, dict) else None
    if not separator or not isinstance(target, dict):
        raise RecipeError(
            f"override {override!r} names no key of the recipe", hint="write group.key=value"
        )
    target[key] = yaml.load(text, _NumberLoader)


class _NumberLoader(yaml.SafeLoader):
    """YAML 1.1 reads 3e-3 as text; people who type it mean a number."""


_NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
