"""Conditional requests: answers that a client already has are not sent again (RFC 9110, 13)."""

import hashlib

from fastapi import Request
from fastapi.responses import Response


def tag_of(*parts: object) -> str:
    """A strong entity tag over what an answer is made of."""
    text = "\0".join(str(part) for part in parts)
    return f'"{hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether `If-None-Match` names this tag; weak comparison, as for GET and HEAD."""
    given = ",".join(request.headers.getlist("if-none-match"))
    names = {name.strip().removeprefix("W/") for name in given.split(",")}
    return tag in names or "*" in names


def not_modified(headers: dict[str, str]) -> Response:
    """304 with the headers that 200 would have had."""
    return Response(status_code=304, headers=headers)
