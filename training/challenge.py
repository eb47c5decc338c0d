"""What the command line's verbs for the 160k challenge do."""

from pathlib import Path

from crossfix.encoder import Encoder
from crossfix.errors import DataError
from crossfix.ranking import BrokenEmbeddings
from crossfix.view import ViewSpec
from training.datasets.university_160k import Challenge160k, open_challenge
from training.embedding import EmbedImages, artifact_embedder, image_set_embedder
from training.evaluation.answer import best_ten, check_answer, make_room, write_answer
from training.loop.checkpoint import load_run
from training.loop.devices import choose_device


def answer_challenge(
    data: Path, out: Path, *, run: Path | None, encoder: Path | None,
    add_mirrored: bool | None = None,
) -> str:  # fmt: skip
    """Writes the answer of a run or of an encoder artifact, and checks it.

    Args:
        add_mirrored: adds the features of mirrored images; None: as the run's recipe says, and
            not for an artifact.

    Raises:
        DataError: data, run or artifact cannot be used, embeddings are broken, or the answer cannot
            be written.
        EncoderError: the artifact cannot be opened or lacks a view.
    """
    make_room(out)
    embed, drone, satellite = _embedder(run, encoder, add_mirrored)
    challenge = open_challenge(data, drone=drone, satellite=satellite)
    try:
        best = best_ten(challenge, embed)
    except BrokenEmbeddings as problem:
        raise DataError(f"no answer: {problem}", hint="train again") from problem
    archive = write_answer(out, best, challenge.stems())
    check_answer(out, challenge)
    return (
        f"wrote {out} and {archive}: {len(challenge.queries):,} queries in "
        f"{len(challenge.gallery):,} images\n"
        "a figure on this test set counts only for encoders that never saw University-1652's "
        "test images"
    )


def check_challenge(data: Path, answer: Path) -> str:
    """Checks somebody's answer against the data.

    Raises:
        DataError: it is not an answer, or the data is incomplete.
    """
    challenge = _any_size(data)
    check_answer(answer, challenge)
    return f"{answer} answers all {len(challenge.queries):,} queries"


def _any_size(data: Path) -> Challenge160k:
    """The challenge's names; images are not read."""
    spec = ViewSpec(
        view="satellite", model_file="none", height_px=1, width_px=1, projection="nadir",
        fit="squash", mean=(0, 0, 0), std=(1, 1, 1), heading="north_up",
    )  # fmt: skip
    return open_challenge(data, drone=spec, satellite=spec)


def _embedder(
    run: Path | None, encoder: Path | None, add_mirrored: bool | None
) -> tuple[EmbedImages, ViewSpec, ViewSpec]:
    if encoder is not None:
        loaded = Encoder.load(encoder, device="auto")
        embed = artifact_embedder(loaded, add_mirrored=bool(add_mirrored))
        return embed, loaded.view("drone"), loaded.view("satellite")
    if run is None:
        raise DataError("nothing to answer with", hint="pass --checkpoint or --encoder")
    recipe, model = load_run(run)
    views = recipe.views()
    if "drone" not in views:
        raise DataError(f"{run} was trained without drone photos", hint="take another run")
    runtime = recipe.runtime
    embed = image_set_embedder(
        model.to(choose_device("auto")), precision=runtime.precision, workers=runtime.workers,
        add_mirrored=recipe.data.add_mirrored if add_mirrored is None else add_mirrored,
    )  # fmt: skip
    return embed, views["drone"], views["satellite"]
