"""Epochs on a real Ray cluster: refused, twenty in a row, two at a time; nothing is left of any."""

import pytest

from tests.end_to_end.test_ray_serving import run_scenes
from tests.sharded_world import SHARDS

MOST_MORE_MB, MOST_MORE_THREADS = 60, 6


@pytest.mark.slow
def test_a_refused_epoch_and_twenty_switches_leave_no_actor_thread_or_memory(tmp_path):
    told = run_scenes(tmp_path, "many", module="tests.ray_epochs")
    epochs = told["epochs"]
    assert told["damaged"]["ready"]["gallery_version"] == epochs["2"]
    assert told["damaged"]["ready"]["status"] == "ready"
    assert told["damaged"]["ready"]["last_reload_failure"]
    many = told["many"]
    assert (many["failed"], many["answered"]) == ([], [SHARDS])
    assert many["versions"] == sorted(epochs.values())
    early, late = many["sizes"][3], many["sizes"][-1]
    assert late["threads"] <= early["threads"] + MOST_MORE_THREADS, many["sizes"]
    assert late["mb"] <= early["mb"] + MOST_MORE_MB, many["sizes"]


@pytest.mark.slow
def test_an_epoch_that_finds_no_room_leaves_no_actor_waiting_for_it(tmp_path):
    told = run_scenes(tmp_path, "room", module="tests.ray_epochs")
    assert told["room"]["ready"]["gallery_version"] == told["epochs"]["2"]
    assert told["room"]["ready"]["last_reload_failure"] == "gallery_error"
    assert told["room"]["ready"]["shards_answering"] == SHARDS


@pytest.mark.slow
def test_front_doors_of_two_epochs_do_not_disturb_each_other(tmp_path):
    told = run_scenes(tmp_path, "doors", module="tests.ray_epochs")
    old, new = told["epochs"]["2"], told["epochs"]["3"]
    doors = told["doors"]
    assert (told["shared"], doors["actors"]) == (SHARDS, 2 * SHARDS)
    assert (doors["ahead"]["gallery_version"], doors["behind"]["gallery_version"]) == (new, old)
    for name, versions in (("ahead", [old, new]), ("behind", [old])):
        load = doors[f"{name}_load"]
        assert (load["failed"], load["answered"]) == ([], [SHARDS])
        assert load["versions"] == sorted(versions)
    assert (told["then"]["status"], told["then"]["shards_answering"]) == ("ready", SHARDS)
