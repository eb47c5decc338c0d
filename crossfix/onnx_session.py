"""ONNX Runtime sessions on the device that was asked for, or an honest word about which it got."""

import contextlib
import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from crossfix.errors import DeviceUnavailable, EncoderCorrupt, InvalidParameter

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass(frozen=True)
class Device:
    """`auto`, `cpu`, `cuda` or `cuda:<index>`; only `auto` may fall back to the CPU."""

    kind: str
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> "Device":
        """Reads a device name.

        Raises:
            InvalidParameter: another word.
        """
        kind, _, index = text.partition(":")
        if kind not in ("auto", "cpu", "cuda") or (
            index and (kind != "cuda" or not index.isdigit())
        ):
            raise InvalidParameter(
                f"device {text!r} is unknown", hint="use auto, cpu, cuda or cuda:<index>"
            )
        return cls(kind=kind, index=int(index or 0))

    def providers(self) -> list[Any]:
        """What ONNX Runtime is asked for, in order."""
        # The default search times kernels at every start and may choose others each time, so that
        # a resumed gallery build would differ from an uninterrupted one in its last bits.
        cuda = (CUDA, {"device_id": self.index, "cudnn_conv_algo_search": "HEURISTIC"})
        offered = CUDA in onnxruntime.get_available_providers()
        if self.kind == "cpu" or (self.kind == "auto" and not offered):
            return [CPU]
        return [cuda] if self.kind == "cuda" else [cuda, CPU]


def open_session(path: Path, device: Device, *, threads: int) -> onnxruntime.InferenceSession:
    """Opens a model strictly: `cuda` means CUDA, never a silent fallback.

    onnxruntime-gpu lists CUDA where there is none and then runs on the CPU without an error;
    `session.disable_cpu_ep_fallback` is the one switch that makes it refuse.

    Raises:
        DeviceUnavailable: `cuda` was asked for and cannot be had.
        EncoderCorrupt: the file is not a model ONNX Runtime can run.
    """
    if device.kind != "cpu":
        _load_cuda_libraries()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if device.kind == "cuda":
        if CUDA not in onnxruntime.get_available_providers():
            raise DeviceUnavailable(
                "device cuda was asked for, but this onnxruntime has no CUDA",
                hint="install the `gpu` extra, or use --device auto",
            )
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=device.providers())
    except Exception as problem:  # onnxruntime raises many private classes
        if device.kind == "cuda":
            raise DeviceUnavailable(
                f"device cuda:{device.index} cannot run {path.name}",
                hint="check the driver, or use --device auto",
            ) from problem
        raise EncoderCorrupt(
            f"{path} is not a model ONNX Runtime can open", hint="export the encoder again"
        ) from problem
    if device.kind == "cuda" and session.get_providers()[0] != CUDA:
        raise DeviceUnavailable(
            f"device cuda:{device.index} was asked for, but ONNX Runtime took "
            f"{session.get_providers()[0]}",
            hint="use --device auto",
        )
    return session


@functools.cache
def _load_cuda_libraries() -> None:
    """Loads CUDA and cuDNN from NVIDIA's wheels, where ONNX Runtime does not look by itself."""
    if CUDA in onnxruntime.get_available_providers():
        # It prints what it misses; a session that cannot have CUDA says so better.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
