"""The page of services that are set up otherwise: calibration, kept photos, base map, keys."""

import json
import shutil

import pytest

from service.guard.key_file import KeyFile, make_key, write_keys
from tests.end_to_end.browser_page import Visit, chromium
from tests.service_world import jpeg, make_world, serve


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


def with_calibration(world, folder, change):
    """A copy of the world's encoder whose calibration is changed."""
    copy = folder / "encoder"
    shutil.copytree(world.encoder_path, copy)
    manifest = json.loads((copy / "encoder.json").read_text())
    change(manifest["calibration"])
    (copy / "encoder.json").write_text(json.dumps(manifest))
    return world.settings(encoder=copy)


def test_a_refused_answer_says_so_and_offers_no_location(world, browser, tmp_path):
    def refuse(calibration):
        calibration["ground"]["refuse_below"] = 1.0

    with serve(with_calibration(world, tmp_path, refuse)) as base:
        visit = Visit(browser, base)
        page = visit.open().page
        visit.choose(jpeg(5, 200, 200))
        assert visit.find() == "refused"
        assert page.inner_text("#headline") == "Not sure: do not use this as a location"
        assert "Best guess" in page.inner_text("#coordinates-label")
        assert not page.locator("#copy").is_visible()
        assert not page.locator("#geo").is_visible()
        assert page.locator("#map .estimate-point.refused").count() == 1
        visit.close()


def test_nothing_is_claimed_without_calibration_and_kept_photos_are_told_of(
    world, browser, tmp_path
):
    settings = with_calibration(world, tmp_path, lambda calibration: calibration.clear())
    with serve(settings.model_copy(update={"keep_images": tmp_path / "kept"})) as base:
        visit = Visit(browser, base)
        page = visit.open().page
        assert "keeps every photo" in page.inner_text("#keeping")
        visit.choose(jpeg(5, 200, 200))
        assert visit.find() == "refused"
        assert "Unknown" in page.inner_text("#headline")
        assert "not calibrated" in page.inner_text("#detail")
        visit.close()


def test_a_base_map_lies_under_the_gallery_and_its_makers_are_named(world, browser):
    chosen = {"map_url": "http://maps.test/{z}/{x}/{y}.jpg", "map_attribution": "Map <makers>"}
    with serve(world.settings(**chosen)) as base:
        visit = Visit(browser, base)
        page = visit.page
        page.route(
            "http://maps.test/**",
            lambda route: route.fulfill(body=jpeg(1, 256, 256), content_type="image/jpeg"),
        )
        visit.open()
        page.wait_for_selector("#map img.leaflet-tile-loaded[src^='http://maps.test/']")
        page.wait_for_selector("#map img.leaflet-tile-loaded[src^='map/']")
        assert "Map <makers>" in page.inner_text(".leaflet-control-attribution")
        visit.close()


def test_with_keys_nothing_is_shown_before_one_is_given(world, browser, tmp_path):
    key, record = make_key("page", "localize")
    write_keys(tmp_path / "keys.json", KeyFile(keys=(record,)))
    with serve(world.settings(keys=tmp_path / "keys.json")) as base:
        visit = Visit(browser, base)
        page = visit.page
        page.goto(base)
        page.wait_for_selector("#key-panel:visible")
        page.fill("#key", "crossfix_wrong")
        page.click("#key-form button")
        page.wait_for_selector("#key-problem:not(:empty)")
        page.fill("#key", key)
        page.click("#key-form button")
        page.wait_for_selector("#about:not(:empty)", state="attached")
        assert page.locator("#key-panel").is_hidden()
        page.wait_for_selector("#map img.leaflet-tile-loaded")
        visit.choose(jpeg(5, 200, 200))
        assert visit.find() != "failed"
        picture = page.locator("#chosen")
        page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())
        assert picture.get_attribute("src").startswith("blob:")
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        visit.problems = [one for one in visit.problems if "401" not in one]
        visit.close()
