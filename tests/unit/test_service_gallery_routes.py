"""GET /gallery, /gallery/tiles, /tiles/{id} and /encoder over real HTTP."""

import json
import shutil
from types import SimpleNamespace
from urllib.parse import quote

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import InvalidParameter
from crossfix.gallery_manifest import SourceInfo
from crossfix.gallery_versions import make_live
from crossfix.tile_table import PICTURE_SCHEMA, SCHEMA
from service.galleries.footprints import Box
from service.galleries.listing import credits_of
from service.http.etag import is_known, tag_of
from tests.service_world import World, jpeg, make_world, publish_gallery, serve
from tests.swap_world import publish_marked, sign_again
from tests.tiny_encoder import write_tiny_encoder

ODD_IDS = [
    "plain", "a/b/c.tif-19-1-2", "with space", "per%cent%2F", "quest?ion", "ha#sh", "plus+",
    "ünïcødé-塔", "am&per=sand", "semi;colon", "quote\"'", "back\\slash", "/leading", "trailing/",
    "dots..", "col:on@",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """v1 of odd ids, v2 live, v3 of another encoder, v4 cut short, v5 without a manifest."""
    folder = tmp_path_factory.mktemp("gallery-routes")
    world = make_world(folder)
    root = world.gallery_path
    other = Encoder.load(
        write_tiny_encoder(folder / "other" / "encoder", seed=7, name="tiny-7"), device="cpu"
    )
    publish_gallery(root, other, "v3")
    publish_marked(root, world.encoder, 4)
    (root / "versions" / "v4" / "vectors.f16").write_bytes(b"short")
    publish_marked(root, world.encoder, 5)
    (root / "versions" / "v5" / "manifest.json").write_text("{")
    publish_marked(root, world.encoder, 2)
    give_odd_ids(world, "v2")
    return world


def give_odd_ids(world: World, version: str) -> None:
    folder = world.gallery_path / "versions" / version
    tiles = pq.read_table(folder / "tiles.parquet").to_pydict()
    tiles["tile_id"] = ODD_IDS
    pq.write_table(pa.table(tiles, schema=SCHEMA), folder / "tiles.parquet")
    pictures = {"tile_id": ODD_IDS, "jpeg": [jpeg(200 + row) for row in range(len(ODD_IDS))]}
    pq.write_table(
        pa.table(pictures, schema=PICTURE_SCHEMA), folder / "pictures.parquet", row_group_size=8
    )
    sign_again(folder)


@pytest.fixture(scope="module")
def base(world: World):
    with serve(world.settings(reload_interval_s=3600)) as url:
        yield url


def test_the_gallery_tells_what_is_live_and_what_else_there_is(base: str) -> None:
    told = httpx.get(f"{base}/gallery").json()
    assert (told["version"], told["version_on_disk"], told["tiles"]) == ("v2", "v2", 16)
    assert told["size_bytes"] > 1000
    assert told["loaded"].endswith("+00:00")
    assert told["credits"] == [
        {"attribution": "", "licence": "none", "date": "2026", "sources": ["made up"]}
    ]
    versions = {one["version"]: one for one in told["versions"]}
    assert list(versions) == ["v5", "v4", "v3", "v2", "v1"]
    assert [name for name, one in versions.items() if one["usable"]] == ["v2", "v1"]
    assert [name for name, one in versions.items() if one["live"]] == ["v2"]
    assert "manifest" in versions["v5"]["problem"]
    assert versions["v5"]["tiles"] is versions["v5"]["encoder"] is None
    assert versions["v4"]["problem"].startswith("vectors.f16 has 5 bytes instead of")
    assert versions["v3"]["problem"] == "it was embedded by another encoder, tiny-7"
    assert versions["v3"]["encoder"]["name"] == "tiny-7"
    assert versions["v2"]["size_bytes"] == told["size_bytes"]
    assert versions["v1"]["created"] == "2026-01-01T00:00:00Z"


def test_coverage_is_in_it_and_is_a_feature_of_its_own(base: str) -> None:
    coverage = httpx.get(f"{base}/gallery").json()["coverage"]
    assert coverage["type"] == "MultiPolygon"
    ((ring,),) = coverage["coordinates"]
    assert ring[0] == pytest.approx([10 - 0.0007, 50 - 0.00045], abs=1e-6)
    assert ring[2] == pytest.approx([10 + 0.0049, 50 + 0.00315], abs=1e-6)
    answer = httpx.get(f"{base}/gallery", headers={"Accept": "application/geo+json"})
    assert answer.headers["content-type"] == "application/geo+json"
    feature = answer.json()
    assert (feature["type"], feature["id"], feature["geometry"]) == ("Feature", "v2", coverage)
    assert feature["properties"]["tiles"] == 16
    assert "coverage" not in feature["properties"]


@pytest.mark.parametrize(
    "accept", ["application/geo+json;q=0", "application/json, application/geo+json;q=0.1", "*/*"]
)
def test_coverage_alone_is_for_those_who_want_it_most(base: str, accept: str) -> None:
    answer = httpx.get(f"{base}/gallery", headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/gallery", "/gallery/tiles", "/encoder"])
def test_head_tells_what_get_would(base: str, path: str) -> None:
    answer = httpx.head(base + path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["etag"] == httpx.get(base + path).headers["etag"]


@pytest.mark.parametrize("path", ["/gallery", "/encoder", "/gallery/tiles", "/tiles/plain"])
def test_what_a_client_has_is_not_sent_again(base: str, path: str) -> None:
    first = httpx.get(base + path)
    tag = first.headers["etag"]
    assert first.status_code == 200
    for given in (tag, f'"other", W/{tag}', "*"):
        again = httpx.get(base + path, headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == first.headers["cache-control"]
    assert httpx.get(base + path, headers={"If-None-Match": '"other"'}).status_code == 200
    head = httpx.head(base + path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)
    assert head.headers["content-length"] == str(len(first.content))
    assert head.headers["content-type"] == first.headers["content-type"]


def test_the_gallerys_tag_changes_with_a_version_on_disk(world: World, base: str) -> None:
    before = httpx.get(f"{base}/gallery").headers["etag"]
    shutil.copytree(world.gallery_path / "versions" / "v1", world.gallery_path / "versions" / "v0")
    try:
        assert httpx.get(f"{base}/gallery").headers["etag"] != before
        make_live(world.gallery_path, "v0")
        told = httpx.get(f"{base}/gallery").json()
        assert (told["version"], told["version_on_disk"]) == ("v2", "v0")
        (world.gallery_path / "CURRENT.json").write_text("{")
        assert httpx.get(f"{base}/gallery").json()["version_on_disk"] is None
    finally:
        make_live(world.gallery_path, "v2")
        shutil.rmtree(world.gallery_path / "versions" / "v0")
    assert httpx.get(f"{base}/gallery").headers["etag"] == before


@pytest.mark.parametrize("row", range(len(ODD_IDS)), ids=lambda row: f"{row}")
def test_a_picture_is_found_whatever_the_id(base: str, row: int) -> None:
    answer = httpx.get(f"{base}/tiles/{quote(ODD_IDS[row])}")
    assert answer.status_code == 200, answer.text
    assert answer.content == jpeg(200 + row)
    escaped = httpx.get(f"{base}/tiles/{quote(ODD_IDS[row], safe='')}")
    assert escaped.content == answer.content


def test_footprints_name_pictures_that_can_be_fetched(base: str) -> None:
    answer = httpx.get(f"{base}/gallery/tiles")
    assert answer.headers["content-type"] == "application/geo+json"
    found = answer.json()
    assert (found["type"], found["gallery_version"]) == ("FeatureCollection", "v2")
    assert (found["tiles_in_box"], found["left_off"]) == (16, 0)
    assert {feature["id"] for feature in found["features"]} == set(ODD_IDS)
    for feature in found["features"]:
        told = feature["properties"]
        row = ODD_IDS.index(told["tile_id"])
        picture = httpx.get(base + told["picture_url"])
        assert picture.content == jpeg(200 + row)
        assert picture.headers["cache-control"] == "public, max-age=31536000, immutable"
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert ring[0].tolist() == ring[-1].tolist()
        assert ring.min(axis=0) == pytest.approx([told["lon"] - 0.0007, told["lat"] - 0.00045])
        assert (told["attribution"], told["licence"], told["date"]) == (
            "someone", "CC0-1.0", "2026",
        )  # fmt: skip


def ids_in(base: str, **params: object) -> list[str]:
    answer = httpx.get(f"{base}/gallery/tiles", params=params)
    assert answer.status_code == 200, answer.text
    return [feature["id"] for feature in answer.json()["features"]]


def test_a_box_picks_tiles_that_reach_into_it(base: str) -> None:
    assert ids_in(base, bbox="10.0,50.0,10.0,50.0") == ODD_IDS[:1]
    assert ids_in(base, bbox="10.0,50.0,10.0014,50.0") == ODD_IDS[:2]
    assert ids_in(base, bbox="0,0,1,1") == []
    assert len(ids_in(base, bbox="-180,-90,180,90")) == 16
    assert len(ids_in(base, bbox="170,-90,20,90")) == 16, "over the antimeridian"
    assert ids_in(base, bbox="20,-90,-170,90") == []


def test_what_is_over_the_limit_is_thinned_out_and_said(base: str) -> None:
    found = httpx.get(f"{base}/gallery/tiles?limit=4").json()
    assert [feature["id"] for feature in found["features"]] == [ODD_IDS[i] for i in (0, 5, 10, 15)]
    assert (found["tiles_in_box"], found["left_off"]) == (16, 12)
    one = httpx.get(f"{base}/gallery/tiles?limit=1").json()
    assert (len(one["features"]), one["left_off"]) == (1, 15)


@pytest.mark.parametrize(
    "query",
    [
        "bbox=1,2,3", "bbox=a,b,c,d", "bbox=nan,0,1,1", "bbox=0,1,1,0", "bbox=-181,0,0,1",
        "bbox=0,-91,1,1", "bbox=", "bbox=0,0,inf,1", "limit=0", "limit=5001", "limit=x",
        "bbox=" + "1" * 300,
    ],
)  # fmt: skip
def test_a_wrong_box_or_limit_is_422(base: str, query: str) -> None:
    answer = httpx.get(f"{base}/gallery/tiles?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "parameter_invalid"


def test_the_encoder_tells_precision_variants_and_its_golden_check(base: str) -> None:
    told = httpx.get(f"{base}/encoder").json()
    assert (told["precision"], told["variants"]) == ("fp32", ["fp32"])
    assert told["golden"] == {"passed": True, "samples": 3, "min_cosine": 0.999}
    assert set(told["views"]) == {"satellite", "drone", "ground"}
    assert told["provider"] == "CPUExecutionProvider"


def test_a_version_that_vanishes_from_disk_is_still_answered_from(world, tmp_path) -> None:
    copy = World(world.encoder_path, tmp_path / "gallery", world.encoder)
    shutil.copytree(world.gallery_path, copy.gallery_path)
    with serve(copy.settings()) as base:
        shutil.rmtree(copy.gallery_path)
        told = httpx.get(f"{base}/gallery").json()
        assert (told["version"], told["version_on_disk"], told["versions"]) == ("v2", None, [])
        assert httpx.get(f"{base}/tiles/plain").content == jpeg(200)
        answer = httpx.post(
            f"{base}/localize", params={"view": "drone"}, content=jpeg(203, 200, 200),
            headers={"Content-Type": "image/jpeg"},
        )  # fmt: skip
        assert answer.json()["matches"][0]["tile_id"] == ODD_IDS[3]


# ---- parts -------------------------------------------------------------------------------------


def table(west, east):
    west, east = np.array(west), np.array(east)
    return SimpleNamespace(
        west=west, east=east, south=np.zeros(len(west)), north=np.ones(len(west))
    )


@pytest.mark.parametrize(
    ("box", "rows"),
    [
        ("179,0,-179,1", [1, 2, 3]),
        ("-180,0,180,1", [0, 1, 2, 3]),
        ("-180,0,-179.5,1", [1, 2, 3]),
        ("5,0,6,1", []),
        ("9.5,0,9.5,1", [0]),
        ("8,0,20,1", [0]),
        ("20,0,8,1", [1, 2, 3]),
        ("0,1,20,1", [0]),
        ("0,1.1,20,2", []),
    ],
)
def test_boxes_and_tiles_meet_across_the_antimeridian(box: str, rows: list[int]) -> None:
    tiles = table(west=[9.0, 179.5, 179.9, -180.0], east=[10.0, 180.0, -179.9, -179.0])
    assert Box.parse(box).rows(tiles).tolist() == rows


def test_a_box_that_is_none_says_how_to_write_one() -> None:
    with pytest.raises(InvalidParameter) as it:
        Box.parse("1;2;3;4")
    assert "west,south,east,north" in it.value.hint


def test_credits_are_told_once() -> None:
    def source(name: str, date: str = "2026") -> SourceInfo:
        return SourceInfo(name=name, attribution="us", licence="CC0", date=date, crs="EPSG:4326")

    lines = credits_of([source("a"), source("b", "2025"), source("c")])
    assert [(one.date, one.sources) for one in lines] == [("2026", ["a", "c"]), ("2025", ["b"])]


def test_tags_tell_parts_apart() -> None:
    assert tag_of("ab", "c") != tag_of("a", "bc")
    request = httpx.Request("GET", "http://x", headers={"If-None-Match": "no-quotes"})
    given = SimpleNamespace(headers=SimpleNamespace(getlist=request.headers.get_list))
    assert not is_known(given, tag_of("ab"))
    assert json.loads(tag_of("ab")), "quoted"
