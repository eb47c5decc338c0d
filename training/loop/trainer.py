"""The training loop: batches, step, schedule, checkpoints, evaluation, in one or many processes."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import torch

from crossfix.errors import DataError
from crossfix.view import ViewName
from training.datasets.split import PairTable
from training.embedding import EmbedImages, image_set_embedder
from training.loop.checkpoint import (
    CHECKPOINT_FILE,
    RunState,
    load_checkpoint,
    save_best,
    save_checkpoint,
)
from training.loop.guard import StopRequest, TrainingStopped, check_collapse, finite_losses
from training.loop.learner import Learner
from training.loop.loader import PairLoader, death_explained, share_of
from training.loop.losses import RecentLosses
from training.loop.progress import LOG_FILE, Progress, Row, keep_rows
from training.loop.schedule import lr_share, progress_of, steps_per_epoch
from training.losses.batch import When
from training.losses.places import places_of
from training.recipe import Recipe
from training.sampling.batches import Batch, epoch_batches
from training.sampling.company import Company

LOGGER = logging.getLogger(__name__)

NEIGHBOURS = "neighbours"
LOSSES_KEPT = 50
FEW = 10  # losses that are looked at before weights are saved

# The embedder of the averaged model, and the step -> figures; `selection` among them, higher is
# better. Every process calls it, and all must come to the same figures.
Validate = Callable[[EmbedImages, int], Mapping[str, float]]


class Trainer:
    """One run: build it, `resume()` if there is a checkpoint, then `train()`.

    A resumed run takes the very steps that an unbroken one takes: whatever is random follows from
    the seed and the step, and the checkpoint holds the rest. Under torchrun, build it in every
    process.

    Args:
        tables: the training pairs of each query view.
        run: the run's folder, which exists; holds checkpoints, log and neighbour tables.

    Raises:
        DeviceUnavailable: the recipe wants CUDA and there is none.
        RecipeError: precision, batch, loss or checkpointing do not suit device, data or network.
    """

    def __init__(
        self, recipe: Recipe, tables: Mapping[ViewName, PairTable], run: Path, *,
        validate: Validate | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.tables, self.run, self._validate = recipe, tables, run, validate
        self.learner = Learner(recipe, places=places_of(recipe, tables))
        self.accelerator = self.learner.accelerator
        self.main = self.accelerator.is_main_process
        self.company = Company(
            recipe, tables, run / NEIGHBOURS, main_process=self.main,
            device=self.accelerator.device,
        )  # fmt: skip
        self.loader = PairLoader(tables, recipe, self.accelerator)
        self.state = RunState()
        self._start_clock()

    def resume(self) -> None:
        """Continues from the run's checkpoint.

        Raises:
            DataError: there is none, or it is of another model.
        """
        content = load_checkpoint(self.run)
        try:
            self.learner.restore(content)
            self.state = RunState(**content["state"])
        except (RuntimeError, ValueError, KeyError, TypeError) as problem:
            raise DataError(
                f"{self.run / CHECKPOINT_FILE} is of another model than the recipe's",
                hint="resume with the recipe the run was started with",
            ) from problem
        LOGGER.info("resumed at step %d, epoch %d", self.state.step, self.state.epoch)

    def train(self) -> dict[str, Any]:
        """Trains to the end of the epochs or of the time budget.

        Returns:
            Steps, epochs, seconds, mean of the last losses and the last validation figures.

        Raises:
            TrainingCollapsed: the loss stayed at that of equal features.
            TrainingStopped: by Ctrl-C or SIGTERM, after saving.
            DataError: an image cannot be read, the run's folder cannot be written, or a loading
                process died.
        """
        self._start_clock()
        self._fit_schedule()
        if self.main:
            keep_rows(self.run / LOG_FILE, self._is_done)
        reports = Progress(
            self.run, step=self.state.step, total_steps=self.total_steps, main=self.main
        )
        self._stop, self._reports = StopRequest(), reports
        with reports, closing(self.loader), death_explained(), self._stop:
            self._evaluate_if_due()  # a run may have been killed before it came to it
            while not self._at_end():
                self._run_epoch()
                self._save()
                self._evaluate_if_due()
        losses = self._losses.values()
        state = self.state
        return {
            "step": state.step, "epoch": state.epoch, "elapsed_s": state.elapsed_s,
            "loss": sum(losses) / len(losses) if losses else math.nan, **state.figures,
        }  # fmt: skip

    @property
    def total_steps(self) -> int:
        """Of the schedule; known once training has begun."""
        return self.state.steps_per_epoch * self.recipe.schedule.epochs

    def _embedder(self, *, add_mirrored: bool = False) -> EmbedImages:
        runtime = self.recipe.runtime
        return image_set_embedder(
            self.learner.averaged_model(), precision=runtime.precision, workers=runtime.workers,
            add_mirrored=add_mirrored,
        )  # fmt: skip

    def _start_clock(self) -> None:
        self._saved_s = time.monotonic()
        self._began_s = self._saved_s - self.state.elapsed_s
        kept = max(LOSSES_KEPT, self.recipe.runtime.log_every_steps)
        self._losses = RecentLosses(kept, self.state.losses)

    def _fit_schedule(self) -> None:
        if not self.state.steps_per_epoch:
            self.state.steps_per_epoch = steps_per_epoch(
                batches=len(self._batches(0)),
                pairs=[len(table) for table in self.tables.values()],
                batch_size=self.recipe.sampling.batch_size,
                mode=self.recipe.mode,
            )

    def _batches(self, epoch: int) -> list[Batch]:
        sampling = self.recipe.sampling
        items = self.company.items(epoch, self._embedder)
        return epoch_batches(
            items, batch_size=sampling.batch_size, neighbour_select=sampling.neighbour_select,
            seed=self.recipe.runtime.seed, epoch=epoch,
        )  # fmt: skip

    def _run_epoch(self) -> None:
        with self._reports.throughput.paused():
            batches = self._batches(self.state.epoch)
        tasks = share_of(
            batches[self.state.step_in_epoch :], first_step=self.state.step,
            rank=self.accelerator.process_index, processes=self.accelerator.num_processes,
        )  # fmt: skip
        self.learner.model.train()
        for _, pairs in self.loader.batches(tasks):
            when = When(self.state.step, self.state.epoch)
            loss = self.learner.take_step(pairs, lr=self._lr(), when=when)
            self._losses.add(loss)
            self.state.step += 1
            self.state.step_in_epoch += 1
            self._after_step()
            if self._out_of_time():
                return
        self.state.epoch, self.state.step_in_epoch = self.state.epoch + 1, 0

    def _after_step(self) -> None:
        state, runtime = self.state, self.recipe.runtime
        self._reports.step(2 * self.recipe.sampling.batch_size)
        stop = self._agree()
        if state.step % runtime.log_every_steps == 0:
            self._report_training()
        if state.step == runtime.collapse_after_steps:
            self._check_collapse()
        if stop:
            self._save_and_stop()
        if time.monotonic() - self._saved_s > 60 * runtime.checkpoint_minutes:
            self._save()

    def _check_collapse(self) -> None:
        recipe, criterion = self.recipe, self.learner.criterion
        alike = criterion.loss_when_collapsed(recipe.sampling.batch_size)
        if alike is not None:
            alike *= recipe.schedule.loss_scale_at(self.state.epoch)
        check_collapse(
            self._losses.values(), step=self.state.step,
            collapsed_loss=None if recipe.model.guide_weight else alike,  # the guide is added
            nothing_is_worse=criterion.nothing_is_worse,
        )  # fmt: skip

    def _save_and_stop(self) -> NoReturn:
        self._save()
        self.accelerator.wait_for_everyone()  # torchrun ends all when the first one ends
        raise TrainingStopped(
            f"stopped at step {self.state.step} of {self.total_steps}; everything is saved",
            hint="pass --resume to go on",
        )

    def _agree(self) -> bool:
        """Sets the clock, the same in all processes; tells whether any was asked to stop."""
        self.state.elapsed_s = time.monotonic() - self._began_s
        if self.accelerator.num_processes == 1:
            return self._stop.asked
        own = [self.state.elapsed_s if self.main else 0.0, float(self._stop.asked)]
        shared = torch.tensor(own, dtype=torch.float64, device=self.accelerator.device)
        self.state.elapsed_s, asked = self.accelerator.reduce(shared, "sum").tolist()
        return bool(asked)

    def _lr(self) -> float:
        return self.recipe.optimiser.lr * lr_share(
            self.recipe.schedule, step=self.state.step, progress=self._progress(),
            steps_per_epoch=self.state.steps_per_epoch,
        )  # fmt: skip

    def _progress(self) -> float:
        return progress_of(
            step=self.state.step,
            total_steps=self.total_steps,
            elapsed_s=self.state.elapsed_s,
            max_minutes=self.recipe.runtime.max_minutes,
        )

    def _out_of_time(self) -> bool:
        budget = self.recipe.runtime.max_minutes
        return budget is not None and self.state.elapsed_s >= 60 * budget

    def _at_end(self) -> bool:
        return self.state.epoch >= self.recipe.schedule.epochs or self._out_of_time()

    def _report_training(self) -> None:
        recent = self._losses.values()[-self.recipe.runtime.log_every_steps :]
        finite = finite_losses(recent, step=self.state.step)
        progress = self._progress()
        left_s = self.state.elapsed_s * (1 - progress) / max(progress, 1e-6)
        self._report("train", {
            "loss": sum(finite) / len(finite),
            "lr": self.learner.lr,
            **self.learner.criterion.figures(),
            "images_per_s": self._reports.throughput.take(),
            "minutes_left": left_s / 60,
        })  # fmt: skip

    def _report(self, kind: str, figures: Mapping[str, float]) -> None:
        state = self.state
        head = {"kind": kind, "step": state.step, "epoch": state.epoch}
        self._reports.report({**head, "elapsed_s": round(state.elapsed_s, 1), **figures})

    def _is_done(self, row: Row) -> bool:
        """Whether a row of the log tells of something the checkpoint contains."""
        limit = self.state.evaluated_step if row["kind"] == "validation" else self.state.step
        return bool(row["step"] <= limit)

    def _evaluate_if_due(self) -> None:
        state, every = self.state, self.recipe.runtime.evaluate_every
        regular = every and not state.step_in_epoch and state.epoch and state.epoch % every == 0
        if state.evaluated_step == state.step or not (regular or self._at_end()):
            return
        if self._validate is not None:
            with self._reports.throughput.paused():
                embed = self._embedder(add_mirrored=self.recipe.data.add_mirrored)
                figures = self._validate(embed, state.step)
            state.figures = {name: float(value) for name, value in figures.items()}
            self._report("validation", state.figures)
            if state.figures["selection"] > (-math.inf if state.best is None else state.best):
                state.best = state.figures["selection"]
                if self.main:
                    save_best(self.run, self.learner.average.values, state)
        state.evaluated_step = state.step
        self._agree()
        self._save()

    def _save(self) -> None:
        self.state.losses = self._losses.values()
        finite_losses(self.state.losses[-FEW:], step=self.state.step)
        if self.main:
            save_checkpoint(self.run, {**self.learner.content(), "state": vars(self.state)})
            self.company.forget_before(self.state.epoch)
        self._saved_s = time.monotonic()
