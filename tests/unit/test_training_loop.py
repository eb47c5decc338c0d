"""A run in one process: what it refuses, guards against, saves, reports and stops at."""

import errno
import json
import math
import signal

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from crossfix.errors import DataError, DeviceUnavailable, RecipeError
from tests.tiny_pairs import right_of, table, tiny
from training.loop import checkpoint
from training.loop.checkpoint import RunState, load_checkpoint, load_run, save_recipe
from training.loop.devices import build_accelerator, choose_device
from training.loop.guard import StopRequest, TrainingCollapsed, TrainingStopped
from training.loop.losses import RecentLosses
from training.loop.progress import Throughput, append_row, keep_rows
from training.loop.trainer import Trainer

RANDOM = ("sampling.strategy=random", "sampling.exclude_within_m=0")


def trainer_on(folder, *overrides, pairs=None, validate=None):
    folder.mkdir(exist_ok=True)
    recipe = tiny(*RANDOM, *overrides)
    save_recipe(folder, recipe)
    pairs = pairs or table(recipe, 24)
    return Trainer(recipe, {"drone": pairs}, folder, validate=validate)


def rows(folder, kind="train"):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def test_what_the_device_cannot_do_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceUnavailable, match="cuda"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"
    with pytest.raises(RecipeError, match="fp16 needs a GPU"):
        build_accelerator(tiny("runtime.precision=fp16"))


def test_a_run_learns_and_its_best_and_last_weights_can_be_loaded(tmp_path):
    recipe = tiny()
    pairs = table(recipe, 24)
    done = trainer_on(
        tmp_path, "schedule.epochs=12", "runtime.evaluate_every=2", pairs=pairs,
        validate=right_of(pairs),
    ).train()  # fmt: skip
    assert done["step"] == 36
    losses = [row["loss"] for row in rows(tmp_path)]
    assert losses[-1] < 0.7 * losses[0]
    figures = [row["selection"] for row in rows(tmp_path, "validation")]
    assert len(figures) == 6
    assert done["selection"] == figures[-1]
    saved = torch.load(tmp_path / "best.pt")
    assert saved["best"] == max(figures)
    for weights, path in (("best", "best.pt"), ("last", "checkpoint.pt")):
        _, model = load_run(tmp_path, weights=weights)
        average = torch.load(tmp_path / path)["average"]
        assert all(torch.equal(average[name], v) for name, v in model.state_dict().items())
    with_random = load_run(tmp_path, weights="random")[1].state_dict()
    assert any(not torch.equal(average[name], v) for name, v in with_random.items())


def test_a_run_without_validation_offers_its_last_weights_as_the_best(tmp_path):
    trainer_on(tmp_path, "schedule.epochs=1").train()
    assert not (tmp_path / "best.pt").exists()
    assert load_run(tmp_path)[1].embedding_dim == 16


def test_a_collapsed_run_stops_with_its_name(tmp_path):
    trainer = trainer_on(tmp_path, "runtime.collapse_after_steps=3", "optimiser.lr=1e-12")
    trainer.learner.model.heads["shared"].projection.weight.data.zero_()
    with pytest.raises(TrainingCollapsed, match="after 3 steps"):
        trainer.train()


def test_a_loss_that_holds_the_guide_too_is_not_taken_for_a_collapse(tmp_path):
    trainer = trainer_on(
        tmp_path, "runtime.collapse_after_steps=3", "schedule.epochs=1", "data.tile_px=64",
        "data.query_views=[drone, ground]",
        "model.tile_transform={kind: affine_stn, height_px: 32, width_px: 64, guide_weight: 0.7}",
    )  # fmt: skip
    trainer.learner.model.heads["shared"].projection.weight.data.zero_()
    assert trainer.train()["step"] == 3
    assert all(row["loss"] > math.log(8) for row in rows(tmp_path))


def test_a_damaged_or_absent_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="damaged"):
        load_checkpoint(tmp_path)


def test_another_model_is_not_resumed(tmp_path):
    trainer_on(tmp_path, "schedule.epochs=1").train()
    for change in ("model.embedding_dim=24", "model.orientation_maps=false",
                   "optimiser.decay_vectors=true"):  # fmt: skip
        with pytest.raises(DataError, match="another model"):
            trainer_on(tmp_path, change).resume()


def test_more_epochs_can_be_added_to_a_finished_run(tmp_path):
    trainer_on(tmp_path, "schedule.epochs=1").train()
    longer = trainer_on(tmp_path, "schedule.epochs=2")
    longer.resume()
    assert longer.train()["step"] == 6
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("problem", [
    OSError(errno.ENOSPC, "No space left on device"), RuntimeError("file write failed"),
])  # fmt: skip
def test_a_full_disk_keeps_the_former_checkpoint(tmp_path, monkeypatch, problem):
    trainer_on(tmp_path, "schedule.epochs=1").train()
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def half_written(_, path):
        path.write_bytes(before[:100])
        raise problem

    trainer = trainer_on(tmp_path, "schedule.epochs=2")
    trainer.resume()
    monkeypatch.setattr(checkpoint.torch, "save", half_written)
    with pytest.raises(DataError, match=r"checkpoint.pt cannot be written") as caught:
        trainer.train()
    assert "disk space" in caught.value.hint
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*partial"))


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        append_row(tmp_path / "absent" / "log.jsonl", {"step": 1})


def test_an_unreadable_image_stops_the_run_and_is_named(tmp_path):
    pairs = table(tiny(), 24, unreadable={5})
    with pytest.raises(DataError, match=r"set-1/0005\.png"):
        trainer_on(tmp_path, pairs=pairs).train()


def test_a_budget_ends_the_run_with_the_rate_annealed(tmp_path):
    pairs = table(tiny(), 24)
    done = trainer_on(
        tmp_path, "runtime.max_minutes=0.01", "schedule.epochs=10000", "runtime.evaluate_every=0",
        pairs=pairs, validate=right_of(pairs),
    ).train()  # fmt: skip
    assert 0 < done["step"] < 30_000
    assert math.isfinite(done["loss"])
    assert 0 <= done["selection"] <= 1
    last = rows(tmp_path)[-1]
    assert last["lr"] < 0.2 * max(row["lr"] for row in rows(tmp_path))
    again = trainer_on(tmp_path, "runtime.max_minutes=0.01", "schedule.epochs=10000")
    again.resume()
    assert again.train()["step"] == done["step"]


def test_chunks_checkpointing_and_low_precision_train_as_well(tmp_path):
    plain = trainer_on(tmp_path / "plain", "schedule.epochs=1").train()
    saving = trainer_on(
        tmp_path / "saving", "schedule.epochs=1", "runtime.micro_batch=3",
        "runtime.gradient_checkpointing=true", "runtime.channels_last=false",
    ).train()  # fmt: skip
    assert saving["loss"] == pytest.approx(plain["loss"], abs=1e-3)
    low = trainer_on(tmp_path / "low", "schedule.epochs=1", "runtime.precision=bf16").train()
    assert low["loss"] == pytest.approx(plain["loss"], rel=0.05)


def test_the_log_has_a_row_after_so_many_steps_and_tensorboard_the_same(tmp_path):
    pairs = table(tiny(), 24)
    trainer_on(tmp_path, "runtime.log_every_steps=1", "schedule.epochs=2").train()
    single = [row["loss"] for row in rows(tmp_path)]
    folder = tmp_path / "grouped"
    trainer_on(
        folder, "runtime.log_every_steps=3", "schedule.epochs=2", pairs=pairs,
        validate=right_of(pairs),
    ).train()  # fmt: skip
    grouped = rows(folder)
    assert [row["step"] for row in grouped] == [3, 6]
    assert grouped[1]["loss"] == pytest.approx(sum(single[3:]) / 3)
    assert set(grouped[0]) == {"kind", "step", "epoch", "elapsed_s", "loss", "lr", "scale",
                               "images_per_s", "minutes_left"}  # fmt: skip
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    kept = [(event.step, event.value) for event in board.Scalars("train/loss")]
    assert kept == [(row["step"], pytest.approx(row["loss"])) for row in grouped]
    assert len(board.Scalars("validation/selection")) == 2


def test_pauses_are_no_training_time():
    now = [0.0]
    throughput = Throughput(clock=lambda: now[0])
    throughput.add(300)
    now[0] = 2.0
    with throughput.paused():
        now[0] = 100.0
    now[0] = 101.0
    assert throughput.take() == pytest.approx(100)
    throughput.add(10)
    now[0] = 102.0
    assert throughput.take() == pytest.approx(10)


def test_a_log_keeps_wanted_rows_and_loses_a_torn_one(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    keep_rows(path, lambda row: row["step"] <= 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    keep_rows(tmp_path / "absent", bool)
    assert not (tmp_path / "absent").exists()


def test_recent_losses_are_kept_in_order_without_waiting():
    losses = RecentLosses(3, [9.0, 8.0])
    for value in (7.0, 6.5):
        losses.add(torch.tensor(value))
    assert losses.values() == [8.0, 7.0, 6.5]
    assert RunState(losses=losses.values()).losses == [8.0, 7.0, 6.5]


def test_a_stop_is_noted_and_a_later_second_one_works_as_usual(monkeypatch):
    former = signal.default_int_handler  # a job in the background of a shell begins without it
    ours = signal.signal(signal.SIGINT, former)
    with StopRequest() as stop:
        assert not stop.asked
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # passed on by a launcher: no second wish
        assert stop.asked
        monkeypatch.setattr("training.loop.guard.REPEATED_WITHIN_S", -1.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.signal(signal.SIGINT, ours) is former


def test_a_stopped_run_tells_where_and_goes_on_from_there(tmp_path):
    trainer = trainer_on(tmp_path, "schedule.epochs=2")
    after_step = trainer._after_step

    def stop_at_two():
        trainer._stop.asked = trainer.state.step == 2
        after_step()

    trainer._after_step = stop_at_two
    with pytest.raises(TrainingStopped, match="stopped at step 2 of 6"):
        trainer.train()
    again = trainer_on(tmp_path, "schedule.epochs=2")
    again.resume()
    assert again.state.step == 2
    assert again.train()["step"] == 6


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_trains_in_every_precision_and_a_resumed_run_is_the_same(tmp_path, precision):
    wanted = ("runtime.device=cuda", f"runtime.precision={precision}", "runtime.micro_batch=3",
              "schedule.epochs=2")  # fmt: skip
    trainer_on(tmp_path / "whole", *wanted).train()
    stopped = trainer_on(tmp_path / "parts", *wanted)
    after_step = stopped._after_step

    def stop_at_two():
        stopped._stop.asked = stopped.state.step == 2
        after_step()

    stopped._after_step = stop_at_two
    with pytest.raises(TrainingStopped):
        stopped.train()
    resumed = trainer_on(tmp_path / "parts", *wanted)
    resumed.resume()
    resumed.train()
    losses = [[row["loss"] for row in rows(tmp_path / part)] for part in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert all(map(math.isfinite, losses[0]))
