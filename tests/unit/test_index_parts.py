"""Parts: the same at every planning, whole groups; their files: whole or not there."""

import logging
import pickle

import numpy as np
import pytest

from crossfix.geodesy import Bounds
from index_builder.embedding.part_file import (
    LeftOut,
    PartContent,
    PartResult,
    TileRecord,
    open_part,
    part_path,
    read_left_out,
    read_result,
    vectors_of,
    write_part,
)
from index_builder.embedding.parts import PART_TILES, Part, iterate_parts, survey_parts
from index_builder.recipe import GalleryRecipe
from index_builder.sources.source import TilePlan
from index_builder.sources.spec import SourceSpec
from tests.made_up_source import GROUP_TILES, MadeUpSource

SPECS = (SourceSpec(location="fake"),)


def recipe(**changes):
    return GalleryRecipe(sources=SPECS, tile_sizes_m=(30.0,), **changes)


def square(plan, half=1e-9):
    west, east, south, north = plan.lon - half, plan.lon + half, plan.lat - half, plan.lat + half
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def test_parts_hold_whole_groups_in_the_order_of_the_plan():
    source = MadeUpSource(1000)
    parts = list(iterate_parts([source], recipe()))
    assert [plan for part in parts for plan in part.plans] == list(source.plan(30.0, 0.5))
    assert [part.number for part in parts] == list(range(len(parts)))
    assert all(len(part.plans) % GROUP_TILES == 0 for part in parts[:-1])
    assert all(PART_TILES - GROUP_TILES < len(part.plans) <= PART_TILES for part in parts[:-1])
    assert pickle.loads(pickle.dumps(parts)) == parts


def test_a_group_larger_than_a_part_is_cut():
    class OneGroup(MadeUpSource):
        def plan(self, *arguments):
            for plan in super().plan(*arguments):
                yield TilePlan(**{**vars(plan), "group": "all"})

    parts = list(iterate_parts([OneGroup(700)], recipe()))
    assert [len(part.plans) for part in parts] == [PART_TILES, PART_TILES, 700 - 2 * PART_TILES]


def test_area_retired_sizes_and_sources():
    first, second = MadeUpSource(20, name="a"), MadeUpSource(10, name="b")
    plans = list(first.plan(30.0, 0.5))
    two = GalleryRecipe(
        sources=(SourceSpec(location="a"), SourceSpec(location="b")),
        tile_sizes_m=(30.0, 60.0),
        retired=(square(plans[3]),),
    )
    ids = [
        (part.source, plan.tile_id)
        for part in iterate_parts([first, second], two)
        for plan in part.plans
    ]
    assert (0, "a-30m-3") not in ids
    assert (1, "b-30m-3") not in ids, "it lies at the same place"
    assert len(ids) == 2 * (20 + 10) - 2
    inside = [
        p for part in iterate_parts([first], recipe(area=square(plans[8]))) for p in part.plans
    ]
    assert [plan.tile_id for plan in inside] == ["a-30m-8"]


def test_a_source_with_sizes_of_its_own_is_planned_once():
    source = MadeUpSource(5)
    source.has_own_sizes = True
    two_sizes = GalleryRecipe(sources=SPECS, tile_sizes_m=(20.0, 40.0))
    assert survey_parts(iterate_parts([source], two_sizes)).tiles == 5


def test_a_survey_tells_plans_apart():
    def survey(source, **changes):
        return survey_parts(iterate_parts([source], recipe(**changes)))

    plain = survey(MadeUpSource(300))
    assert (plain.parts, plain.tiles) == (2, 300)
    assert survey(MadeUpSource(300)) == plain
    assert survey(MadeUpSource(299)).digest != plain.digest
    assert survey(MadeUpSource(300, name="other")).digest != plain.digest


def make_part(directory, number=0, count=5, dim=7):
    rng = np.random.default_rng(number)
    plans = [
        TilePlan(f"t{i}", 1.0, 2.0, Bounds(0, 1, 2, 3), 30.0, None, "d", "a", "l", 0, i)
        for i in range(count + 2)
    ]
    content = PartContent(
        records=[TileRecord(plan, "s", 0.5, "ff") for plan in plans[:count]],
        embeddings=rng.standard_normal((count, dim)).astype(np.float16),
        jpegs=[rng.bytes(50) for _ in range(count)],
        left_out=[LeftOut(plans[count]), LeftOut(plans[count + 1], "it is broken")],
    )
    result = PartResult(number, count, 1, ("it is broken",), 0, 0.5, 1.5)
    write_part(directory, result, content)
    return result, content


@pytest.mark.parametrize("count", [0, 5])
def test_a_part_file_gives_back_what_was_written(tmp_path, count):
    result, content = make_part(tmp_path, count=count)
    assert read_result(tmp_path, 0) == result
    assert read_result(tmp_path, 1) is None
    batch = open_part(tmp_path, 0)
    np.testing.assert_array_equal(vectors_of(batch), content.embeddings)
    assert batch.column("jpeg").to_pylist() == list(content.jpegs)
    assert batch.column("tile_id").to_pylist() == [f"t{i}" for i in range(count)]
    assert [(one["tile_id"], one["why"]) for one in read_left_out(batch)] == [
        (f"t{count}", ""),
        (f"t{count + 1}", "it is broken"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000000.arrow"]


def test_a_torn_or_damaged_part_is_not_there(tmp_path):
    make_part(tmp_path)
    path = part_path(tmp_path, 0)
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        assert read_result(tmp_path, 0) is None
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        assert read_result(tmp_path, 0) is None


def test_a_long_planning_says_how_far_it_is(monkeypatch, caplog):
    monkeypatch.setattr("index_builder.embedding.parts.SAY_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO, logger="index_builder"):
        survey_parts(iter([Part(0, 0, ()), Part(1, 0, ())]))
    assert [record.getMessage() for record in caplog.records] == ["0 tiles planned so far"] * 2
