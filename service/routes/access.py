"""Who asks, and whether they may: the one place that routes get their callers from.

With a keys file, routes that read need a key of scope `localize` (unless `localize_key` is off)
and routes that change something one of scope `admin`. Without one, reading is open and changing is
for requests made on the very machine of a service that listens on loopback only and has no proxy
before it: behind a proxy, changing needs a keys file.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers

from service.errors import Forbidden, Unauthorized
from service.guard.key_file import Scope
from service.guard.key_ring import SEND_IT
from service.guard.rate_limit import address_key
from service.loopback import is_loopback, why_not_local
from service.runtime import Runtime

BEARER, KEY_HEADER = "apiKeyBearer", "apiKeyHeader"
# These two only describe the keys in the OpenAPI document; `given_key` reads the headers.
_Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Security(HTTPBearer(scheme_name=BEARER, auto_error=False, description="An API key.")),
]
_KeyHeader = Annotated[
    str | None,
    Security(
        APIKeyHeader(
            name="X-Api-Key",
            scheme_name=KEY_HEADER,
            auto_error=False,
            description="The same, where a proxy needs Authorization for itself.",
        )
    ),
]


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: of the API key; empty without one.
        rate_key: whom the rate limit counts: the key's id, or the client's address.
    """

    name: str
    rate_key: str


async def may_localize(request: Request, _bearer: _Bearer, _header: _KeyHeader) -> Caller:
    """For routes that read: photos, gallery, pictures.

    Raises:
        Unauthorized: a key is needed and none, or a wrong one, was given.
        Forbidden: the key has not the scope.
    """
    runtime: Runtime = request.app.state.runtime
    return _reader(request, runtime, needs_key=runtime.settings.localize_key)


async def may_administer(request: Request, _bearer: _Bearer, _header: _KeyHeader) -> Caller:
    """For routes that change something. Errors as :func:`may_localize`."""
    runtime: Runtime = request.app.state.runtime
    if runtime.keys is not None:
        return _holder(request, runtime, "admin")
    if not is_loopback(runtime.settings.host):
        why = "the service listens on more than this machine's loopback address"
    elif runtime.settings.trusted_proxies:
        why = "the setting trusted_proxies says that a proxy stands before the service"
    else:
        version = str(request.scope.get("http_version", "1.1"))
        why = why_not_local(_address(request), request.headers, http_version=version)
    if why:
        raise Forbidden(
            f"without API keys this is for requests made on the service's own machine: {why}",
            reason="not_local",
            hint="give the service a keys file (see python -m service.keys) and send an admin key; "
            "behind a proxy there is no other way",
        )
    return _stranger(request)


async def may_read_metrics(request: Request, _bearer: _Bearer, _header: _KeyHeader) -> Caller:
    """For /metrics: open, or for any key where `metrics_key` is set. Errors as above."""
    runtime: Runtime = request.app.state.runtime
    return _reader(request, runtime, needs_key=runtime.settings.metrics_key)


Reader = Annotated[Caller, Depends(may_localize)]
Admin = Annotated[Caller, Depends(may_administer)]
MetricsReader = Annotated[Caller, Depends(may_read_metrics)]


def given_key(headers: Headers) -> str | None:
    """The API key a request carries; None without one. Other schemes than Bearer are not ours.

    Raises:
        Unauthorized: two different ones, or an empty one.
    """
    given = set(headers.getlist("x-api-key"))
    for value in headers.getlist("authorization"):
        scheme, _, rest = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            given.add(rest.strip())
    if not given:
        return None
    if len(given) > 1 or "" in given:
        raise Unauthorized("the API key is empty or there are two", reason="malformed")
    return given.pop()


def _reader(request: Request, runtime: Runtime, *, needs_key: bool) -> Caller:
    if runtime.keys is None or (not needs_key and given_key(request.headers) is None):
        return _stranger(request)
    return _holder(request, runtime, "localize")


def _holder(request: Request, runtime: Runtime, scope: Scope) -> Caller:
    key = given_key(request.headers)
    if key is None or runtime.keys is None:
        raise Unauthorized("this needs an API key", reason="missing", hint=SEND_IT)
    record = runtime.keys.find(key)
    if not record.opens(scope):
        raise Forbidden(
            f"this API key has not the scope {scope}",
            reason="scope",
            hint=f"ask for a key of scope {scope}",
        )
    return _known(request, Caller(name=record.name, rate_key=f"key:{record.id}"))


def _stranger(request: Request) -> Caller:
    return _known(request, Caller(name="", rate_key=address_key(_address(request))))


def _known(request: Request, caller: Caller) -> Caller:
    request.state.caller = caller  # the log line names the key
    return caller


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
