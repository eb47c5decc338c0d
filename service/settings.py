"""Every setting of the service, in one validated place.

Read from environment variables ``CROSSFIX_<NAME>``; command line flags override them.
`python -m service.documents docs` writes them to docs/settings.md.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from crossfix.errors import InvalidParameter
from crossfix.images import ImageLimits
from crossfix.onnx_session import Device
from crossfix.variants import Precision
from service.cores import available_cores
from service.settings_checks import first_contradiction

CUDA_MAX_BATCH = 16
Words = Annotated[tuple[str, ...], NoDecode]  # `a,b` in a variable or flag
Folders = Annotated[tuple[Path, ...], NoDecode]
Engine = Literal["local", "ray"]


class Settings(BaseSettings):
    """How one service process runs; unknown names given in code are refused."""

    model_config = SettingsConfigDict(env_prefix="CROSSFIX_", extra="forbid", frozen=True)

    encoder: Path = Field(description="Encoder directory (holds encoder.json).")
    gallery: Path = Field(
        description="Gallery directory (holds CURRENT.json, or CURRENT_EPOCH.json and shards/)."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one."
    )
    device: str = Field(
        default="auto",
        description=(
            "Where the encoder runs: auto, cpu, cuda or cuda:<index>. cuda refuses to start "
            "without a GPU, auto falls back to the CPU and reports it."
        ),
    )
    encode_threads: int = Field(
        default=1, ge=1, le=256, description="CPU threads of one encoder run."
    )
    encode_workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description=(
            "Encoder runs at once; 0 means one on a GPU and one per core / encode_threads on a CPU."
        ),
    )
    max_batch: int = Field(
        default=0,
        ge=0,
        le=1024,
        description=(
            "Photos per encoder run at most; 0 means 16 on a GPU and 1 on a CPU, where batches of "
            "one are fastest."
        ),
    )
    queue_limit: int = Field(
        default=64,
        ge=1,
        le=100_000,
        description="Photos waiting for one stage at most; one more is answered 503.",
    )
    max_wait_s: float = Field(
        default=0.1,
        gt=0,
        le=600,
        description=(
            "How long a photo may wait, in seconds, while there is more to do than can be done; "
            "others are answered 503 at once. Bursts may wait a second, two runs of the encoder "
            "always."
        ),
    )
    max_in_flight: int = Field(
        default=128,
        ge=1,
        le=100_000,
        description=(
            "Photos worked on at most; one more is answered 503. Four times as many bodies may be "
            "on their way, holding no more bytes than this times max_body_bytes."
        ),
    )
    deadline_s: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Time for one photo; then the answer is 504, in seconds.",
    )
    upload_s: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description=("Time for a request body to arrive; then the answer is 408, in seconds."),
    )
    decode_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Photos decoded at once; 0 means one per core. Unused on a CPU with one "
        "thread per run: there each encode worker decodes its own.",
    )
    search_threads: int = Field(default=2, ge=1, le=256, description="Gallery searches at once.")
    max_body_bytes: int = Field(
        default=25_000_000,
        ge=1024,
        description=(
            "Request body at most, in bytes; longer ones are answered 413 before they are read."
        ),
    )
    max_pixels: int = Field(
        default=80_000_000,
        ge=1,
        description=("Pixels of one photo at most, checked from its header."),
    )
    default_k: int = Field(
        default=10, ge=1, le=100, description="Matches answered when a request does not say k."
    )
    reload_interval_s: float = Field(
        default=10.0,
        gt=0,
        le=86_400,
        description=(
            "How often the gallery's CURRENT.json (or CURRENT_EPOCH.json) is looked at, in seconds."
        ),
    )
    drain_s: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description=(
            "After SIGTERM: how long /readyz answers 503 while requests are still accepted, so "
            "that load balancers turn away first, in seconds."
        ),
    )
    shutdown_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description=("After draining: how long running requests may take to finish, in seconds."),
    )

    engine: Engine = Field(
        default="local",
        description=(
            "Where the gallery is searched: local is this process, for a gallery of one piece or "
            "in shards; ray is a Ray cluster, one actor for each shard. ray needs the extra `ray`."
        ),
    )
    ray_address: str = Field(
        default="",
        description=(
            "Address of the Ray cluster's head, such as 10.0.0.1:6379; without one Ray is "
            "started on this machine. Whoever reaches Ray's ports may run code there: private "
            "networks only."
        ),
    )
    shard_cpus: float = Field(
        default=0.5,
        ge=0,
        le=256,
        description="Share of a node's CPUs that Ray sets aside for each shard.",
    )
    shard_timeout_s: float = Field(
        default=2.0,
        gt=0,
        le=600,
        description=(
            "How long a search waits for a shard, in seconds; the answer is made of those that "
            "answered, and says so."
        ),
    )
    precision: Precision = Field(
        default="fp32",
        description="Which variant of the encoder runs: fp32, fp16 or int8, where it holds them.",
    )
    batch_limit: int = Field(
        default=32, ge=1, le=1000, description="Photos in one /localize/batch at most."
    )
    max_batch_body_bytes: int = Field(
        default=100_000_000,
        ge=1024,
        description="Body of one /localize/batch at most, in bytes; longer ones are answered 413.",
    )
    keys: Path | None = Field(
        default=None,
        description=(
            "File of hashed API keys, written by `python -m service.keys`; read again when it "
            "changes. Without one nobody has a key."
        ),
    )
    localize_key: bool = Field(
        default=True,
        description=(
            "With a keys file: whether photos and gallery pictures need a key of scope localize; "
            "false leaves them open and guards only the admin routes."
        ),
    )
    metrics_key: bool = Field(
        default=False, description="Whether /metrics needs a key of any scope."
    )
    rate_per_minute: float = Field(
        default=0.0,
        ge=0,
        le=1_000_000,
        description=(
            "Photos per minute for each key, or for each client address without keys; more are "
            "answered 429. 0 sets no limit."
        ),
    )
    rate_burst: int = Field(
        default=20,
        ge=1,
        le=100_000,
        description="Photos a client that was quiet may send at once before the rate counts.",
    )
    trusted_proxies: Words = Field(
        default=(),
        description=(
            "Addresses or networks of reverse proxies, separated by commas, whose X-Forwarded-For "
            "and X-Forwarded-Proto are believed."
        ),
    )
    cors_origins: Words = Field(
        default=(),
        description=(
            "Web origins, separated by commas, whose pages may ask this service; none by default."
        ),
    )
    rebuild_roots: Folders = Field(
        default=(),
        description=(
            "Folders, separated by commas, whose imagery POST /gallery/rebuild may use; without "
            "one it is refused."
        ),
    )
    rebuild_recipes: Path | None = Field(
        default=None,
        description=(
            "Folder of gallery recipes that POST /gallery/rebuild may name. They are trusted: they "
            "may name any imagery, tile servers included."
        ),
    )
    rebuild_threads: int = Field(
        default=1, ge=1, le=256, description="CPU threads of the encoder in a rebuild."
    )
    rebuild_keep: int = Field(
        default=3, ge=2, le=1000, description="Gallery versions kept after a rebuild."
    )
    jobs: Path | None = Field(
        default=None,
        description="Folder for records and logs of rebuild jobs; default <gallery>/.jobs.",
    )
    keep_images: Path | None = Field(
        default=None,
        description=(
            "Folder in which every photo sent is kept, with its answer; off by default. While it "
            "is on, every answer and the page say so."
        ),
    )
    keep_images_bytes: int = Field(
        default=1_000_000_000,
        ge=1_000_000,
        description="Size of that folder at most, in bytes; the oldest photos make room.",
    )
    map_url: str = Field(
        default="",
        description=(
            "Address of a base map for the page, with {z}, {x}, {y}; default the gallery's own "
            "imagery, which needs no internet."
        ),
    )
    map_attribution: str = Field(
        default="", description="Whom to credit for that base map; shown on it."
    )
    otlp_endpoint: str = Field(
        default="",
        description=(
            "Where OpenTelemetry traces are sent as OTLP over HTTP, for example "
            "http://127.0.0.1:4318/v1/traces; none by default. Needs the extra `otel`."
        ),
    )
    trace_share: float = Field(
        default=1.0, ge=0, le=1, description="Share of requests that are traced."
    )

    @field_validator("trusted_proxies", "cors_origins", "rebuild_roots", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(word.strip() for word in value.split(",") if word.strip())

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, device: str) -> str:
        try:
            Device.parse(device)
        except InvalidParameter as problem:
            raise ValueError(f"{problem}; {problem.hint}") from None
        return device

    @model_validator(mode="after")
    def _is_safe_as_a_whole(self) -> "Settings":
        if problem := first_contradiction(self):
            raise ValueError(problem)
        return self

    @property
    def image_limits(self) -> ImageLimits:
        """What the decoder accepts."""
        return ImageLimits(max_bytes=self.max_body_bytes, max_pixels=self.max_pixels)

    @property
    def jobs_folder(self) -> Path:
        """`jobs`, or where they are kept without it."""
        return self.jobs or self.gallery / ".jobs"

    @property
    def readers_need_key(self) -> bool:
        """Whether photos and gallery pictures are only for those who have a key."""
        return self.keys is not None and self.localize_key

    @property
    def decode_workers(self) -> int:
        """`decode_threads`, or one per core."""
        return self.decode_threads or available_cores()

    def encode_workers_for(self, provider: str) -> int:
        """`encode_workers`, or what suits the execution provider."""
        if self.encode_workers:
            return self.encode_workers
        return max(1, available_cores() // self.encode_threads) if _on_cpu(provider) else 1

    def max_batch_for(self, provider: str) -> int:
        """`max_batch`, or what suits the execution provider."""
        return self.max_batch or (1 if _on_cpu(provider) else CUDA_MAX_BATCH)


def _on_cpu(provider: str) -> bool:
    return provider == "CPUExecutionProvider"
