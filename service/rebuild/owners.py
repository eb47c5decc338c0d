"""Who runs a job, where several services keep their records in one folder."""

import fcntl
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from service.rebuild.records import LOCK_ENDING, JobRecords

SILENT_S = 180.0  # network file systems show another machine's change up to a minute late
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class JobLock:
    """Held by the service that runs a job; goes with its process, however that ends."""

    path: Path
    handle: IO[str]

    def beat(self) -> None:
        """A sign of life for machines that do not see the lock."""
        try:
            os.utime(self.path)
        except OSError:  # a disk that is gone costs the record, never the service
            return

    def release(self) -> None:
        """The job is over, and its record says so."""
        try:
            self.path.unlink(missing_ok=True)
            self.handle.close()
        except OSError:
            return


class Owners:
    """Locks beside the records: one for each job that runs.

    On one machine (containers of it included) a lock that can be taken has lost its owner. On
    another machine a lock may not be seen: there an owner lives as long as it gives signs of life,
    so that a running job is rather left alone for a while than spoilt.
    """

    def __init__(
        self,
        records: JobRecords,
        *,
        machine: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records, self._clock = records, clock
        self._machine = this_machine() if machine is None else machine
        self._last_signs: dict[str, tuple[int, float]] = {}

    def hold(self, job_id: str) -> JobLock | None:
        """Locks a new job before its record is written; None where the disk does not let us."""
        path = self._records.path(job_id, LOCK_ENDING)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("x", encoding="utf-8")
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a file system without locks: signs of life are left
            pass
        try:
            handle.write(self._machine)
            handle.flush()
        except OSError:
            pass
        return JobLock(path, handle)

    def take_orphan(self, job_id: str) -> JobLock | None:
        """The lock of a job whose owner has ended; None while it lives, or may live.

        Whoever gets it reads the record again: another may have settled it a moment ago.
        """
        path = self._records.path(job_id, LOCK_ENDING)
        if not path.exists():  # a record of a version without locks, or settled by another
            return self.hold(job_id)
        try:
            handle = path.open("r+", encoding="utf-8")
        except OSError:
            return None
        is_orphan = False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_orphan = handle.read() == self._machine or self._is_silent(job_id, handle)
        except BlockingIOError:
            pass
        except OSError:
            is_orphan = self._is_silent(job_id, handle)
        if not is_orphan:
            handle.close()
            return None
        self._last_signs.pop(job_id, None)
        return JobLock(path, handle)

    def _is_silent(self, job_id: str, handle: IO[str]) -> bool:
        """Whether no sign came for long; by our own clock, since clocks of machines differ."""
        sign, now = os.fstat(handle.fileno()).st_mtime_ns, self._clock()
        last, since = self._last_signs.setdefault(job_id, (sign, now))
        if last != sign:
            self._last_signs[job_id] = (sign, now)
            return False
        return now - since > SILENT_S


def this_machine() -> str:
    """The same in all containers of a machine, another one after a reboot."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return socket.gethostname()
