"""Tiles from a server: politely, each once, only images, only from there."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crossfix.errors import SourceError
from index_builder.sources.grid.area import Area
from index_builder.sources.spec import SourceSpec
from index_builder.sources.tile_sets import web_fetching
from index_builder.sources.tile_sets.tile_set_opening import open_tile_set
from index_builder.sources.tile_sets.web_address import WebAddress
from index_builder.sources.tile_sets.web_cache import WebCache, default_cache_folder
from index_builder.sources.tile_sets.web_fetching import WebFetcher
from index_builder.sources.tile_sets.web_pacing import Pacer
from index_builder.sources.tile_sets.web_store import WebStore
from index_builder.sources.tile_sets.xyz_store import XyzStore
from tests.tiny_tile_sets import (
    Answer,
    Painting,
    TileServer,
    encode,
    painted,
    patch,
    serve_tiles,
    square_area,
)

ZOOM = 16
PAINTING = Painting(ZOOM)
TILES = patch(ZOOM, 11.5, 48.1, columns=3, rows=3)
AREA = Area.from_geojson(square_area(TILES))
IMAGE = encode(np.full((32, 32, 3), 90, np.uint8))
TILE = TILES[0]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """The server of these tests is on this machine."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def images():
    return painted(TILES, PAINTING)


def quick_fetcher(server, **options):
    """Retries within milliseconds."""
    return WebFetcher(server.host, Pacer(10_000), **{"backoff_s": 0.004, "retries": 3, **options})


def quick_store(server, folder, **options):
    address = WebAddress(f"{server.host}/{{z}}/{{x}}/{{y}}.png")
    return WebStore(
        address,
        zoom=ZOOM,
        cache=WebCache(folder, address.template),
        fetcher=quick_fetcher(server, **options),
    )


def spec_of(server, folder, **options):
    usual = {
        "location": f"{server.host}/{{z}}/{{x}}/{{y}}.png",
        "attribution": "us",
        "zoom": ZOOM,
        "cache": str(folder),
        "requests_per_s": 1000,
    }
    return SourceSpec(**{**usual, **options})


def test_a_tile_is_fetched_once_and_kept_as_an_ordinary_folder(tmp_path, images):
    with serve_tiles(images) as server:
        for _ in range(2):  # the second time by another program
            source = open_tile_set(spec_of(server, tmp_path), name="web", tile_px=64)
            plans = list(source.plan(None, 0.0, AREA))
            assert len(plans) == 9
            for plan in plans:
                assert source.read(plan) is not None
            source.close()
        assert server.count == 9
        assert max(server.requests.values()) == 1
        (agent,) = server.user_agents
        assert agent.startswith("crossfix-index-builder/")
    kept = XyzStore(tmp_path)
    assert kept.zooms == (ZOOM,)
    assert {tile: kept.get(tile) for tile in images} == images
    assert not list(tmp_path.rglob(".new-*"))


def test_only_tiles_that_a_planned_square_needs_are_asked_for(tmp_path):
    """A block of squares is far larger than the area."""
    tiles = patch(ZOOM, 11.5, 48.1, columns=9, rows=9)
    small = Area.from_geojson(square_area(tiles[40:41]))
    with serve_tiles(painted(tiles, PAINTING, 16)) as server:
        source = open_tile_set(spec_of(server, tmp_path), name="web", tile_px=16)
        plans = list(source.plan(100.0, 0.5, small))
        assert len(plans) > 20
        assert all(source.read(plan) is not None for plan in plans)
        source.close()
    assert server.count <= 9


def test_the_area_changes_no_square_of_a_server(tmp_path, images):
    """Not even one that stretches the grid to other latitudes."""
    far = patch(ZOOM, 11.5, 70.0, columns=1, rows=1)
    wide = square_area(TILES)["coordinates"], square_area(far)["coordinates"]
    wide_area = Area.from_geojson({"type": "MultiPolygon", "coordinates": wide})
    with serve_tiles(images | painted(far, PAINTING)) as server:
        source = open_tile_set(spec_of(server, tmp_path), name="web", tile_px=64)
        near = {plan.tile_id: plan for plan in source.plan(150.0, 0.5, AREA)}
        both = {plan.tile_id: plan for plan in source.plan(150.0, 0.5, wide_area)}
        assert len(both) > len(near) > 20
        for tile_id in [*near][::9]:
            assert both[tile_id].bounds == near[tile_id].bounds
            np.testing.assert_array_equal(source.read(near[tile_id]), source.read(both[tile_id]))
        source.close()


def test_a_missing_tile_is_asked_for_once(tmp_path):
    with TileServer(lambda path, _: Answer(b"gone", 410 if "1" in path else 404)) as server:
        for _ in range(2):
            store = quick_store(server, tmp_path)
            assert store.get(TILE) is None
            store.close()
        assert server.count == 1


def test_two_threads_fetch_a_tile_once(tmp_path):
    with TileServer(lambda *_: Answer(IMAGE, delay_s=0.05)) as server:
        store = quick_store(server, tmp_path)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(store.get, [TILE] * 4)) == [IMAGE] * 4
        store.close()
        assert server.count == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_trouble_is_retried(tmp_path, status):
    with TileServer(
        lambda _, times: Answer(IMAGE) if times == 3 else Answer(b"", status)
    ) as server:
        store = quick_store(server, tmp_path)
        assert store.get(TILE) == IMAGE
        store.close()
        assert server.count == 3


def test_lasting_trouble_is_reported_after_all_retries_and_not_kept(tmp_path):
    with TileServer(lambda *_: Answer(b"", 503)) as server:
        store = quick_store(server, tmp_path)
        with pytest.raises(SourceError, match=r"failed 4 times.*status 503"):
            store.get(TILE)
        assert server.count == 4
        with pytest.raises(SourceError):
            store.get(TILE)
        assert server.count == 8
        store.close()


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_is_not_retried(tmp_path, status):
    with TileServer(lambda *_: Answer(b"no", status)) as server:
        store = quick_store(server, tmp_path)
        with pytest.raises(SourceError, match=f"refuses.*status {status}"):
            store.get(TILE)
        store.close()
        assert server.count == 1


def test_slow_answers_are_cut_off_and_retried(tmp_path):
    def answer(_, times):
        return Answer(IMAGE, delay_s=0.5 if times == 1 else 0)

    with TileServer(answer) as server:
        store = quick_store(server, tmp_path, time_limit_s=0.15)
        assert store.get(TILE) == IMAGE
        store.close()
        assert server.count == 2


def test_a_body_that_trickles_is_cut_off(tmp_path):
    """Every wait is short, all of them are not."""
    with TileServer(lambda *_: Answer(IMAGE, delay_s=0.05, pieces=30)) as server:
        store = quick_store(server, tmp_path, time_limit_s=0.2, retries=1)
        with pytest.raises(SourceError, match=r"more than 0\.2 s"):
            store.get(TILE)
        store.close()


def test_truncated_bodies_are_retried(tmp_path):
    def answer(_, times):
        return Answer(IMAGE[: len(IMAGE) // 2] if times == 1 else IMAGE, declared_length=len(IMAGE))

    with TileServer(answer) as server:
        store = quick_store(server, tmp_path)
        assert store.get(TILE) == IMAGE
        store.close()
        assert server.count == 2


def test_nobody_there_is_reported(tmp_path):
    with TileServer(lambda *_: Answer()) as server:
        pass
    store = quick_store(server, tmp_path, retries=1)
    with pytest.raises(SourceError, match="failed 2 times"):
        store.get(TILE)
    store.close()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>Please buy a key</html>", "is not an image .it starts with b'<html>Please"),
        (b"", "is not an image"),
        (IMAGE[:-30], "is damaged"),
        (b"GIF89a" + bytes(50), "is not an image"),
    ],
    ids=["html", "empty", "cut", "gif"],
)
def test_what_is_no_image_is_refused_and_not_kept(tmp_path, body, says):
    with TileServer(lambda *_: Answer(body)) as server:
        store = quick_store(server, tmp_path)
        with pytest.raises(SourceError, match=says):
            store.get(TILE)
        store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tile-cache.json"]


def test_huge_answers_are_not_read_to_their_end(tmp_path, monkeypatch):
    monkeypatch.setattr(web_fetching, "MAX_TILE_BYTES", 10_000)
    with TileServer(lambda *_: Answer(bytes(3_000_000))) as server:
        store = quick_store(server, tmp_path)
        with pytest.raises(SourceError, match="more than 10000 bytes"):
            store.get(TILE)
        store.close()


def test_redirects_on_the_server_are_followed(tmp_path):
    def answer(path, _):
        if path.startswith("/new"):
            return Answer(IMAGE)
        return Answer(b"", 302, {"Location": f"/new{path}"})

    with TileServer(answer) as server:
        store = quick_store(server, tmp_path)
        assert store.get(TILE) == IMAGE
        store.close()


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:1/tile.png", "https://127.0.0.1/a", "file:///etc/passwd",
     "http://user:secret@example.org/", ""],
)  # fmt: skip
def test_redirects_elsewhere_are_refused(tmp_path, location):
    with TileServer(lambda *_: Answer(b"", 301, {"Location": location})) as server:
        store = quick_store(server, tmp_path)
        with pytest.raises(SourceError, match="redirects to another server") as caught:
            store.get(TILE)
        store.close()
        assert "secret" not in str(caught.value)
        assert server.count == 1


def test_redirects_in_circles_end(tmp_path):
    with TileServer(lambda path, _: Answer(b"", 307, {"Location": path})) as server:
        store = quick_store(server, tmp_path)
        with pytest.raises(SourceError, match="in circles"):
            store.get(TILE)
        store.close()
        assert server.count == 4


def test_the_rate_holds_over_all_threads_and_retries(tmp_path):
    with TileServer(lambda _, times: Answer(IMAGE) if times > 1 else Answer(b"", 500)) as server:
        address = WebAddress(f"{server.host}/{{z}}/{{x}}/{{y}}.png")
        store = WebStore(
            address,
            zoom=ZOOM,
            cache=WebCache(tmp_path, address.template),
            fetcher=WebFetcher(server.host, Pacer(20), backoff_s=0.001),
        )
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(store.get, TILES)) == [IMAGE] * 9
        store.close()
        assert server.count == 18
        # Half: the first request may be late on a busy machine. Unpaced it is a tenth of that.
        assert max(server.moments) - min(server.moments) >= 17 / 20 / 2


def test_a_server_needs_attribution_zoom_and_area(tmp_path, images):
    with serve_tiles(images) as server:
        for missing, says in (({"attribution": " "}, "attribution"), ({"zoom": None}, "zoom")):
            with pytest.raises(SourceError, match=f"needs an? {says}"):
                open_tile_set(spec_of(server, tmp_path, **missing), name="web", tile_px=64)
        source = open_tile_set(spec_of(server, tmp_path), name="web", tile_px=64)
        for size_m in (None, 50.0):
            with pytest.raises(SourceError, match="whole world"):
                source.plan(size_m, 0.5)
        source.close()
        assert server.count == 0


def test_the_cache_of_one_address_is_not_used_for_another(tmp_path, images):
    with serve_tiles(images) as server:
        quick_store(server, tmp_path).close()
        other = spec_of(server, tmp_path, location=f"{server.host}/other/{{z}}/{{x}}/{{y}}.png")
        with pytest.raises(SourceError, match="another address"):
            open_tile_set(other, name="web", tile_px=64)
    (tmp_path / "tile-cache.json").write_text("{}")
    with pytest.raises(SourceError, match="damaged"):
        WebCache(tmp_path, "x")
    (tmp_path / "tile-cache.json").unlink()
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(SourceError, match="not empty"):
        WebCache(tmp_path, "x")


def test_a_deleted_cache_changes_the_fingerprint(tmp_path, images):
    with serve_tiles(images) as server:
        one = quick_store(server, tmp_path / "a").fingerprint()
        assert quick_store(server, tmp_path / "a").fingerprint() == one
        assert quick_store(server, tmp_path / "b").fingerprint() != one


def test_a_cache_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot be written"):
        WebCache(tmp_path / "file" / "folder", "x")


def test_caches_lie_in_the_users_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = (default_cache_folder("ortho", address) for address in ("a", "b"))
    assert one.parent == tmp_path / "crossfix"
    assert one != other
    assert one.name.startswith("ortho-")
    assert one.name.endswith("-tiles")


def test_keys_come_from_the_environment_and_stay_out_of_messages(tmp_path, monkeypatch):
    monkeypatch.setenv("TILE_KEY", "s3cret")
    with TileServer(lambda *_: Answer(b"no", 403)) as server:
        spec = spec_of(
            server, tmp_path, location=f"{server.host}/{{z}}/{{x}}/{{y}}?key=${{TILE_KEY}}"
        )
        source = open_tile_set(spec, name="web", tile_px=64)
        with pytest.raises(SourceError) as caught:
            source.plan(None, 0.0, AREA)
        source.close()
        assert next(iter(server.requests)).endswith("?key=s3cret")
        monkeypatch.setenv("TILE_KEY", "another")  # a new key makes no other server
        open_tile_set(spec, name="web", tile_px=64).close()
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in (tmp_path / "tile-cache.json").read_text()


def test_an_area_across_the_antimeridian_asks_for_both_sides(tmp_path):
    tiles = patch(ZOOM, 180.0, -17.0, columns=4, rows=2)
    ring = [[179.996, -17.002], [180.004, -17.002], [180.004, -16.998], [179.996, -16.998],
            [179.996, -17.002]]  # fmt: skip
    area = Area.from_geojson({"type": "Polygon", "coordinates": [ring]})
    with serve_tiles(painted(tiles, PAINTING, 16)) as server:
        store = quick_store(server, tmp_path)
        columns = {x for batch in store.tiles(ZOOM, area) for x, _ in batch.tolist()}
        assert columns == {0, 2**ZOOM - 1}
        store.close()
        source = open_tile_set(spec_of(server, tmp_path), name="web", tile_px=16)
        plans = list(source.plan(100.0, 0.5, area))
        assert any(plan.bounds.west > plan.bounds.east for plan in plans)
        assert 100 < len(plans) < 400
        seen = [source.read(plan) for plan in plans]
        assert sum(square is not None for square in seen) > 0.9 * len(seen)
        source.close()
