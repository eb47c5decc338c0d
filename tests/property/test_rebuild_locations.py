"""No spelling of a location leads out of the roots, and none tells what is outside."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossfix.errors import InvalidParameter
from service.rebuild.locations import find_location, find_recipe
from service.rebuild.wording import LONGEST, PathScrubber

PIECES = st.sampled_from(
    ["..", ".", "", "/", "//", "\\", "~", "~root", "a.tif", "maps", "out", "loop", "secret.tif",
     "etc", "passwd", "%2e%2e", "..;", "...", "http:", "http://127.0.0.1", "file:///etc/passwd",
     "/vsicurl/http://127.0.0.1/a.tif", "vsizip", "C:", "\0", "\n", "‥", "．．", "\u202e", "*", "?",
     "[a]", "$HOME", "${x}", "`id`", "-rf", "--out", "gallery", " "]
)  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    top = tmp_path_factory.mktemp("places")
    root, outside = top / "root", top / "outside"
    (root / "maps").mkdir(parents=True)
    outside.mkdir()
    for path in (root / "a.tif", root / "maps" / "a.tif", outside / "secret.tif"):
        path.write_bytes(b"x")
    (root / "out").symlink_to(outside)
    (root / "loop").symlink_to("loop")
    (root / "maps" / "up").symlink_to("..")
    (root / "root.yaml").symlink_to(outside / "secret.tif")
    os.mkfifo(root / "pipe")
    return root, outside


@given(pieces=st.lists(st.one_of(PIECES, st.text(max_size=6)), min_size=1, max_size=8),
       glue=st.sampled_from(["/", "//", "/./", "\\", ""]))  # fmt: skip
@example(pieces=["maps", "up", "..", "outside", "secret.tif"], glue="/")
@example(pieces=["out", "secret.tif"], glue="/")
@example(pieces=["", "etc", "passwd"], glue="/")
@example(pieces=["a" * 5000], glue="/")
def test_whatever_is_found_lies_below_the_root(places, pieces, glue):
    root, _ = places
    location = glue.join(pieces)
    try:
        found = find_location(location, (root,))
    except InvalidParameter as problem:
        found, said = None, str(problem)
    if found is None:
        assert str(root) not in said
        return
    assert found.resolve() == found
    assert found.is_relative_to(root.resolve())
    assert ".." not in found.parts


@pytest.mark.parametrize("location", ["a.tif", "maps", "maps/a.tif", "./a.tif", "maps/up/a.tif"])
def test_what_lies_inside_is_found(places, location):
    assert find_location(location, (places[1], places[0])).exists()


def test_the_same_words_for_what_is_outside_and_for_what_is_nowhere(places):
    said = set()
    for location in ("out/secret.tif", "out/nothing.tif", "out/none/none", "loop", "none"):
        with pytest.raises(InvalidParameter) as refused:
            find_location(location, (places[0],))
        said.add(str(refused.value).replace(location, "X"))
    assert len(said) == 1
    assert find_location("secret.tif", places) == (places[1] / "secret.tif").resolve()


def test_a_pipe_is_no_imagery(places):
    with pytest.raises(InvalidParameter):
        find_location("pipe", (places[0],))


@pytest.mark.parametrize("name", ["root.yaml", "maps/a.yaml", "maps", "none.yaml", ".."])
def test_recipes_lie_directly_in_their_folder(places, name):
    with pytest.raises(InvalidParameter):
        find_recipe(name, places[0])


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_sentence_carries_a_folder_of_ours(places, before, after):
    root, _ = places
    scrub = PathScrubber([(root, ""), (root / "gallery", "the gallery")]).clean
    said = scrub(f"{before} {root}/maps/a.tif {root}/gallery/versions {root} {after}")
    assert str(root) not in said
    assert "maps/a.tif" in said
    assert "the gallery/versions" in said
    assert len(said) <= LONGEST


def test_unknown_folders_are_cut_to_their_last_part():
    scrub = PathScrubber([]).clean
    assert scrub("raster /srv/data/x.tif cannot be read") == "raster x.tif cannot be read"
    assert scrub("ask https://example.org/a/b for 3/4 of it") == (
        "ask https://example.org/a/b for 3/4 of it"
    )
    assert scrub("a\n  b") == "a b"
    assert len(scrub("x" * 9999)) == LONGEST
