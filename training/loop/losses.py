"""The losses of the last steps, fetched from the device only when somebody looks at them."""

from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor


class RecentLosses:
    """The last losses, oldest first; adding one does not wait for the device.

    Args:
        length: how many are kept.
        values: those known so far.
    """

    def __init__(self, length: int, values: Iterable[float] = ()) -> None:
        self._known = deque(values, maxlen=length)
        self._pending: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        """Takes a step's loss, scalar and detached."""
        self._pending.append(loss)
        if len(self._pending) >= (self._known.maxlen or 1):
            self.values()

    def values(self) -> list[float]:
        """All that are kept."""
        if self._pending:
            self._known.extend(torch.stack(self._pending).tolist())
            self._pending.clear()
        return list(self._known)
