"""Where a run computes: device, precision and processes, all by the library accelerate."""

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradScalerKwargs

from crossfix.errors import DeviceUnavailable, RecipeError
from training.recipe import Recipe, RuntimeRecipe

FIRST_LOSS_SCALE = 2.0**10  # fp16 only; halved on overflow, so a high start costs skipped steps
_WORDS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def choose_device(name: str) -> torch.device:
    """The kind of device a recipe's word means here.

    Raises:
        DeviceUnavailable: CUDA was asked for and cannot be had.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "the recipe wants cuda, which is not available here", hint="set runtime.device to cpu"
        )
    chosen = "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"
    return torch.device(chosen)


def build_accelerator(recipe: Recipe) -> Accelerator:
    """Device, precision and processes (one, or as many as torchrun started) of a run.

    Raises:
        DeviceUnavailable: CUDA was asked for and cannot be had.
        RecipeError: a precision the device does not have, or a batch that the processes cannot
            share evenly or that leaves one image for a normalisation over the batch.
    """
    runtime = recipe.runtime
    device = choose_device(runtime.device)
    _refuse_precision(runtime, device)
    # The library keeps one state per interpreter and refuses a second precision; a run that
    # begins owns it.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=_WORDS[runtime.precision],
        kwargs_handlers=[GradScalerKwargs(init_scale=FIRST_LOSS_SCALE)],
    )
    if recipe.sampling.batch_size % accelerator.num_processes:
        raise RecipeError(
            f"a batch of {recipe.sampling.batch_size} pairs cannot be shared evenly by "
            f"{accelerator.num_processes} processes",
            hint="choose a sampling.batch_size that is a multiple of the processes",
        )
    _refuse_lone_images(recipe, recipe.sampling.batch_size // accelerator.num_processes)
    _set_threads(runtime, device)
    return accelerator


def _refuse_lone_images(recipe: Recipe, images: int) -> None:
    """A mean over a batch of one is no normalisation; torch would stop in the first step."""
    micro_batch = recipe.runtime.micro_batch or images
    if recipe.model.embedding_norm and (micro_batch == 1 or images % micro_batch == 1):
        raise RecipeError(
            f"model.embedding_norm needs two images at once, and of {images} in chunks of "
            f"{micro_batch} one passes the network alone",
            hint="choose another runtime.micro_batch or sampling.batch_size",
        )


def _refuse_precision(runtime: RuntimeRecipe, device: torch.device) -> None:
    if runtime.precision == "fp16" and device.type == "cpu":
        raise RecipeError(
            "runtime.precision fp16 needs a GPU, and the run is on the CPU",
            hint="set runtime.precision to bf16 or fp32",
        )
    if runtime.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise RecipeError(
            "this GPU does not compute in bf16", hint="set runtime.precision to fp16 or fp32"
        )


def _set_threads(runtime: RuntimeRecipe, device: torch.device) -> None:
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if device.type == "cuda":
        # Algorithms chosen by measuring, or that add in any order, would make a resumed run differ.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
