"""The page in a real browser: everything a person does with it, and nothing leaves the origin."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from crossfix.geodesy import distance_m
from tests.end_to_end.browser_page import PHONE, Visit, chromium
from tests.service_world import jpeg, make_world, serve

TILE_10 = (8.0028, 50.0018)  # (lon, lat) in the made-up gallery


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def base(world, browser):  # noqa: ARG001 - without a browser no service is needed
    with serve(world.settings(max_body_bytes=300_000)) as url:
        yield url


@pytest.fixture
def visit(browser, base):
    one = Visit(browser, base)
    yield one
    one.close()


def point_on_map(page, lon, lat):
    """Where a place is, in pixels of the window, by Web-Mercator and what the map shows."""
    return page.evaluate(
        """([lon, lat]) => {
            const box = document.getElementById("map");
            const map = box.leafletMap;
            const at = map.project([lat, lon], map.getZoom()).subtract(map.getPixelBounds().min);
            const edge = box.getBoundingClientRect();
            return [edge.left + at.x, edge.top + at.y];
        }""",
        [lon, lat],
    )


def wait_until_still(page, selector):
    """The map pans and zooms to an answer with an animation."""
    before, now = None, middle_of(page, selector)
    while before != now:
        page.wait_for_timeout(200)
        before, now = now, middle_of(page, selector)


def middle_of(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_photo_is_answered_and_list_and_map_agree(visit):
    page = visit.open().page
    visit.choose(jpeg(5, 200, 200))
    page.check("input[value=drone]", force=True)
    with page.expect_response("**/localize?*") as answered:
        tone = visit.find()
    answer = answered.value.json()
    assert tone in ("sure", "unsure", "refused")
    count = len(answer["matches"])
    assert count == 10
    assert page.locator("#matches button").count() == count
    assert page.locator("#map .rank-label").count() == count
    assert page.locator("#map path[stroke^='#']").count() >= count
    wait_until_still(page, "#map .estimate-point")
    estimate = answer["estimate"]
    expected = point_on_map(page, estimate["lon"], estimate["lat"])
    assert middle_of(page, "#map .estimate-point") == pytest.approx(expected, abs=2)
    best = answer["matches"][0]["bounds"]
    corner = point_on_map(page, best["west"], best["north"])
    assert middle_of(page, "#map .rank-label.chosen") == pytest.approx(corner, abs=2)
    assert page.inner_text("#coordinates") == f"{estimate['lat']:.6f}, {estimate['lon']:.6f}"
    for picture in page.locator("#matches img").all()[:3]:
        picture.scroll_into_view_if_needed()
        page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())
    assert "someone" in page.inner_text("#credit")
    assert answer["gallery"]["version"] in page.inner_text("#versions")
    assert page.locator("#stages li").count() == 5


def test_the_map_is_the_gallerys_own_imagery(visit):
    page = visit.open().page
    page.wait_for_selector("#map img.leaflet-tile-loaded")
    sources = page.eval_on_selector_all("#map img.leaflet-tile", "all => all.map(one => one.src)")
    assert sources
    assert all("/map/" in source for source in sources)
    assert "Leaflet" in page.inner_text(".leaflet-control-attribution")


def test_choosing_a_place_marks_it_in_the_list_on_the_map_and_beside_the_photo(visit):
    page = visit.open().page
    visit.choose(jpeg(5, 200, 200))
    visit.find()
    page.click("#matches button >> nth=3")
    assert page.locator("#matches button[aria-current]").get_attribute("data-rank") == "4"
    assert page.inner_text("#map .rank-label.chosen") == "4"
    assert "Rank 4 of 10" in page.inner_text("#chosen-caption")
    edge = page.evaluate("""() => {
        const map = document.getElementById("map").leafletMap;
        const rectangles = Object.values(map._layers).filter((one) => one.options.casing);
        const box = rectangles.at(-1).getElement().getBoundingClientRect();
        return [box.left + 6, box.top + box.height / 2];
    }""")
    page.mouse.click(*edge)
    chosen = page.locator("#matches button[aria-current]").get_attribute("data-rank")
    assert page.inner_text("#map .rank-label.chosen") == chosen


def test_a_click_on_the_map_sets_a_search_area_that_is_sent(visit):
    page = visit.open().page
    visit.choose(jpeg(15, 200, 200))
    page.mouse.click(*point_on_map(page, *TILE_10))
    lat, lon = (float(page.input_value(f"input[name={name}]")) for name in ("lat", "lon"))
    assert middle_of(page, "#map .prior-point") == pytest.approx(
        point_on_map(page, lon, lat), abs=2
    )
    page.fill("#radius-m", "260")
    with page.expect_response("**/localize?*") as answered:
        visit.find()
    assert f"lat={lat}" in answered.value.url
    assert "radius_m=260" in answered.value.url
    matches = answered.value.json().get("matches", [])
    assert matches
    assert all(distance_m(m["lon"], m["lat"], lon, lat) <= 260 for m in matches)
    page.click("#prior-clear")
    assert page.locator("#map .prior-point").count() == 0
    assert page.input_value("input[name=lat]") == ""
    assert page.locator("#stale").is_visible()


def test_the_search_area_is_moved_by_dragging_and_its_slider(visit):
    page = visit.open().page
    page.click("#prior-here")
    before = page.input_value("input[name=lon]")
    x, y = middle_of(page, "#map .prior-point")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 50, y + 10, steps=4)
    page.mouse.up()
    assert float(page.input_value("input[name=lon]")) > float(before)
    radius = float(page.input_value("#radius-m"))
    page.focus("#radius-slider")
    page.keyboard.press("PageUp")
    assert float(page.input_value("#radius-m")) > radius


def test_everything_can_be_done_with_the_keyboard(visit):
    page = visit.open().page
    visit.choose(jpeg(5, 200, 200))
    page.focus("#file")
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
        if reached[-1] == "go":
            break
    assert {"view", "lat", "lon", "radius-m", "radius-slider", "prior-here", "go"} <= set(reached)
    page.keyboard.press("Enter")
    visit.wait_for_answer()
    page.focus("#matches button[tabindex='0']")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.inner_text("#map .rank-label.chosen") == "3"
    page.keyboard.press("End")
    page.keyboard.press("Space")
    assert page.inner_text("#map .rank-label.chosen") == "10"
    page.focus("#prior-here")
    page.keyboard.press("Enter")
    lat = page.input_value("input[name=lat]")
    page.focus("#map .prior-point")
    page.keyboard.press("ArrowUp")
    assert float(page.input_value("input[name=lat]")) > float(lat)


def test_a_screen_reader_is_told_the_answer_in_a_sentence(visit):
    page = visit.open().page
    visit.choose(jpeg(5, 200, 200))
    visit.find()
    spoken = page.inner_text("#spoken")
    assert page.get_attribute("#spoken", "role") == "status"
    assert page.inner_text("#headline") in spoken
    assert "10 places are listed" in spoken
    label = page.text_content("#matches button >> nth=1")
    assert label.startswith("Rank 2 of 10, similarity ")
    assert " from the best, 50.00" in label
    unnamed = page.evaluate("""() => [...document.querySelectorAll("input, button, a, img")]
        .filter((one) => one.checkVisibility() && !one.matches(".leaflet-tile")
            && !(one.labels?.length || one.ariaLabel || one.textContent.trim() || one.title
                || one.hasAttribute("alt"))).map((one) => one.outerHTML)""")
    assert unnamed == []


def test_a_phone_has_no_sideways_scrolling_and_no_tiny_text(browser, base):
    visit = Visit(browser, base, viewport=PHONE, is_mobile=True, has_touch=True)
    page = visit.open().page
    assert page.locator("#take").is_visible()
    visit.choose(jpeg(5, 300, 150))
    visit.find()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    small = page.evaluate("""() => [...document.querySelectorAll("body *")].filter((one) =>
        one.checkVisibility() && [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim())
        && parseFloat(getComputedStyle(one).fontSize) < 12).map((one) => one.outerHTML)""")
    assert small == []
    visit.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(browser, base, scheme):
    """Contrast of WCAG 2.2 AA: 4.5 for text."""
    visit = Visit(browser, base, color_scheme=scheme)
    page = visit.open().page
    visit.choose(jpeg(5, 200, 200))
    visit.find()
    faint = page.evaluate("""() => {
        const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const channels = (text) => text.match(/[\\d.]+/g).map(Number);
        const behind = (one) => {
            const colour = channels(getComputedStyle(one).backgroundColor);
            return colour[3] === 0 && one.parentElement ? behind(one.parentElement) : colour;
        };
        return [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility()
            && !one.disabled && !one.closest(".unseen, .skip")
            && [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
          .map((one) => {
            const [a, b] = [light(channels(getComputedStyle(one).color)), light(behind(one))];
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.outerHTML.slice(0, 90)];
          }).filter(([ratio]) => ratio < 4.5);
    }""")
    assert faint == []
    visit.close()


def test_a_failure_is_told_in_the_services_words(browser, base):
    visit = Visit(browser, base)
    page = visit.open().page
    visit.choose(jpeg(1, 300, 300)[:3000])
    with page.expect_response("**/localize?*") as answered:
        assert visit.find() == "failed"
    error = answered.value.json()["error"]
    words = page.inner_text("#detail")
    assert error["message"][1:] in words
    assert error["request_id"] in words
    assert page.locator("#place").is_hidden()
    assert page.locator("#go").is_enabled()
    visit.problems = [one for one in visit.problems if "422" not in one]  # Chromium's own line
    visit.close()


def test_a_busy_service_is_left_alone_for_as_long_as_it_asked(browser, base):
    visit = Visit(browser, base)
    page = visit.open().page
    page.route(
        "**/localize?*",
        lambda route: route.fulfill(
            status=503,
            headers={"Retry-After": "1", "Content-Type": "application/json"},
            body=json.dumps({"error": {"code": "overloaded", "message": "too many photos",
                                       "hint": "try again", "request_id": "r1"}}),
        ),
    )  # fmt: skip
    visit.choose(jpeg(1))
    assert visit.find() == "failed"
    assert "Too many photos: try again." in page.inner_text("#detail")
    assert "try again in" in page.inner_text("#retry")
    assert page.locator("#go").is_disabled()
    page.wait_for_selector("#go:enabled", timeout=5000)
    assert page.inner_text("#retry") == "You can try again now."
    visit.problems = [one for one in visit.problems if "503" not in one]
    visit.close()


def test_only_what_cannot_be_sent_is_refused_before_it_is_not_what_cannot_be_shown(visit):
    page = visit.open().page
    visit.choose(b"hello", "notes.txt", "text/plain")
    assert "is not a photo" in page.inner_text("#photo-note")
    assert page.locator("#go").is_disabled()
    visit.choose(b"\xff" * 400_000)
    assert "takes 0.30 MB at most" in page.inner_text("#photo-note")
    assert page.locator("#go").is_disabled()
    visit.choose(b"\0" * 500, "IMG_1.HEIC", "image/heic")
    page.wait_for_selector("#invitation:has-text('cannot show HEIC')")
    assert page.locator("#go").is_enabled()


def test_a_pasted_photo_is_taken(visit):
    page = visit.open().page
    page.evaluate(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "", { type: "image/jpeg" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer }));
        }""",
        list(jpeg(5, 120, 90)),
    )
    page.wait_for_selector("#photo-note:has-text('120 × 90')")
    assert page.locator("#go").is_enabled()


def test_the_documentation_shows_every_operation_without_a_network(visit):
    page = visit.open("/docs").page
    page.wait_for_selector(".opblock")
    document = page.evaluate("fetch('openapi.json').then((answer) => answer.json())")
    operations = sum(len(methods) for methods in document["paths"].values())
    assert page.locator(".opblock").count() == operations
    page.click(".opblock-summary-path[data-path='/livez'] >> nth=0")
    page.click("text=Try it out")
    page.click("text=Execute")
    page.wait_for_selector(".live-responses-table .response-col_status:has-text('200')")


def test_map_pictures_lie_where_their_tiles_are(visit):
    """The rendered map under the best tile's footprint is that tile's picture."""
    page = visit.open().page
    page.wait_for_selector("#map img.leaflet-tile-loaded")
    page.wait_for_load_state("networkidle")
    step_lon, step_lat = 0.0014, 0.0009
    lon, lat = 8.0 + step_lon, 50.0 + step_lat  # tile 5 of the made-up gallery
    left, top = point_on_map(page, lon - step_lon / 2, lat + step_lat / 2)
    right, bottom = point_on_map(page, lon + step_lon / 2, lat - step_lat / 2)
    clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    shown = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB").resize((16, 16))
    tile = Image.open(io.BytesIO(jpeg(5))).convert("RGB").resize((16, 16))
    apart = np.abs(np.asarray(shown, int) - np.asarray(tile, int))[2:-2, 2:-2]
    assert np.median(apart) < 12
