"""Signal handlers that a library puts in below Python are taken out again."""

import signal
import subprocess
import sys

import pytest

from service.galleries.shards.kept_handlers import kept_handlers

SCRIPT = """
import ctypes, os, signal, threading
from service.galleries.shards.kept_handlers import kept_handlers
signal.signal(signal.SIGTERM, lambda *_: print("ours", flush=True))
def meddle():
    with kept_handlers():
        ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(0))  # SIG_DFL, unseen by Python
thread = threading.Thread(target=meddle)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGTERM)
print("lives")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is done")
def test_a_handler_put_in_below_python_does_not_stay():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["ours", "lives"]), done.stderr


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), kept_handlers():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before
