"""Accept headers as clients really send them."""

import pytest

from service.http.content_negotiation import preferred_type

JSON, GEOJSON = "application/json", "application/geo+json"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        (JSON, JSON),
        (GEOJSON, GEOJSON),
        ("Application/Geo+JSON", GEOJSON),
        (f"{GEOJSON}, */*", GEOJSON),
        (f"*/*, {GEOJSON}", GEOJSON),
        (f"{GEOJSON};q=0.5, {JSON}", JSON),
        (f"{GEOJSON};q=0.5, */*;q=0.4", GEOJSON),
        (f"{GEOJSON};q=0.5, */*;q=0.6", JSON),
        (f"{JSON};q=0, */*", GEOJSON),
        (f"{GEOJSON};q=0, application/*", JSON),
        (f"application/*;q=0.9, {JSON};q=0.1", GEOJSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
        ("text/html", JSON),
        (f"{GEOJSON};q=many", JSON),
        (f"{GEOJSON};q=nan", JSON),
        (f"{GEOJSON}; charset=utf-8; Q=1", GEOJSON),
        (",,;;,=;q", JSON),
        (f"x{GEOJSON}", JSON),
    ],
)
def test_the_preferred_type(accept, expected):
    assert preferred_type(accept, (JSON, GEOJSON)) == expected
