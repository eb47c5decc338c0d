"""docs/openapi.json is what the service really offers."""

import json
from pathlib import Path

from service.documents import openapi_text

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_document_is_current() -> None:
    assert json.loads(COMMITTED.read_text()) == json.loads(openapi_text()), (
        "run: python -m service.documents docs"
    )


def test_every_route_and_parameter_is_described() -> None:
    document = json.loads(openapi_text())
    assert set(document["paths"]) == {
        "/localize",
        "/localize/batch",
        "/gallery",
        "/gallery/tiles",
        "/gallery/activate",
        "/gallery/rebuild",
        "/gallery/jobs",
        "/gallery/jobs/{job_id}",
        "/tiles/{tile_id}",
        "/map/{zoom}/{x}/{y}",
        "/encoder",
        "/livez",
        "/readyz",
        "/metrics",
    }
    operation = document["paths"]["/localize"]["post"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {"k", "view", "lat", "lon", "radius_m", "area", "heading_deg", "hfov_deg"}
    assert all(parameter["description"] for parameter in operation["parameters"])
    assert {"image/jpeg", "multipart/form-data"} <= set(operation["requestBody"]["content"])
    assert {"400", "413", "415", "422", "503", "504"} <= set(operation["responses"])
    refused = operation["responses"]["422"]["content"]["application/json"]["schema"]
    assert refused == {"$ref": "#/components/schemas/ErrorAnswer"}
