"""The build: sources to a live gallery version."""

from dataclasses import replace

from crossfix.encoder import Encoder
from crossfix.errors import InvalidParameter, PublishError, SourceError
from crossfix.gallery_versions import live_version
from crossfix.onnx_session import CPU, CUDA, Device
from index_builder.build_request import Base, BuildReport, BuildRequest
from index_builder.build_run import BUILD_STEPS, BuildRun, OnProgress
from index_builder.embedding.open_task import computed_on
from index_builder.embedding.preparation import prepared
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
    "no_tile_wanted",
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
        InvalidParameter: an impossible size, overlap or count; or a region that an update is
            to retire, and that holds no tile.
        PublishError: locked by another build, not writable, or disk full.
    """
    request.check()
    encoder = load_encoder(request)
    request = _with_device(request)
    computed = computed_on(_provider(request, encoder), request.batch_size)
    with prepared(
        request.recipe, encoder, computed_on=computed, within=request.within
    ) as preparation:
        preparation.require_retired(0 if base is None else base.retiring)
        if not preparation.survey.tiles:
            raise no_tile_wanted()
        if preparation.survey.tiles < request.shards:
            raise InvalidParameter(
                f"{preparation.survey.tiles} planned tiles cannot be cut into "
                f"{request.shards} shards",
                hint="give fewer --shards",
            )
        needed_bytes = estimate_bytes(
            preparation.survey.tiles, encoder.embedding_dim, shards=request.shards
        )
        fingerprint = preparation.fingerprint(
            base="" if base is None else base.manifest.version,
            reread=base is not None and base.reread,
        )
        with locked(request.out), disk_full_reported(request.out, needed_bytes):
            _check_live(request, base)
            with staging(request.out, fingerprint) as place:
                require_space(request.out, needed_bytes - place.kept_bytes)
                return BuildRun(request, preparation, place, base, on_progress, step).finish()


def no_tile_wanted() -> SourceError:
    """Sources without any tile that touches the area and is not retired."""
    return SourceError(
        "no source has a tile that is wanted",
        hint="check the area (longitude goes first), and the regions that are retired",
    )


def estimate_bytes(tiles: int, embedding_dim: int, *, shards: int = 1) -> int:
    """Disk space a build of so many tiles takes at its peak.

    Part files and the assembled version are there at once, and the shards, if any, as well.
    """
    copies = 3 if shards > 1 else 2
    return copies * tiles * (2 * embedding_dim + _PICTURE_BYTES) + tiles * _ROW_BYTES + 1_000_000


def _with_device(request: BuildRequest) -> BuildRequest:
    """With the device a cluster's workers shall use: a resumed build must find the same one."""
    if request.engine == "local":
        return request
    from index_builder.engines import ray_cluster

    kind = Device.parse(request.device).kind
    if kind == "auto":
        with ray_cluster.connected(request.ray_address) as ray:
            kind = "cuda" if ray_cluster.cluster_has_gpus(ray) else "cpu"
    return replace(request, device=kind)


def _provider(request: BuildRequest, encoder: Encoder) -> str:
    """Of the encoders that will embed; a cluster's take the device they are given, or fail."""
    if request.engine == "local":
        return encoder.provider
    return CUDA if request.device == "cuda" else CPU


def _check_live(request: BuildRequest, base: Base | None) -> None:
    """Refuses to replace another kind of gallery, or to update a version that is not live."""
    from index_builder.sharding_epochs import require_kind

    require_kind(request.out, sharded=request.shards > 1)
    if base is None:
        return
    if live_version(request.out) != base.manifest.version:
        raise PublishError(
            f"{request.out} was changed by another process meanwhile", hint="update it again"
        )
