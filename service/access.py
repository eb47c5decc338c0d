"""Who asks, and whether they may: the one place that routes get their callers from."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request

Scope = Literal["localize", "admin"]


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: of the API key; empty without one.
        rate_key: whom the rate limit counts: the key's id, or the client's address.
    """

    name: str
    rate_key: str


async def may_localize(request: Request) -> Caller:
    """For routes that read: photos, gallery, pictures.

    Raises:
        Unauthorized: a key is needed and none, or a wrong one, was given.
        Forbidden: the key has not the scope.
    """
    host = request.client.host if request.client else ""
    return Caller(name="", rate_key=host)


async def may_administer(request: Request) -> Caller:
    """For routes that change something. Errors as :func:`may_localize`."""
    return await may_localize(request)


Reader = Annotated[Caller, Depends(may_localize)]
Admin = Annotated[Caller, Depends(may_administer)]
