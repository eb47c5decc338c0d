"""`python -m service.keys create|list|revoke`: the file of API keys.

create prints the new key on stdout, once and alone, so that it can be piped into a secret store;
the file keeps its hash only. A running service sees every change within a second.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import ValidationError

from crossfix.errors import CrossfixError, InvalidParameter
from service.guard.key_file import KeyFile, KeyRecord, alone_at, make_key, read_keys, write_keys


def create(arguments: argparse.Namespace) -> str:
    """Adds a key to the file and returns it.

    Raises:
        InvalidParameter: the name is taken or unusable, or the last day is over.
        KeysUnusable: the file is damaged or open to others.
    """
    path: Path = arguments.file
    with alone_at(path):
        known = read_keys(path)[0].keys if path.exists() else ()
        if any(record.name == arguments.name for record in known):
            raise InvalidParameter(
                f"there is a key named {arguments.name} already",
                hint="choose another name, or revoke that one first",
            )
        if arguments.expires is not None and arguments.expires < datetime.now(UTC).date():
            raise InvalidParameter(f"{arguments.expires} is over", hint="give a day to come")
        try:
            key, record = make_key(arguments.name, arguments.scope, arguments.expires)
        except ValidationError:
            raise InvalidParameter(
                "the name is not usable",
                hint="use 1 to 64 letters, digits, spaces and any of . _ @ / + -",
            ) from None
        write_keys(path, KeyFile(keys=(*known, record)))
    _say(f"added {record.name} to {path}; this is shown only once:")
    return key


def show(arguments: argparse.Namespace) -> str:
    """One line per key. Errors as :func:`create`."""
    keys = read_keys(arguments.file)[0].keys
    _say(f"{len(keys)} keys: id, scopes, created, last day, name")
    today = datetime.now(UTC).date()
    return "\n".join(_line(record, today) for record in keys)


def _line(record: KeyRecord, today: date) -> str:
    last = str(record.expires or "-") + (" expired" if record.has_expired(today) else "")
    return (
        f"{record.id}  {','.join(record.scopes)}  {record.created:%Y-%m-%d}  {last}  {record.name}"
    )


def revoke(arguments: argparse.Namespace) -> str:
    """Takes a key out of the file. Errors as :func:`create`."""
    path: Path = arguments.file
    with alone_at(path):
        known = read_keys(path)[0].keys
        kept = tuple(k for k in known if arguments.key not in (k.name, k.id))
        if len(kept) == len(known):
            raise InvalidParameter(
                f"there is no key of name or id {arguments.key}", hint="see: list"
            )
        write_keys(path, KeyFile(keys=kept))
    _say(f"revoked {arguments.key}")
    return ""


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service.keys", description="Makes, lists and revokes API keys."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    making = commands.add_parser("create", help="make a key and print it once")
    making.add_argument("--name", required=True, help="who will have it; shown in the log")
    making.add_argument(
        "--scope",
        required=True,
        choices=("localize", "admin"),
        help="localize sends photos and reads; admin also rebuilds and switches galleries",
    )
    making.add_argument(
        "--expires", type=date.fromisoformat, metavar="YYYY-MM-DD", help="its last day, in UTC"
    )
    making.set_defaults(run=create)
    listing = commands.add_parser("list", help="show all keys, without what opens")
    listing.set_defaults(run=show)
    revoking = commands.add_parser("revoke", help="make a key useless")
    revoking.add_argument("key", metavar="NAME_OR_ID")
    revoking.set_defaults(run=revoke)
    for command in (making, listing, revoking):
        command.add_argument("--file", required=True, type=Path, help="the keys file")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0, or 1 with one line on stderr."""
    chosen = _parser().parse_args(arguments)
    try:
        answer = str(chosen.run(chosen))
    except CrossfixError as problem:
        _say(f"python -m service.keys: {problem}" + (f" ({problem.hint})" if problem.hint else ""))
        return 1
    except OSError as problem:
        _say(f"python -m service.keys: {chosen.file} cannot be written: {problem.strerror}")
        return 1
    if answer:
        sys.stdout.write(answer + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
