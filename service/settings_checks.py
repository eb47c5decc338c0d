"""Settings that are each valid and together unsafe or contradictory: refused at the start.

Every check returns one sentence that names the settings and says what to do, or nothing.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from service.loopback import is_loopback

if TYPE_CHECKING:
    from service.settings import Settings

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
SHORTEST_PREFIX = 7  # 10.0.0.0/8 and fc00::/7, the widest private networks, may be named
_MAP_HOST = re.compile(r"[A-Za-z0-9.\-\[\]:]+")
_OF_KUBERNETES = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
_LINKS = ("tcp://", "udp://", "sctp://")
_MAP_PLACES = {"z", "x", "y"}


def first_contradiction(settings: "Settings") -> str:
    """The first sentence of all checks that need no disk; empty when all is well."""
    return next((sentence for check in CHECKS if (sentence := check(settings))), "")


def _rebuild_needs_keys(settings: "Settings") -> str:
    if not may_rebuild(settings) or settings.keys or is_loopback(settings.host):
        return ""
    return (
        f"rebuild_roots or rebuild_recipes is set while host {settings.host} is reachable from "
        "other machines and there is no keys file; set keys, or listen on 127.0.0.1"
    )


def _keeping_needs_keys(settings: "Settings") -> str:
    if settings.keep_images is None or settings.readers_need_key or is_loopback(settings.host):
        return ""
    return (
        f"keep_images would keep photos of strangers: host {settings.host} is reachable from other "
        "machines and sending photos needs no key; set keys and leave localize_key on"
    )


def _keys_are_there(settings: "Settings") -> str:
    if settings.metrics_key and settings.keys is None:
        return "metrics_key asks for a key to read /metrics but there is no keys file; set keys"
    return ""


def _host_is_named(settings: "Settings") -> str:
    if settings.host.strip():
        return ""
    return "host is empty, which would listen everywhere; say 127.0.0.1, or 0.0.0.0 if you mean it"


def _origins_are_origins(settings: "Settings") -> str:
    for origin in settings.cors_origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            return (
                f"cors_origins: {origin!r} is not an origin; write it as browsers do, "
                "https://example.org without a path or a slash at the end"
            )
    return ""


def _not_every_origin(settings: "Settings") -> str:
    if "*" not in settings.cors_origins:
        return ""
    if len(settings.cors_origins) > 1:
        return "cors_origins has * beside other origins; * is all of them, so name one or the other"
    if settings.keys is not None:
        return (
            "cors_origins is * while there are API keys: pages that nobody here knows would ask "
            "people for theirs; name the origins of the pages that are meant to have them"
        )
    if is_loopback(settings.host):
        return (
            f"cors_origins is * while the service is private to this machine (host "
            f"{settings.host}): any web page opened on it could read the gallery; name the origins"
        )
    return ""


def _proxies_are_few(settings: "Settings") -> str:
    v4: list[ipaddress.IPv4Network] = []
    v6: list[ipaddress.IPv6Network] = []
    for word in settings.trusted_proxies:
        try:
            network = ipaddress.ip_network(word, strict=False)
        except ValueError:
            return f"trusted_proxies: {word!r} is not an address or network, such as 10.0.0.0/24"
        if isinstance(network, ipaddress.IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    # Put together first: two halves of everything are everything.
    widths = [network.prefixlen for network in ipaddress.collapse_addresses(v4)]
    widths += [network.prefixlen for network in ipaddress.collapse_addresses(v6)]
    if any(width < SHORTEST_PREFIX for width in widths):
        return (
            "trusted_proxies: together they are every address or a large part of all, so that "
            "anybody could claim to be anybody; name your proxies"
        )
    return ""


def _kept_images_stay_apart(settings: "Settings") -> str:
    if settings.keep_images is None:
        return ""
    others: dict[str, Iterable[Path | None]] = {
        "gallery": [settings.gallery],
        "encoder": [settings.encoder],
        "jobs": [settings.jobs],
        "rebuild_roots": settings.rebuild_roots,
        "rebuild_recipes": [settings.rebuild_recipes],
        "keys": [settings.keys],
    }
    for name, paths in others.items():
        if any(path is not None and _overlap(settings.keep_images, path) for path in paths):
            return (
                f"keep_images and {name} lie one inside the other; photos that people send need a "
                "folder of their own"
            )
    return ""


def _base_map_is_usable(settings: "Settings") -> str:
    url = settings.map_url
    if not url:
        return "map_attribution is set without map_url" if settings.map_attribution else ""
    missing = [place for place in ("{z}", "{x}", "{y}") if place not in url]
    if missing:
        return (
            f"map_url has no {missing[0]}; write it like https://example.org/{{z}}/{{x}}/{{y}}.png"
        )
    if unknown := sorted(set(re.findall(r"\{([^{}]*)\}", url)) - _MAP_PLACES):
        return f"map_url has {{{unknown[0]}}}; only {{z}}, {{x}} and {{y}} are filled in"
    try:
        parts = urlsplit(url)
        scheme, has_user = parts.scheme, parts.username is not None
    except ValueError:
        scheme, has_user = "", False
    if scheme not in ("http", "https"):
        return "map_url is not an address of http or https"
    if has_user:
        return "map_url has a user name in it, and every visitor of the page is sent the address"
    if not map_origin(url):
        return "map_url names no host, or one that is not written in plain letters and digits"
    if not settings.map_attribution.strip():
        return "map_url is set without map_attribution; say whom to credit for the base map"
    return ""


def _traces_have_an_address(settings: "Settings") -> str:
    scheme = settings.otlp_endpoint.partition("://")[0]
    if not settings.otlp_endpoint or scheme in ("http", "https"):
        return ""
    return "otlp_endpoint is not an address of http or https"


def _photos_may_finish(settings: "Settings") -> str:
    if settings.shutdown_s >= settings.deadline_s:
        return ""
    return (
        f"shutdown_s ({settings.shutdown_s:g}) is shorter than deadline_s "
        f"({settings.deadline_s:g}): a stop would cut photos off that still have time; raise it"
    )


def _batches_hold_a_photo(settings: "Settings") -> str:
    if settings.max_batch_body_bytes >= settings.max_body_bytes:
        return ""
    return (
        f"max_batch_body_bytes ({settings.max_batch_body_bytes}) is less than max_body_bytes "
        f"({settings.max_body_bytes}), so that a batch could not hold one photo; raise it"
    )


def _ray_address_has_an_engine(settings: "Settings") -> str:
    if settings.ray_address and settings.engine != "ray":
        return f"ray_address is set while engine is {settings.engine}; set engine to ray, too"
    return ""


def _partial_answers_come_in_time(settings: "Settings") -> str:
    """Galleries of one piece wait for no shard, so that only who names the setting is told."""
    is_used = settings.engine == "ray" or "shard_timeout_s" in settings.model_fields_set
    if not is_used or settings.shard_timeout_s < settings.deadline_s:
        return ""
    return (
        f"shard_timeout_s ({settings.shard_timeout_s:g}) is not below deadline_s "
        f"({settings.deadline_s:g}): while a shard hangs, every photo would be answered 504 in "
        "place of a partial answer; lower it"
    )


CHECKS: tuple[Callable[["Settings"], str], ...] = (
    _host_is_named,
    _rebuild_needs_keys,
    _keeping_needs_keys,
    _keys_are_there,
    _origins_are_origins,
    _not_every_origin,
    _proxies_are_few,
    _kept_images_stay_apart,
    _base_map_is_usable,
    _traces_have_an_address,
    _photos_may_finish,
    _batches_hold_a_photo,
    _ray_address_has_an_engine,
    _partial_answers_come_in_time,
)


def map_origin(map_url: str) -> str:
    """A base map's origin, as the page's policy must name it; empty when it has none."""
    try:
        parts = urlsplit(map_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if _MAP_HOST.fullmatch(parts.netloc) else ""


def unknown_variable(environment: Mapping[str, str], names: Collection[str]) -> str:
    """A sentence about the first variable that looks like a setting and is none; else empty.

    What Kubernetes injects for Services whose name begins with `crossfix` is passed over.
    """
    known = {f"CROSSFIX_{name.upper()}" for name in names}
    for variable in sorted(environment):
        given = variable.upper()
        if not given.startswith("CROSSFIX_") or given in known:
            continue
        if _OF_KUBERNETES.search(given) or environment[variable].startswith(_LINKS):
            continue
        nearest = difflib.get_close_matches(given, sorted(known), n=1, cutoff=0.0)
        return f"{variable} is not a setting; the nearest is {nearest[0]}"
    return ""


def may_rebuild(settings: "Settings") -> bool:
    """Whether rebuilds over HTTP are switched on."""
    return bool(settings.rebuild_roots) or settings.rebuild_recipes is not None


def _overlap(one: Path, other: Path) -> bool:
    first, second = one.resolve(), other.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)
