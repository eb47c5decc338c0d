"""The tables of docs/scale.md are those the arithmetic gives."""

import re
from pathlib import Path

import pytest

from benchmarks import scale_table

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scale.md"


def test_the_document_holds_the_computed_tables():
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.search(
        r"<!-- computed by benchmarks.scale_table -->\n(.*?)\n<!-- end -->", text, re.DOTALL
    )
    assert found, "docs/scale.md has lost its markers"
    assert found[1] == f"{scale_table.size_table()}\n\n{scale_table.time_table()}"


def test_bytes_add_up_to_what_a_gallery_is_made_of():
    per_tile = 2 * 1024 + scale_table.PICTURE_BYTES + scale_table.ROW_BYTES
    assert scale_table.gallery_bytes(10**5) == 10**5 * per_tile
    assert scale_table.codes_bytes(10**5) == 0
    assert scale_table.codes_bytes(10**9) / 10**9 == pytest.approx(144, rel=0.1)
    assert scale_table.building_bytes(10**7) == 2 * scale_table.gallery_bytes(10**7)
    assert scale_table.building_bytes(10**9) == 3 * scale_table.gallery_bytes(10**9)
    assert scale_table.shard_count(scale_table.SHARD_TILES) == 1
    assert scale_table.shard_count(scale_table.SHARD_TILES + 1) == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0068, "6.8 ms"), (1.2, "1.2 s"), (119, "120 s"), (3600, "60 min"), (86400 * 3, "3.0 days")],
)
def test_durations_are_said_in_fitting_units(value, said):
    assert scale_table._duration(value) == said


def test_numbers_have_two_digits():
    assert [scale_table._short(value) for value in (0, 0.0123, 1.25, 17.4, 1234)] == [
        "0", "0.012", "1.2", "17", "1,200",
    ]  # fmt: skip
