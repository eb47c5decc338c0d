"""Ending with the program that started us, however that one ends."""

import os
import signal
import sys
import threading
import time

PATIENCE_S = 10.0
EXIT_CODE = 1


def stop_with_stdin() -> None:
    """From now on the end of standard input stops this process, as Ctrl-C does.

    Whoever starts it holds a pipe to it; the kernel closes that even where the holder is killed.
    What does not react within `PATIENCE_S`, for example inside a long library call, is ended hard:
    a build may be ended at any instant without harm.
    """
    # Inherited as ignored where a shell started us in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_watch, name="lifeline", daemon=True).start()


def _watch() -> None:
    try:
        while os.read(sys.stdin.fileno(), 4096):
            pass
    except (OSError, ValueError):  # closed, or none
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE_S)
    os._exit(EXIT_CODE)
