"""The training loop: batches, loss, optimiser, time budget, checkpoints, validation."""

import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from crossfix.errors import CrossfixError, DataError
from training.augment import Pair
from training.batches import PairSource
from training.checkpoint import (
    CHECKPOINT_FILE,
    AveragedWeights,
    RunState,
    load_checkpoint,
    save_checkpoint,
)
from training.company import items_without_company, refresh_company
from training.loss import symmetric_info_nce
from training.model import CrossViewEncoder
from training.optimiser import build_optimiser, choose_device
from training.recipe import Recipe
from training.sampling import Batch, epoch_batches
from training.schedule import lr_share, progress_of

LOGGER = logging.getLogger(__name__)

LOG_FILE = "log.jsonl"
LOG_EVERY_S = 15.0
COLLAPSED_SHARE = 0.98

Validate = Callable[[CrossViewEncoder], Mapping[str, float]]


class TrainingCollapsed(CrossfixError):
    """All embeddings are alike: the loss stays at ln(batch)."""

    code: ClassVar[str] = "training_collapsed"


@dataclass
class Meter:
    """Losses and images since the last report."""

    since_s: float
    images: int = 0
    losses: int = 0
    loss_sum: float = 0.0

    def add(self, loss: float, images: int) -> None:
        """Counts one step."""
        self.images, self.losses = self.images + images, self.losses + 1
        self.loss_sum += loss


class Trainer:
    """One run: build it, then `train()`.

    Args:
        source: the training pairs.
        run: the run's folder; holds checkpoint and log.
        validate: called with the averaged model now and then; returns figures to log.

    Raises:
        DeviceUnavailable: the recipe wants CUDA and there is none.
    """

    def __init__(
        self, recipe: Recipe, source: PairSource, run: Path, *, validate: Validate | None = None
    ) -> None:
        self.recipe, self.source, self.run, self._validate = recipe, source, run, validate
        self.device = choose_device(recipe.runtime.device)
        if recipe.runtime.threads:
            torch.set_num_threads(recipe.runtime.threads)
        torch.manual_seed(recipe.runtime.seed)
        self.model = CrossViewEncoder(recipe.model, recipe.loss).to(self.device)
        if recipe.runtime.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.optimiser = build_optimiser(self.model, recipe)
        self.average = AveragedWeights(self.model, recipe.runtime.ema_decay)
        self.state = RunState()
        self.items = items_without_company(source, recipe)
        self.total_steps = recipe.schedule.epochs * len(self._batches(0))
        self._recent: deque[float] = deque(maxlen=50)
        self._saved_s = self._started_s = time.monotonic()
        self._meter = Meter(since_s=self._started_s)

    def resume(self) -> None:
        """Continues from the run's checkpoint.

        Raises:
            DataError: there is none, or it is of another model.
        """
        content = load_checkpoint(self.run)
        try:
            self.model.load_state_dict(content["model"], strict=True)
            self.optimiser.load_state_dict(content["optimiser"])
        except (RuntimeError, ValueError, KeyError) as problem:
            raise DataError(
                f"{self.run / CHECKPOINT_FILE} is of another model than the recipe's",
                hint="resume with the recipe the run was started with",
            ) from problem
        for name, value in content["average"].items():
            self.average.values[name].copy_(value)
        self.state = RunState(**content["state"])
        LOGGER.info("resumed at step %d, epoch %d", self.state.step, self.state.epoch)

    def train(self) -> dict[str, Any]:
        """Trains to the end of the epochs or of the time budget.

        Returns:
            Steps, seconds, last loss and the last validation figures.

        Raises:
            TrainingCollapsed: the loss stayed at ln(batch).
        """
        self._started_s = self._saved_s = time.monotonic()
        self._meter = Meter(since_s=self._started_s)
        self._started_s -= self.state.elapsed_s
        figures: dict[str, float] = {}
        while self.state.epoch < self.recipe.schedule.epochs and not self._out_of_time():
            self.items = refresh_company(
                self.items, self.source, self.recipe, epoch=self.state.epoch,
                model=self.averaged_model,
            )  # fmt: skip
            self._run_epoch()
            every = self.recipe.runtime.evaluate_every
            if every and self.state.epoch % every == 0 and not self._out_of_time():
                figures = self._evaluate()
        self._save()
        figures = self._evaluate() or figures
        return {**asdict(self.state), "loss": self._recent_loss(), **figures}

    def averaged_model(self) -> CrossViewEncoder:
        """A copy of the model with the averaged weights, for evaluation."""
        untrained = self.recipe.model.model_copy(update={"pretrained": False})
        model = CrossViewEncoder(untrained, self.recipe.loss).to(self.device)
        model.load_state_dict(self.average.values, strict=True)
        return model.eval()

    def _run_epoch(self) -> None:
        batches = self._batches(self.state.epoch)
        self.model.train()
        for batch in batches[self.state.step_in_epoch :]:
            pair = self.source.batch(batch, seed=[self.recipe.runtime.seed, 1, self.state.step])
            loss = self._step(pair)
            self._meter.add(loss, 2 * len(batch.indices))
            self._recent.append(loss)
            self.state.step_in_epoch += 1
            self._guard_against_collapse()
            self._housekeeping()
            if self._out_of_time():
                return
        self.state.epoch, self.state.step_in_epoch = self.state.epoch + 1, 0

    def _step(self, pair: Pair) -> float:
        share = lr_share(
            step=self.state.step,
            progress=self._progress(),
            warmup_steps=self.recipe.schedule.warmup_steps,
            final_share=self.recipe.schedule.final_lr_share,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.optimiser.lr * share
        loss = self._loss(pair)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optimiser.clip_norm)
        self.optimiser.step()
        self.state.step += 1
        self.average.update(self.model, self.state.step)
        return float(loss.detach())

    def _loss(self, pair: Pair) -> Tensor:
        bf16 = self.recipe.runtime.precision == "bf16"
        layout = torch.channels_last if self.recipe.runtime.channels_last else None
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            photo, tile = (
                self.model(images.to(self.device, memory_format=layout or torch.contiguous_format))
                for images in (pair.photo, pair.tile)
            )
        smoothing = self.recipe.loss.label_smoothing
        return symmetric_info_nce(
            photo.float(), tile.float(), self.model.scale(), label_smoothing=smoothing
        )

    def _batches(self, epoch: int) -> list[Batch]:
        sampling = self.recipe.sampling
        return epoch_batches(
            self.items,
            batch_size=sampling.batch_size,
            neighbour_select=sampling.neighbour_select,
            seed=self.recipe.runtime.seed,
            epoch=epoch,
        )

    def _progress(self) -> float:
        return progress_of(
            step=self.state.step,
            total_steps=self.total_steps,
            elapsed_s=time.monotonic() - self._started_s,
            max_minutes=self.recipe.runtime.max_minutes,
        )

    def _out_of_time(self) -> bool:
        budget = self.recipe.runtime.max_minutes
        return budget is not None and time.monotonic() - self._started_s >= 60 * budget

    def _guard_against_collapse(self) -> None:
        after = self.recipe.runtime.collapse_after_steps
        limit = COLLAPSED_SHARE * math.log(self.recipe.sampling.batch_size)
        if after and self.state.step == after and not self._recent_loss() < limit:
            raise TrainingCollapsed(
                f"after {after} steps the loss is {self._recent_loss():.3f}, that of guessing",
                hint="lower optimiser.lr or raise schedule.warmup_steps",
            )

    def _recent_loss(self) -> float:
        return sum(self._recent) / len(self._recent) if self._recent else math.nan

    def _housekeeping(self) -> None:
        now, meter = time.monotonic(), self._meter
        if now - self._saved_s > 60 * self.recipe.runtime.checkpoint_minutes:
            self._save()
        if now - meter.since_s < LOG_EVERY_S:
            return
        progress = self._progress()
        left_s = (now - self._started_s) * (1 - progress) / max(progress, 1e-6)
        row = {
            "loss": meter.loss_sum / meter.losses,
            "scale": float(self.model.scale().detach()),
            "lr": self.optimiser.param_groups[0]["lr"],
            "images_per_s": meter.images / (now - meter.since_s),
            "minutes_left": left_s / 60,
        }
        self._log("train", row)
        self._meter = Meter(since_s=now)

    def _log(self, kind: str, row: Mapping[str, float]) -> None:
        elapsed_s = time.monotonic() - self._started_s
        head = {"kind": kind, "step": self.state.step, "epoch": self.state.epoch}
        with (self.run / LOG_FILE).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({**head, "elapsed_s": round(elapsed_s, 1), **row}) + "\n")
        words = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        LOGGER.info("step %d epoch %d  %s", self.state.step, self.state.epoch, words)

    def _evaluate(self) -> dict[str, float]:
        if self._validate is None:
            return {}
        figures = dict(self._validate(self.averaged_model()))
        self._log("validation", figures)
        self._meter = Meter(since_s=time.monotonic())
        return figures

    def _save(self) -> None:
        self.state.elapsed_s = time.monotonic() - self._started_s
        save_checkpoint(self.run, self.model, self.average, self.optimiser, self.state)
        self._saved_s = time.monotonic()
