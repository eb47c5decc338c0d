"""The running service keeps what its OpenAPI document promises, whatever is sent.

Schemathesis makes requests from the document: well-formed ones, malformed ones, boundary values.
Every answer must have a status, content type, headers and body that the document names.
"""

import io
import json
from pathlib import Path

import pytest
import schemathesis
from hypothesis import strategies as st
from PIL import Image

from service.documents import openapi_text
from service.guard.key_file import KeyFile, make_key, write_keys
from tests.service_world import jpeg, make_world, serve

SEED = 6
LONGEST_URL = 16_000
WELL_FORMED = ["2xx", "3xx", "401", "403", "404", "409", "429", "503"]
# What a schema cannot say: random bytes are no photo, a prior lies outside the gallery,
# a box needs four numbers in order, a map tile exists only on its zoom.
MEANING_MATTERS = {
    "POST /localize": ["400", "415", "422"],
    "POST /localize/batch": ["400", "415", "422"],
    "GET /gallery/tiles": ["422"],
    "GET /map/{zoom}/{x}/{y}": ["422"],
    "POST /gallery/rebuild": ["422"],
    "POST /gallery/activate": ["422"],
}


def photo(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg(3))).save(buffer, image_format)
    return buffer.getvalue()


for kind in ("jpeg", "png", "webp", "tiff", "heic", "heif"):
    whole = photo(kind.upper() if kind[:3] != "hei" else "PNG")
    bodies = st.one_of(st.just(whole), st.just(whole[: len(whole) // 2]), st.binary(max_size=64))
    schemathesis.openapi.media_type(f"image/{kind}", bodies)


def schema_of(examples: int, *, with_keys: bool = False):
    document = json.loads(openapi_text())
    if with_keys:
        for operation in (one for path in document["paths"].values() for one in path.values()):
            operation["security"] = [way for way in operation.get("security", []) if way]
    config = {
        "seed": SEED,
        "generation": {
            "max-examples": examples,
            "no-shrink": True,
            "database": "none",
            "with-security-parameters": False,
        },
        "checks": {
            "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]},
            "positive_data_acceptance": {"expected-statuses": WELL_FORMED},
        },
        "operations": [
            {
                "include-name": name,
                "checks": {"positive_data_acceptance": {"expected-statuses": WELL_FORMED + more}},
            }
            for name, more in MEANING_MATTERS.items()
        ],
    }
    return schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(config))


quick, thorough, guarded = schema_of(15), schema_of(400), schema_of(5, with_keys=True)


def folders(folder: Path) -> dict[str, object]:
    """Imagery may be named, but there is none: every rebuild that is well asked for fails."""
    (folder / "imagery").mkdir()
    return {"rebuild_roots": (folder / "imagery",), "keep_images": folder / "kept"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    with serve(make_world(folder).settings(**folders(folder))) as address:
        yield address


@pytest.fixture(scope="module")
def guarded_base(tmp_path_factory):
    """A service that asks for keys everywhere, and one that opens everything."""
    folder = tmp_path_factory.mktemp("guarded")
    key, record = make_key("tester", "admin")
    write_keys(folder / "keys.json", KeyFile(keys=(record,)))
    settings = make_world(folder).settings(
        keys=folder / "keys.json", metrics_key=True, **folders(folder)
    )
    with serve(settings) as address:
        yield address, {"X-Api-Key": key}


def check(case, base: str, headers: dict[str, str] | None = None) -> None:
    answer = case.call(base_url=base, headers=headers)
    if len(answer.request.url) < LONGEST_URL:  # longer ones are refused before there is a route
        sent = {"base_url": base, "headers": headers or {}}
        case.validate_response(answer, headers=headers, transport_kwargs=sent)


@quick.parametrize()
def test_every_answer_is_one_the_document_promises(case, base) -> None:
    check(case, base)


@guarded.parametrize()
def test_so_is_it_with_keys_and_without_them_nothing_is_answered(case, guarded_base) -> None:
    check(case, *guarded_base)


@pytest.mark.slow
@thorough.parametrize()
def test_many_more_answers_are_ones_the_document_promises(case, base) -> None:
    check(case, base)
