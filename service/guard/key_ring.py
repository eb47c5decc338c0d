"""The keys as the running service sees them: read again when their file changes."""

import hmac
import os
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from service.errors import KeysUnusable, Unauthorized
from service.guard.key_file import (
    KEY_PATTERN,
    KeyRecord,
    Scope,
    Signature,
    hash_key,
    read_keys,
    signature_of,
)
from service.logs.log import EVENTS

LOOK_S = 1.0  # how soon a revoked key stops opening
GONE: Signature = (0, 0, 0, 0)
NOBODY = "0" * 64  # compared with where there is no such key, so that this takes as long
SEND_IT = "send it as `Authorization: Bearer KEY` or `X-Api-Key: KEY`"


def today_in_utc() -> date:
    """The day that expiry dates are compared with."""
    return datetime.now(UTC).date()


class KeyRing:
    """Finds the record of a key. For one event loop; not for threads.

    A file that was deleted leaves nobody with a key: whoever takes it away means to lock up. One
    that is damaged, unreadable or open to others leaves the keys that were read before in force,
    since a slip while editing must not lock everybody out; keys added or revoked since do not
    count until it is mended. Both are logged once and tried again when the file changes.

    Attributes:
        problem: what is wrong with the file now, in one sentence; empty when all is well.

    Args:
        clock: seconds that never run backwards; the file is looked at once per `LOOK_S`.

    Raises:
        KeysUnusable: the file cannot be used at the start.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], date] = today_in_utc,
    ) -> None:
        self._path, self._clock, self._today = path, clock, today
        keys, signature = read_keys(path)
        self._records = {record.id: record for record in keys.keys}
        self._seen: Signature | None = signature
        self._look_at = clock() + LOOK_S
        self.problem = ""

    def find(self, key: str) -> KeyRecord:
        """The record of a key that opens.

        Raises:
            Unauthorized: it is no key of ours, not known, or expired.
        """
        self.look_again()
        shape = KEY_PATTERN.fullmatch(key)
        if shape is None:
            raise Unauthorized("this is not an API key of Crossfix", reason="malformed")
        record = self._records.get(shape.group(1))
        kept = record.sha256 if record else NOBODY
        if not hmac.compare_digest(hash_key(key), kept) or record is None:
            raise Unauthorized("this API key is not known", reason="unknown")
        if record.has_expired(self._today()):
            raise Unauthorized(
                f"this API key expired after {record.expires}",
                reason="expired",
                hint="ask for a new one",
            )
        return record

    def holds(self, scope: Scope) -> bool:
        """Whether any key that has not expired has the scope."""
        today = self._today()
        return any(
            record.opens(scope) and not record.has_expired(today)
            for record in self._records.values()
        )

    def look_again(self, *, at_once: bool = False) -> None:
        """Reads the file again if it changed; never raises."""
        now = self._clock()
        if now < self._look_at and not at_once:
            return
        self._look_at = now + LOOK_S
        signature = self._signature_now()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            keys, self._seen = read_keys(self._path)
        except KeysUnusable as problem:
            if signature == GONE:
                self._records = {}
            self.problem = str(problem)
            EVENTS.error("keys_refused", extra={"fields": {"reason": self.problem}})
            return
        self._records, self.problem = {record.id: record for record in keys.keys}, ""
        EVENTS.info("keys_read", extra={"fields": {"keys": len(self._records)}})

    def _signature_now(self) -> Signature | None:
        try:
            return signature_of(os.stat(self._path))
        except (FileNotFoundError, NotADirectoryError):
            return GONE
        except OSError:
            return None
