"""Whether a request was surely made by a person or program on this machine itself."""

import ipaddress
import re

from starlette.datastructures import Headers

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/@]+)(:[0-9]{1,5})?")
# Any of these says that a proxy or a network of caches passed the request on for somebody else.
_PASSED_ON = {
    "cdn-loop",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "forwarded-for",
    "proxy-connection",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-proxyuser-ip",
    "x-real-ip",
}
_PASSED_ON_PREFIXES = (
    "cf-",
    "x-amz-cf-",
    "x-amzn-",
    "x-appengine-",
    "x-azure-",
    "x-envoy-",
    "x-forwarded",
    "x-original-",
)
_OWN_PAGES = ("same-origin", "none")  # of Sec-Fetch-Site; `same-site` is another port's page


def is_loopback(host: str) -> bool:
    """Whether an address, or the name `localhost`, means this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def why_not_local(client: str, headers: Headers, *, http_version: str = "1.1") -> str:
    """Why a request cannot be taken as made on this machine; empty when it can.

    A proxy on this machine passes on what strangers send, also from loopback. Most give themselves
    away by a header, and nginx (before 1.29.7) by HTTP/1.0, which programs of today do not speak.
    One that hides perfectly cannot be told from a local program: so whoever puts a proxy before
    the service needs a keys file.

    A web page in a browser on this machine also comes from loopback. Its `Origin` and
    `Sec-Fetch-Site` give it away, and where it reached us by a name of its own that it made point
    to 127.0.0.1 (DNS rebinding), the `Host` header does.
    """
    if not is_loopback(client):
        return "it came from another machine"
    names = [name.lower() for name in headers]
    if any(name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES) for name in names):
        return "a proxy passed it on"
    if http_version == "1.0":
        return "it speaks HTTP/1.0, as proxies do"
    hosts = headers.getlist("host")
    named = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if named is None or not is_loopback(named.group(1)):
        return "its Host header is not a name of this machine"
    origins = headers.getlist("origin")
    if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
        return "a web page from elsewhere sent it"
    if any(site not in _OWN_PAGES for site in headers.getlist("sec-fetch-site")):
        return "a web page from elsewhere sent it"
    return ""
