"""Trains, evaluates and exports cross-view encoders; the only package that imports torch."""

import crossfix as crossfix  # before onnxruntime, whose reports to its maker it switches off
