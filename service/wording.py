"""What is wrong with a value, in our own plain words instead of a library's."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

_NUMBER, _WHOLE = "must be a number", "must be a whole number"
_FLAG, _TEXT, _LIST, _KEYS = (
    "must be true or false",
    "must be text",
    "must be a list",
    "must be an object with keys and values",
)
_AT_MOST, _AT_LEAST = "must be at most {le}", "must be at least {ge}"
_LONG, _SHORT = "is longer than {max_length}", "is shorter than {min_length}"
# By pydantic's type of the error; braces are filled from its context.
SENTENCES: dict[str, str] = {
    "bool_parsing": _FLAG,
    "bool_type": _FLAG,
    "date_from_datetime_parsing": "must be a date such as 2026-01-31",
    "date_parsing": "must be a date such as 2026-01-31",
    "date_type": "must be a date such as 2026-01-31",
    "datetime_parsing": "must be a time such as 2026-01-31T12:00:00Z",
    "dict_type": _KEYS,
    "enum": "must be one of {expected}",
    "extra_forbidden": "is not known here",
    "finite_number": "must be a finite number",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "greater_than": "must be more than {gt}",
    "greater_than_equal": _AT_LEAST,
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "has too many digits",
    "int_type": _WHOLE,
    "less_than": "must be less than {lt}",
    "less_than_equal": _AT_MOST,
    "list_type": _LIST,
    "literal_error": "must be {expected}",
    "missing": "is needed",
    "model_attributes_type": _KEYS,
    "model_type": _KEYS,
    "path_type": "must be a path",
    "string_pattern_mismatch": "has characters or a form that are not allowed",
    "string_too_long": f"{_LONG} characters",
    "string_too_short": f"{_SHORT} characters",
    "string_type": _TEXT,
    "string_unicode": "is not text in UTF-8",
    "too_long": f"{_LONG} items",
    "too_short": f"{_SHORT} items",
    "tuple_type": _LIST,
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "needs the key {discriminator}",
}
UNKNOWN = "is not valid"


def plain_reason(error: ErrorDetails | Mapping[str, Any]) -> str:
    """What follows a value's name, for one of the errors that pydantic lists.

    Sentences that our own validators raise as `ValueError` are passed on as they are.
    """
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context.get("error", "")) or str(error["msg"]).removeprefix("Value error, ")
    try:
        return SENTENCES.get(error["type"], UNKNOWN).format_map(context)
    except (KeyError, IndexError, ValueError):
        return UNKNOWN


def named_reason(name: str, error: ErrorDetails | Mapping[str, Any]) -> str:
    """`name: reason`, or the reason alone for several values that do not fit together."""
    reason = plain_reason(error)
    if name:
        return f"{name}: {reason}"
    return reason if error["type"] == "value_error" else f"the whole {reason}"
