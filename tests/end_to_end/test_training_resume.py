"""A run killed at several steps and resumed takes the very steps of a run never killed."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
STEPS = 42  # six epochs of seven batches


def start(folder, *overrides):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.resumable_run", str(folder), *overrides],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def rows(folder, kind="train"):
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row for row in found if row["kind"] == kind]


def wait_for_step(process, folder, step):
    limit_s = time.monotonic() + 60
    while not rows(folder) or rows(folder)[-1]["step"] < step:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit_s
        time.sleep(0.005)


def end(process):
    _, messages = process.communicate(timeout=60)
    return process.returncode, messages


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run never killed, which goes on beside the tests until it is asked for."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder)

    @cache
    def finished():
        code, messages = end(process)
        assert code == 0, messages
        assert len(rows(folder)) == STEPS
        return folder

    yield finished
    process.kill()
    process.wait()


def assert_same_run(folder, whole):
    for kind, names in (("train", ("step", "epoch", "loss", "lr", "scale")),
                        ("validation", ("step", "epoch", "selection"))):  # fmt: skip
        expected = [[row[name] for name in names] for row in rows(whole, kind)]
        assert [[row[name] for name in names] for row in rows(folder, kind)] == expected
    for name in ("checkpoint.pt", "best.pt"):
        found, expected = (torch.load(run / name)["average"] for run in (folder, whole))
        assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_run_killed_again_and_again_takes_the_very_steps_of_one_never_killed(whole, tmp_path):
    for step in (3, 12, 23):  # random batches, distance neighbours, similarity neighbours
        process = start(tmp_path)
        wait_for_step(process, tmp_path, step)
        os.kill(process.pid, signal.SIGKILL)
        assert end(process)[0] == -signal.SIGKILL
        assert rows(tmp_path)[-1]["step"] < STEPS
    code, messages = end(start(tmp_path, "runtime.workers=1"))
    assert code == 0, messages
    assert "resumed at step" in messages
    assert_same_run(tmp_path, whole())


def test_stop_signals_save_say_so_and_the_run_can_go_on(whole, tmp_path):
    for number, step in ((signal.SIGINT, 8), (signal.SIGTERM, 25)):
        process = start(tmp_path, "runtime.workers=1", "runtime.checkpoint_minutes=1000")
        wait_for_step(process, tmp_path, step)
        os.killpg(process.pid, number)  # loading processes as well, as a terminal does
        code, messages = end(process)
        assert code == 1
        stopped_at = rows(tmp_path)[-1]["step"]
        assert messages.splitlines()[-1] == (
            f"error: stopped at step {stopped_at} of {STEPS}; everything is saved"
        )
        assert "Traceback" not in messages
        assert torch.load(tmp_path / "checkpoint.pt")["state"]["step"] == stopped_at
    assert end(start(tmp_path))[0] == 0
    assert_same_run(tmp_path, whole())
