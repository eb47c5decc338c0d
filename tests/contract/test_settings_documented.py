"""docs/settings.md names every setting with its default, and every setting has words."""

from pathlib import Path

import pytest

from service.documents import settings_text
from service.settings import Settings

COMMITTED = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text() == settings_text(), "run: python -m service.documents docs"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    assert f"`CROSSFIX_{name.upper()}`" in COMMITTED.read_text()
    description = Settings.model_fields[name].description
    assert description
    assert description.endswith(".")
