"""Which build of the service this is."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def service_version() -> str:
    """The installed distribution's version, or `unknown` from a bare checkout."""
    try:
        return version("crossfix")
    except PackageNotFoundError:
        return "unknown"
