"""`python -m service --encoder ENCODER --gallery GALLERY`: serves until told to stop."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from pydantic import ValidationError

from crossfix.errors import CrossfixError
from service.errors import AddressUnavailable
from service.logs.log import EVENTS, configure_logging, log_start
from service.server import DrainingServer
from service.settings import Settings
from service.settings_checks import unknown_variable
from service.wording import plain_reason


def read_settings(arguments: Sequence[str] | None) -> Settings:
    """Settings from the environment, overridden by flags.

    Raises:
        SystemExit: with 2 and one line on stderr, when a flag or variable is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description=(
            "Serves /localize. Every flag is also an environment variable CROSSFIX_<NAME>."
        ),
    )
    for name, field in Settings.model_fields.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            help=(field.description or "").replace("%", "%%"),
            default=argparse.SUPPRESS,
            metavar=name.upper(),
        )
    given = vars(parser.parse_args(arguments))
    if unknown := unknown_variable(os.environ, Settings.model_fields):
        _give_up(unknown)
    try:
        return Settings(**given)
    except ValidationError as problem:
        first = problem.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""  # none: several settings together
    if name == "port" and str(first["input"]).startswith("tcp://"):
        _give_up(
            "CROSSFIX_PORT was set by Kubernetes for a Service called crossfix; "
            "set enableServiceLinks: false in the pod"
        )
    where = f"--{name.replace('_', '-')} (CROSSFIX_{name.upper()}): " if name else ""
    _give_up(f"{where}{plain_reason(first)}")


def _give_up(sentence: str) -> NoReturn:
    print(f"python -m service: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def listen(settings: Settings) -> socket.socket:
    """The listening socket, before anything is loaded.

    Raises:
        AddressUnavailable: the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as problem:
        raise AddressUnavailable(
            f"cannot listen on {settings.host} port {settings.port}: {problem.strerror}",
            hint="choose another --port or --host",
        ) from None
    EVENTS.info("listening", extra={"fields": {"port": listener.getsockname()[1]}})
    return listener


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves; 0 after a clean stop, 1 when it could not start."""
    settings = read_settings(arguments)
    configure_logging()
    log_start(settings)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server understands it
    try:
        listener = listen(settings)
        server = DrainingServer(settings)
        server.run(sockets=[listener])
        if server.failure is not None:
            raise server.failure
    except CrossfixError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        fields = {"error": problem.code, "reason": f"{problem}{hint}"}
        EVENTS.error("start_failed", extra={"fields": fields})
        print(f"python -m service: {problem}{hint}", file=sys.stderr)
        return 1
    EVENTS.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
