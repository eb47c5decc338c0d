"""`python -m service --engine ray` on a real cluster: shards and nodes die, epochs change."""

import json
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.end_to_end.test_ray_build import MARK, ROOT, wait_for_end_of
from tests.sharded_world import SHARDS

pytest.importorskip("ray", reason="pip install 'crossfix[ray]'")

PATIENCE_S = 600
PART = "parts of the gallery did not answer"


def run_scenes(folder: Path, scenes: str, *, module: str = "tests.ray_serving") -> dict:
    """A cluster in a process of its own: its warnings are not this suite's."""
    # The service takes no variable that begins with CROSSFIX_ and is no setting.
    mark = f"test-{uuid.uuid4()}"
    with tempfile.TemporaryDirectory(prefix="ray-") as scratch:  # short: it holds sockets
        done = subprocess.run(
            [sys.executable, "-m", module, str(folder), scenes],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_TMPDIR": scratch, f"X_{MARK}": mark},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        log = folder / "service.log"
        said = log.read_text()[-3000:] if log.is_file() else ""
        assert done.returncode == 0, done.stderr[-4000:] + said
        assert wait_for_end_of(mark) == []
        assert "SIGTERM" not in said, "Ray takes a stop for a crash, and would abort the service"
        assert json.loads(said.splitlines()[-1])["event"] == "stopped"
    return json.loads((folder / "told.json").read_text())


def check_answers(told: dict, scene: str) -> list[dict]:
    """Nobody was turned away; whole answers are those of one piece, others say what they are."""
    assert told[scene]["failed"] == []
    answers = told[scene]["answers"]
    for answer in answers:
        expected = told["expected"][f"{answer['version']}/{answer['photo']}"]
        if answer["answered"] == SHARDS:
            assert answer["matches"] == expected["matches"]
            assert answer["estimate"] == expected["estimate"]
            assert not any(PART in text for text in answer["warnings"])
            continue
        kept = [one for one in expected["matches"] if one in answer["matches"]]
        assert kept == answer["matches"], "what is there is of this epoch, in the same order"
        assert any(PART in text for text in answer["warnings"])
        if answer["estimate"]["confidence"] is not None:
            assert answer["estimate"]["confidence"] <= answer["answered"] / SHARDS
    return answers


def check_the_end(told: dict) -> None:
    assert f"crossfix_shards {SHARDS}.0" in told["metrics"]
    assert f"crossfix_shards_answering {SHARDS}.0" in told["metrics"]
    assert (told["gallery"]["tiles"], told["gallery"]["shards_lost"]) == (16, [])
    assert told["left_s"] < 20, "the shards' processes end with the service that asked for them"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["alone", "cluster"])
def test_a_killed_shard_is_flagged_and_comes_back(tmp_path, where):
    told = run_scenes(tmp_path, f"{where},shard")
    answers = check_answers(told, "shard")
    partial = [one for one in answers if one["answered"] < SHARDS]
    assert partial
    assert {one["answered"] for one in partial} == {SHARDS - 1}
    assert f"crossfix_partial_answers_total {float(len(partial))}" in told["metrics"]
    check_the_end(told)


@pytest.mark.slow
def test_epochs_change_under_load_and_a_lost_node_is_replaced(tmp_path):
    told = run_scenes(tmp_path, "switch,node")
    answers = check_answers(told, "switch")
    assert {one["version"] for one in answers} == set(told["epochs"].values())
    assert all(one["answered"] == SHARDS for one in answers)
    answers = check_answers(told, "node")
    assert told["degraded"] == "degraded"
    assert min(one["answered"] for one in answers) >= 1
    check_the_end(told)
