"""The contract: what training, index builder and service must agree on to the last bit."""

__version__ = "0.1.0"
