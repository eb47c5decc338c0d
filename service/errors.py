"""From errors to answers: the one table of HTTP statuses and the one JSON shape.

Every failure of the service is ``{"error": {"code", "message", "hint", "request_id"}}``.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from crossfix import errors as contract
from crossfix.errors import CrossfixError


class UnsupportedBody(CrossfixError):
    """The body's content type cannot carry a photo."""

    code = "body_type_unsupported"


class MalformedBody(CrossfixError):
    """The multipart body cannot be parsed."""

    code = "body_malformed"


class BodyTooLarge(CrossfixError):
    """The body is longer than the service reads."""

    code = "body_too_large"


class UploadTooSlow(CrossfixError):
    """The body did not arrive in time."""

    code = "upload_too_slow"


class NotReady(CrossfixError):
    """No gallery is loaded yet, or the service is stopping."""

    code = "not_ready"

    retry_after_s: float = 5.0


class Overloaded(CrossfixError):
    """The photo was not accepted because it would wait too long.

    Attributes:
        reason: which limit was hit; a metric label.
        retry_after_s: when it is worth trying again.
    """

    code = "overloaded"

    def __init__(self, message: str, *, reason: str, retry_after_s: float) -> None:
        super().__init__(message, hint="try again after the time in Retry-After, or add a replica")
        self.reason = reason
        self.retry_after_s = retry_after_s


class DeadlineExceeded(CrossfixError):
    """The answer was not ready in time."""

    code = "deadline_exceeded"


class ClientGone(CrossfixError):
    """The client closed the connection before the answer."""

    code = "client_gone"


class AddressUnavailable(CrossfixError):
    """The service cannot listen where it was told to."""

    code = "address_unavailable"


CLIENT_CLOSED_REQUEST = 499  # nginx's name for it; nobody is left to read it but logs and metrics

STATUS_OF: dict[type[CrossfixError], int] = {
    contract.EmptyImage: HTTPStatus.BAD_REQUEST,
    contract.UnsupportedImageFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    contract.UnreadableImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    contract.ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    contract.ImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    contract.InvalidParameter: HTTPStatus.UNPROCESSABLE_ENTITY,
    contract.TileNotFound: HTTPStatus.NOT_FOUND,
    UnsupportedBody: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    MalformedBody: HTTPStatus.BAD_REQUEST,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UploadTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    ClientGone: CLIENT_CLOSED_REQUEST,
    CrossfixError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

INTERNAL_MESSAGE = "the service failed to answer; the request id finds the cause in its log"


def status_of(error: CrossfixError) -> int:
    """The HTTP status of an error: that of its nearest listed class."""
    return next(int(STATUS_OF[kind]) for kind in type(error).__mro__ if kind in STATUS_OF)


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
    if isinstance(error, Overloaded | NotReady):
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
