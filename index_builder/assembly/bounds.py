"""The box around many tiles on a round Earth; see `crossfix.bounds`."""

from crossfix.bounds import find_bounds

__all__ = ["find_bounds"]
