"""Recipes of galleries: from YAML and from flags, with paths that hold anywhere."""

import json

import pytest

from crossfix.errors import CrossfixError, InvalidParameter, RecipeError, SourceError
from crossfix.manifest import write_json_atomic
from index_builder.arguments import make_parser
from index_builder.from_arguments import build_request, update_request
from index_builder.recipe import GalleryRecipe, IndexRequest, read_recipe, settle_sources
from index_builder.sources.confinement import Confinement
from index_builder.sources.grid.area import Area
from index_builder.sources.rasters.raster import inspect_rasters
from index_builder.sources.spec import SourceSpec

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def asked(verb, *words):
    arguments = make_parser().parse_args([verb, "--encoder", "enc", *map(str, words)])
    if verb == "update":
        return update_request(arguments)
    return build_request(arguments, out=arguments.out)


def test_a_recipe_is_read_whole(tmp_path):
    write(tmp_path / "area.geojson", json.dumps(SQUARE))
    path = write(
        tmp_path / "recipes" / "town.yaml",
        """
        sources:
          - location: ../maps/*.tif
            name: survey 2024
            attribution: Survey Office
            licence: CC-BY-4.0
            date: 2024-05-01
          - {location: "https://tiles.example.org/{z}/{x}/{y}.png", kind: web, zoom: 18,
             date: 2023, cache: kept, requests_per_s: 1}
        tile_sizes_m: [96, 48, 96]
        overlap: 0.25
        area: ../area.geojson
        retired: [../area.geojson]
        index: {kind: ivf_rabitq, recall_at_10: 0.95, memory_gb: 2}
        """,
    )
    recipe = read_recipe(path)
    survey, server = recipe.sources
    assert survey.location == str(tmp_path / "maps" / "*.tif")
    assert (survey.name, survey.date) == ("survey-2024", "2024-05-01")
    assert server.location == "https://tiles.example.org/{z}/{x}/{y}.png"
    assert (server.name, server.cache) == ("tiles.example.org", str(path.parent / "kept"))
    assert server.date == "2023"
    assert recipe.tile_sizes_m == (48, 96)
    assert recipe.read_area().contains(0.5, 0.5)
    assert not recipe.read_retired()[0].contains(2, 2)
    assert recipe.index == IndexRequest(kind="ivf_rabitq", recall_at_10=0.95, memory_gb=2)
    assert GalleryRecipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sources: [", "cannot be read"),
        ("- 1", "the document"),
        ("sources: []", "sources"),
        ("sources: [{location: a.tif, colour: red}]", "colour"),
        ("sources: [{location: a.tif, kind: photo}]", "kind"),
        ("sources: [{location: a, name: x}, {location: b, name: x}]", "two sources are called 'x'"),
        ("sources: [{location: a.tif}]\ntile_sizes_m: [0.1]", "tile size 0.1 m"),
        ("sources: [{location: a.tif}]\noverlap: 1", "overlap 1"),
        ("sources: [{location: a.tif}]\narea: none.geojson", r"none\.geojson cannot be read"),
        ("sources: [{location: a.tif}]\narea: {type: Point, coordinates: [1, 2]}", "polygons"),
        ("sources: [{location: a.tif}]\nretired: [7]", "retired"),
        ("sources: [{location: a.tif}]\nindex: {kind: hnsw}", "index"),
        ("sources: [{location: a.tif}]\nindex: {recall_at_10: 2}", "recall_at_10"),
    ],
)
def test_bad_recipes_are_refused_by_name(tmp_path, text, said):
    path = write(tmp_path / "bad.yaml", text)
    with pytest.raises(RecipeError, match=rf"bad\.yaml.*{said}") as caught:
        read_recipe(path)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_is_one_sentence(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.yaml cannot be read: No such file"):
        read_recipe(tmp_path / "none.yaml")


def test_settled_sources_do_not_change_any_more(tmp_path):
    first = settle_sources(
        [SourceSpec(location="a/x.tif"), SourceSpec(location="b/x.tif")], tmp_path
    )
    assert [spec.name for spec in first] == ["x", "x-2"]
    assert first[0].location == str(tmp_path / "a" / "x.tif")
    assert settle_sources(first, tmp_path / "else") == first
    assert settle_sources(first[:1], tmp_path, taken=["x"])[0].name == "x-2"


def test_flags_make_the_recipe_of_their_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    area = write(tmp_path / "area.geojson", json.dumps({"type": "Feature", "geometry": SQUARE}))
    request = asked(
        "build", "--out", "g", "--source", "a.tif", "--source", "tiles.csv",
        "--tile-size-m", 96, "--tile-size-m", 48, "--overlap", 0.25, "--area", area,
        "--attribution", "me", "--licence", "CC0", "--date", "2024", "--index", "ivf-pq",
        "--recall", 0.9, "--index-memory-gb", 1.5, "--shards", 2, "--keep", 5,
    )  # fmt: skip
    recipe = request.recipe
    assert [spec.location for spec in recipe.sources] == [
        str(tmp_path / "a.tif"), str(tmp_path / "tiles.csv"),
    ]  # fmt: skip
    assert {spec.attribution for spec in recipe.sources} == {"me"}
    assert (recipe.tile_sizes_m, recipe.overlap) == ((48, 96), 0.25)
    assert recipe.read_area().contains(0.5, 0.5)
    assert recipe.index == IndexRequest(kind="ivf_pq_fastscan", recall_at_10=0.9, memory_gb=1.5)
    assert (request.shards, request.keep, request.engine) == (2, 5, "local")
    plain = asked("build", "--out", "g", "--source", "a.tif").recipe
    assert (plain.overlap, plain.index) == (0.5, IndexRequest())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no imagery was named"),
        (["--recipe", "r.yaml", "--source", "a.tif"], "--source cannot be combined"),
        (["--recipe", "r.yaml", "--overlap", "0"], "--overlap cannot be combined"),
        (["--recipe", "r.yaml", "--index", "exact"], "--index cannot be combined"),
        (["--source", "a.tif", "--overlap", "1"], "overlap 1.0"),
        (["--source", "a.tif", "--recall", "1.5"], "--recall 1.5 is out of range"),
        (["--source", "a.tif", "--recall", "nan"], "--recall nan is out of range"),
        (["--source", "a.tif", "--zoom", "99"], "--zoom 99 is out of range"),
        (["--source", "a.tif", "--area", "none.geojson"], "area none.geojson cannot be read"),
    ],
)
def test_flags_that_make_no_sense_are_wrong_usage(words, said):
    with pytest.raises(InvalidParameter, match=said):
        asked("build", "--out", "g", *words)


def test_update_says_what_changes(tmp_path):
    area = write(tmp_path / "area.geojson", json.dumps(SQUARE))
    nothing = asked("update", "--gallery", "g")
    assert (nothing.changes.add, nothing.changes.remove, nothing.changes.index) == ((), (), None)
    request = asked(
        "update", "--gallery", "g", "--add-source", "a.tif", "--licence", "CC0",
        "--remove-source", "old", "--retire", area, "--restore", "--everywhere", "--reread",
        "--index", "exact",
    )  # fmt: skip
    changes = request.changes
    assert [(spec.location, spec.licence) for spec in changes.add] == [("a.tif", "CC0")]
    assert (changes.remove, changes.restore, changes.everywhere) == (("old",), True, True)
    assert changes.retire == (SQUARE,)
    assert changes.index == IndexRequest(kind="exact_f16")
    assert request.reread


def test_credits_without_a_new_source_are_wrong_usage():
    with pytest.raises(CrossfixError, match="--licence goes with --add-source"):
        asked("update", "--gallery", "g", "--licence", "CC0")


@pytest.mark.parametrize("words", ["Ortho\u0085 2024", "a\u2028b", "caf\x7f", "A\ufeffB", "x\ty"])
def test_a_json_recipe_keeps_its_words_and_small_numbers(tmp_path, words):
    ring = [[-0.00005, 51.4], [0.01, 51.4], [0.01, 51.5], [-0.00005, 51.4]]
    order = {
        "sources": [{"location": "a.tif", "attribution": words}],
        "tile_sizes_m": [40],
        "overlap": 0.00005,
        "area": {"type": "Polygon", "coordinates": [ring]},
    }
    write_json_atomic(tmp_path / "order.json", order)
    recipe = read_recipe(tmp_path / "order.json")
    assert (recipe.sources[0].attribution, recipe.overlap) == (words, 0.00005)
    assert recipe.read_area().bounds.west == -0.00005


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "key: [\n  TOP-SECRET", "it is not YAML, line 2, column 13"),
        ("a.yaml", "TOP-SECRET: [1]: 2", "it is not YAML, line 1"),
        ("a.json", '{"TOP-SECRET" 1}', "it is not JSON, line 1, column 15"),
        ("a.json", "NaN", "it is not JSON"),
        ("a.yaml", b"TOP-SECRET \xff", "it is not YAML"),
    ],
)
def test_a_broken_recipe_is_told_without_what_it_holds(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert said in str(caught.value)
    assert "SECRET" not in str(caught.value) + caught.value.hint


def test_libraries_words_are_not_passed_on(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"not a raster")
    with pytest.raises(SourceError) as caught:
        inspect_rasters([tmp_path / "a.tif"], Confinement.of((tmp_path,)))
    assert str(caught.value).endswith("it is in no raster format that may be read here")
    assert "any format" not in caught.value.hint
    area = {"type": "Polygon", "coordinates": [[["x", 1], [1, 1], [2, 2], ["x", 1]]]}
    with pytest.raises(InvalidParameter) as refused:
        Area.from_geojson(area)
    assert "convert" not in str(refused.value)
