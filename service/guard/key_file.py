"""API keys at rest: a strict JSON file of names, scopes and hashes; never a key itself.

A key is `crossfix_<id>_<secret>`: the prefix makes leaked keys easy to find with grep and secret
scanners, the id finds the record, the secret is 256 random bits. One SHA-256 is enough to keep such
a secret: it cannot be guessed, so neither salt nor a slow hash would add anything but time per
request, which strangers could use to keep the service busy.
"""

import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from crossfix.manifest import StrictModel, write_json_atomic
from service.errors import KeysUnusable
from service.wording import plain_reason

Scope = Literal["localize", "admin"]
Signature = tuple[int, int, int, int]  # inode, times and size: differs when the file does

KEY_PATTERN = re.compile(r"crossfix_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
LONGEST_FILE_BYTES = 4_000_000
FORBIDDEN_MODE = stat.S_IWGRP | stat.S_IRWXO  # a group may read: Kubernetes mounts secrets so


class KeyRecord(StrictModel):
    """What is kept of one key.

    Attributes:
        sha256: hex digest of the whole key as it is sent.
        expires: the last day, in UTC, on which it opens; None for never.
    """

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(pattern=r"^[\w][\w .@/+-]{0,63}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created: AwareDatetime
    expires: date | None = None

    def opens(self, scope: Scope) -> bool:
        """Whether the key has the scope; admin includes localize."""
        return scope in self.scopes or "admin" in self.scopes

    def has_expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return self.expires is not None and today > self.expires


class KeyFile(StrictModel):
    """The whole file."""

    format: Literal[1] = 1
    keys: tuple[KeyRecord, ...] = ()

    @model_validator(mode="after")
    def _nothing_twice(self) -> "KeyFile":
        for kind in ("id", "name"):
            values = [getattr(key, kind) for key in self.keys]
            if len(set(values)) < len(values):
                raise ValueError(f"two keys have the same {kind}")
        return self


def make_key(name: str, scope: Scope, expires: date | None = None) -> tuple[str, KeyRecord]:
    """A new key, and what is kept of it."""
    key_id = secrets.token_hex(6)
    key = f"crossfix_{key_id}_{secrets.token_urlsafe(32)}"
    record = KeyRecord(
        id=key_id,
        name=name,
        sha256=hash_key(key),
        scopes=(scope,),
        created=datetime.now(UTC).replace(microsecond=0),
        expires=expires,
    )
    return key, record


def hash_key(key: str) -> str:
    """Hex SHA-256 of a key as it is sent."""
    return hashlib.sha256(key.encode()).hexdigest()


def signature_of(status: os.stat_result) -> Signature:
    """What tells one state of the file from another."""
    return (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)


def read_keys(path: Path) -> tuple[KeyFile, Signature]:
    """The keys, and the signature of the very file they were read from.

    Raises:
        KeysUnusable: missing, open to others, too long, or not such a file.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as handle:
            status = os.fstat(handle.fileno())
            _refuse_odd_file(path, status)
            text = handle.read(LONGEST_FILE_BYTES)
    except OSError as problem:
        raise KeysUnusable(
            f"the keys file {path} cannot be read: {problem.strerror}",
            hint="make one with: python -m service.keys create",
        ) from None
    try:
        return KeyFile.model_validate_json(text), signature_of(status)
    except ValidationError as problem:
        first = problem.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise KeysUnusable(
            f"the keys file {path} is not valid: {where} {plain_reason(first)}",
            hint="change it only with: python -m service.keys",
        ) from None


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for somebody who writes


def _refuse_odd_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeysUnusable(f"the keys file {path} is not a plain file", hint="name the file")
    if status.st_mode & FORBIDDEN_MODE:
        mode = stat.S_IMODE(status.st_mode)
        raise KeysUnusable(
            f"the keys file {path} is open to others (mode {mode:04o})", hint=f"chmod 600 {path}"
        )
    if status.st_size >= LONGEST_FILE_BYTES:
        raise KeysUnusable(
            f"the keys file {path} has {status.st_size} bytes",
            hint=f"it may have {LONGEST_FILE_BYTES} at most; revoke keys nobody uses",
        )


def write_keys(path: Path, keys: KeyFile) -> None:
    """Replaces the file in one step, readable by its owner alone.

    Sets the process's umask meanwhile, so it is for the command line, not for the service.
    """
    before = os.umask(0o077)
    try:
        write_json_atomic(path, keys.model_dump(mode="json"))
    finally:
        os.umask(before)


@contextmanager
def alone_at(path: Path) -> Iterator[None]:
    """Keeps other writers of the keys file waiting.

    The folder is locked, not the file: each change puts another file in its place.
    """
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
