"""Keeping this process's signal handlers while a library puts in its own."""

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_ACTION_BYTES = 512  # more than `struct sigaction` has anywhere


@contextmanager
def kept_handlers() -> Iterator[None]:
    """After the block SIGTERM and SIGINT do what they did before it; in any thread, on Linux.

    Ray takes SIGTERM for a crash: it prints a trace, lets the handlers from before run, and aborts
    the process three seconds later, whatever it is still answering. Python's `signal.signal` knows
    nothing of such handlers and works in the main thread only.
    """
    if sys.platform != "linux":
        yield
        return
    library = ctypes.CDLL(None)
    actions = {number: ctypes.create_string_buffer(_ACTION_BYTES) for number in _SIGNALS}
    for number, action in actions.items():
        library.sigaction(int(number), None, action)
    try:
        yield
    finally:
        for number, action in actions.items():
            library.sigaction(int(number), action, None)
