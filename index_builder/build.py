"""The build: sources to a live gallery version."""

from crossfix.encoder import Encoder
from crossfix.errors import PublishError
from crossfix.gallery import current_version
from crossfix.onnx_session import CUDA
from index_builder.build_request import Base, BuildReport, BuildRequest
from index_builder.build_run import BUILD_STEPS, BuildRun, OnProgress
from index_builder.embedding.preparation import Preparation, prepared
from index_builder.publish import (
    Step,
    disk_full_reported,
    ignore_step,
    locked,
    require_space,
    staging,
)

__all__ = [
    "BUILD_STEPS",
    "Base",
    "BuildReport",
    "BuildRequest",
    "build_gallery",
    "estimate_bytes",
    "load_encoder",
]

_PICTURE_BYTES = 30_000  # a 256-pixel JPEG of quality 85 of busy imagery
_ROW_BYTES = 400


def load_encoder(request: BuildRequest) -> Encoder:
    """The request's encoder on its device; every run of it takes one thread."""
    device = request.device if request.engine == "local" else "cpu"
    return Encoder.load(request.encoder_dir, device=device, threads=1)


def build_gallery(
    request: BuildRequest,
    *,
    on_progress: OnProgress | None = None,
    step: Step = ignore_step,
    base: Base | None = None,
) -> BuildReport:
    """Builds a version and makes it live; until then nothing of the old one changes.

    An interrupted build leaves its finished parts in the gallery; the next build of the same
    imagery goes on from them and makes the same version.

    Args:
        on_progress: told a few times a second while tiles are embedded.
        step: told each of `BUILD_STEPS` and `publish.STEPS` as it is passed.
        base: take unchanged tiles over from this version.

    Raises:
        EncoderError: the encoder cannot be used.
        SourceError: imagery cannot be read, or gives no tile.
        InvalidParameter: an impossible size, overlap or count.
        PublishError: locked by another build, not writable, or disk full.
    """
    request.check()
    encoder = load_encoder(request)
    with prepared(request.recipe, encoder) as preparation:
        needed_bytes = estimate_bytes(preparation.survey.tiles, encoder.embedding_dim)
        with locked(request.out), disk_full_reported(request.out, needed_bytes):
            _check_live(request, base)
            with staging(request.out, _fingerprint(request, preparation)) as place:
                require_space(request.out, needed_bytes - place.kept_bytes)
                return BuildRun(request, preparation, place, base, on_progress, step).finish()


def estimate_bytes(tiles: int, embedding_dim: int) -> int:
    """Disk space a build of so many tiles takes at its peak, part files included."""
    return 2 * tiles * (2 * embedding_dim + _PICTURE_BYTES) + tiles * _ROW_BYTES + 1_000_000


def _fingerprint(request: BuildRequest, preparation: Preparation) -> str:
    provider = preparation.encoder.provider
    if request.engine == "ray":  # workers choose for themselves
        return preparation.fingerprint(f"ray {request.device} {request.batch_size}")
    size = request.batch_size if provider == CUDA else 1
    return preparation.fingerprint(f"{provider} {size}")


def _check_live(request: BuildRequest, base: Base | None) -> None:
    """Refuses to replace another kind of gallery, or to update a version that is not live."""
    from index_builder.sharding_epochs import require_kind

    require_kind(request.out, sharded=request.shards > 1)
    if base is not None and current_version(request.out) != base.manifest.version:
        raise PublishError(
            f"{request.out} was changed by another process meanwhile", hint="update it again"
        )
