"""From errors to answers: the one JSON shape of every failure.

``{"error": {"code", "message", "hint", "request_id"}}``: no trace, no path, no library's words.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from crossfix.errors import CrossfixError, InvalidParameter
from service.errors import (
    INTERNAL_MESSAGE,
    ClientGone,
    MalformedBody,
    NotReady,
    Overloaded,
    RateLimited,
    ShardsLost,
    Unauthorized,
    status_of,
)
from service.wording import named_reason

LONGEST_TEXT = 500  # characters; parameters' names come from the caller


def error_body(code: str, message: str, hint: str, request_id: str) -> dict[str, Any]:
    """The one JSON shape of every failure."""
    return {
        "error": {
            "code": code,
            "message": _sendable(message),
            "hint": _sendable(hint),
            "request_id": request_id,
        }
    }


def error_response(
    status: int,
    code: str,
    message: str,
    hint: str,
    *,
    request_id: str = "",
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An answer in that shape."""
    body = error_body(code, message, hint, request_id)
    return JSONResponse(body, status_code=status, headers=headers)


def _sendable(text: str) -> str:
    """Short, and without the half characters that JSON can smuggle in and UTF-8 cannot hold."""
    short = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    return short.encode("utf-8", "replace").decode()


def install_handlers(app: FastAPI) -> None:
    """Makes every failure of the app answer in the one shape."""
    app.add_exception_handler(CrossfixError, _answer_crossfix_error)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_error)


def internal_error_response(request_id: str) -> JSONResponse:
    """The answer to anything unforeseen: no trace, no path, no library's words."""
    return error_response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        INTERNAL_MESSAGE,
        "",
        request_id=request_id,
    )


def stopping_response(request_id: str) -> JSONResponse:
    """The answer to a request that the stopping service no longer waits for."""
    return error_response(
        HTTPStatus.SERVICE_UNAVAILABLE,
        NotReady.code,
        "the service is stopping",
        "use another replica",
        request_id=request_id,
        headers={"Retry-After": str(math.ceil(NotReady.retry_after_s))},
    )


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


async def _answer_crossfix_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, CrossfixError):
        raise TypeError("registered for CrossfixError only")
    return answer_to(error, request)


def answer_to(error: CrossfixError, request: Request) -> JSONResponse:
    """The answer to a named error, which the request's log line then names too."""
    status, request_id = status_of(error), _request_id(request)
    request.state.error = error
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal_error_response(request_id)  # such messages name files on our disk
    return error_response(
        status,
        error.code,
        str(error),
        error.hint,
        request_id=request_id,
        headers=_headers_of(error),
    )


def _headers_of(error: CrossfixError) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        why = "" if error.reason == "missing" else ', error="invalid_token"'  # RFC 6750, 3
        return {"WWW-Authenticate": f'Bearer realm="crossfix"{why}'}
    if isinstance(error, Overloaded | NotReady | RateLimited | ShardsLost):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    return {}


async def _answer_validation_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise TypeError("registered for RequestValidationError only")
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        problem = MalformedBody("the body is not valid JSON", hint="see /openapi.json")
        return answer_to(problem, request)
    name = ".".join(str(part) for part in first["loc"][1:])[:80]
    refused = InvalidParameter(
        named_reason(name, first), hint="see /openapi.json for every parameter"
    )
    return answer_to(refused, request)


async def _answer_nobody(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    return answer_to(ClientGone("the client closed the connection"), request)


async def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException only")
    # FastAPI makes a 400 of all that happens while it reads a JSON body: too long, too slow, gone.
    if isinstance(error.__cause__, CrossfixError):
        return answer_to(error.__cause__, request)
    if isinstance(error.__cause__, ClientDisconnect):
        return await _answer_nobody(request, error)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return answer_to(MalformedBody("the body cannot be read", hint="send JSON"), request)
    phrase = HTTPStatus(error.status_code).phrase
    return error_response(
        error.status_code,
        phrase.lower().replace(" ", "_").replace("-", "_"),
        phrase.lower(),
        "see /openapi.json for every route",
        request_id=_request_id(request),
        headers=_allowing(request, error),
    )


def _allowing(request: Request, error: HTTPException) -> Mapping[str, str] | None:
    """Its headers; `Allow` names the methods of all routes of the path, not of the first only."""
    if error.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
        return error.headers
    scope = dict(request.scope)
    methods: set[str] = set()
    for route in request.app.state.all_routes:
        if route.matches(scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    if "GET" in methods:
        methods.add("HEAD")
    return {"Allow": ", ".join(sorted(methods))} if methods else error.headers
