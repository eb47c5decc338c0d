"""Every setting of the service, in one validated place.

Read from environment variables ``CROSSFIX_<NAME>``; command line flags override them.
`python -m service.documents docs` writes them to docs/settings.md.
"""

import os
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from crossfix.errors import InvalidParameter
from crossfix.images import ImageLimits
from crossfix.onnx_session import Device

CUDA_MAX_BATCH = 16


class Settings(BaseSettings):
    """How one service process runs; unknown names given in code are refused."""

    model_config = SettingsConfigDict(env_prefix="CROSSFIX_", extra="forbid", frozen=True)

    encoder: Path = Field(description="Encoder directory (holds encoder.json).")
    gallery: Path = Field(description="Gallery directory (holds CURRENT.json and versions/).")
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
        description=("Photos waiting for one stage at most; one more is answered 503."),
    )
    max_in_flight: int = Field(
        default=128,
        ge=1,
        le=100_000,
        description=(
            "Photos being read or worked on at most; one more is answered 503. Bounds memory "
            "together with max_body_bytes."
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
        default=0, ge=0, le=256, description=("Photos decoded at once; 0 means one per core.")
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
        description=("How often the gallery's CURRENT.json is looked at, in seconds."),
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

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, device: str) -> str:
        try:
            Device.parse(device)
        except InvalidParameter as problem:
            raise ValueError(f"{problem}; {problem.hint}") from None
        return device

    @property
    def image_limits(self) -> ImageLimits:
        """What the decoder accepts."""
        return ImageLimits(max_bytes=self.max_body_bytes, max_pixels=self.max_pixels)

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


def available_cores() -> int:
    """Cores this process may use (fewer than the machine's inside a container)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _on_cpu(provider: str) -> bool:
    return provider == "CPUExecutionProvider"
