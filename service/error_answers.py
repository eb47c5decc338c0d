"""From errors to answers: the one JSON shape of every failure.

``{"error": {"code", "message", "hint", "request_id"}}``: no trace, no path, no library's words.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from crossfix.errors import CrossfixError
from service.errors import NotReady, Overloaded, RateLimited, Unauthorized, status_of

INTERNAL_MESSAGE = "the service failed to answer; the request id finds the cause in its log"


def error_body(code: str, message: str, hint: str, request_id: str) -> dict[str, Any]:
    """The one JSON shape of every failure."""
    return {"error": {"code": code, "message": message, "hint": hint, "request_id": request_id}}


def install_handlers(app: FastAPI) -> None:
    """Makes every failure of the app answer in the one shape."""
    app.add_exception_handler(CrossfixError, _answer_crossfix_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_error)


def internal_error_response(request_id: str) -> JSONResponse:
    """The answer to anything unforeseen: no trace, no path, no library's words."""
    body = error_body("internal_error", INTERNAL_MESSAGE, "", request_id)
    return JSONResponse(body, status_code=HTTPStatus.INTERNAL_SERVER_ERROR)


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


async def _answer_crossfix_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, CrossfixError):
        raise TypeError("registered for CrossfixError only")
    status, request_id = status_of(error), _request_id(request)
    request.state.error = error
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal_error_response(request_id)  # such messages name files on our disk
    headers = {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Overloaded | NotReady | RateLimited):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    body = error_body(error.code, str(error), error.hint, request_id)
    return JSONResponse(body, status_code=status, headers=headers)


async def _answer_validation_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise TypeError("registered for RequestValidationError only")
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    reason = str(first["msg"]).removeprefix("Value error, ")
    message = f"{name}: {reason}" if name else reason
    body = error_body(
        "parameter_invalid", message, "see /openapi.json for every parameter", _request_id(request)
    )
    return JSONResponse(body, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


async def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException only")
    phrase = HTTPStatus(error.status_code).phrase
    body = error_body(
        phrase.lower().replace(" ", "_").replace("-", "_"),
        phrase.lower(),
        "see /openapi.json for every route",
        _request_id(request),
    )
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)
