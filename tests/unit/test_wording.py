"""Every sentence about a wrong value is our own."""

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from service.wording import UNKNOWN, named_reason, plain_reason


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    whole: int = Field(default=1, ge=1, le=5)
    word: str = Field(default="a", pattern="^[a-z]+$", max_length=3)
    kind: Literal["one", "two"] = "one"
    flag: bool = True
    ours: str = ""

    @field_validator("ours")
    @classmethod
    def _says_so(cls, value: str) -> str:
        if value:
            raise ValueError("this is {ours}")
        return value


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"whole": "x"}, "whole: must be a whole number"),
        ({"whole": 9}, "whole: must be at most 5"),
        ({"whole": 0}, "whole: must be at least 1"),
        ({"word": "A"}, "word: has characters or a form that are not allowed"),
        ({"word": "aaaa"}, "word: is longer than 3 characters"),
        ({"kind": "three"}, "kind: must be 'one' or 'two'"),
        ({"flag": "perhaps"}, "flag: must be true or false"),
        ({"other": 1}, "other: is not known here"),
        ({"ours": "x"}, "ours: this is {ours}"),
    ],
)
def test_plain_words(given, words) -> None:
    with pytest.raises(ValidationError) as refused:
        Model(**given)
    first = refused.value.errors()[0]
    assert named_reason(str(first["loc"][0]), first) == words


def test_what_is_not_in_the_table_is_not_valid() -> None:
    assert plain_reason({"type": "something_new", "msg": "Library words"}) == UNKNOWN
    assert plain_reason({"type": "less_than_equal", "msg": "Library words"}) == UNKNOWN
