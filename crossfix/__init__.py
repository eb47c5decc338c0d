"""The contract: what training, index builder and service must agree on to the last bit."""

import os

__version__ = "0.1.0"

# ONNX Runtime's wheels report to their maker (1.31, on Linux too) and keep a store in ~/.cache. It
# reads this when it is first imported, which is after us; who wants it sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
