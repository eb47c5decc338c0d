"""JSON bodies of routes that change something, read by hand.

FastAPI reads a body before it asks who sent it; here nothing is read for strangers.
"""

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from crossfix.errors import InvalidParameter
from service.errors import MalformedBody, UnsupportedBody
from service.wording import named_reason

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_json_body(request: Request) -> bytes:
    """The body; its length is bounded by the middleware. Empty where none was sent.

    Raises:
        UnsupportedBody: not `application/json`, so that no form of a web page can ask.
        BodyTooLarge: it is too long.
    """
    body = bytearray()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    async for chunk in request.stream():
        body += chunk
        if body and kind != "application/json":
            raise UnsupportedBody(
                f"this is asked for as application/json, not {kind or 'without a type'}",
                hint="send the header Content-Type: application/json",
            )
    return bytes(body)


def parse_json(body: bytes, model: type[ModelT]) -> ModelT:
    """A model from its JSON.

    Raises:
        MalformedBody: not JSON.
        InvalidParameter: another form than the model's; names the key.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise MalformedBody("the body is not JSON", hint="see /openapi.json") from None
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidParameter(
            named_reason(where, first), hint="see /openapi.json for every key"
        ) from None
