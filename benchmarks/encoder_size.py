"""Counts the weights of an encoder artifact: a row of `results/encoder_size.csv`."""

import argparse
import math
import sys
from pathlib import Path

import onnx

from benchmarks.record import append_row


def main() -> int:
    """Counts the numbers in the model's initializers and the bytes of its file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoder_size", description=__doc__)
    parser.add_argument("encoder", type=Path, nargs="?", default=Path("encoders/demo"))
    encoder = parser.parse_args().encoder
    file = encoder / "encoder.onnx"
    weights = onnx.load(file).graph.initializer
    count = sum(math.prod(w.dims) for w in weights if w.data_type == onnx.TensorProto.FLOAT)
    row = {"encoder": str(encoder), "parameters": count, "bytes": file.stat().st_size}
    print(row)
    append_row("encoder_size", row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
