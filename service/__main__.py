"""`python -m service --encoder ENCODER --gallery GALLERY`: serves until told to stop."""

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import uvicorn
from pydantic import ValidationError

from crossfix.errors import CrossfixError
from service.app import create_app
from service.errors import AddressUnavailable
from service.log import EVENTS, configure_logging
from service.settings import Settings


class DrainingServer(uvicorn.Server):
    """Says not-ready before it stops listening, so that nobody is turned away.

    SIGTERM: /readyz answers 503 for `drain_s` while requests are still taken; then no new ones,
    and running ones finish. SIGINT, or a second signal: the last step at once.
    """

    failure: CrossfixError | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = create_app(settings, on_failed_start=self._give_up)
        super().__init__(
            uvicorn.Config(
                self._app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=round(settings.shutdown_s),
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Called by the signal handler."""
        runtime = self._app.state.runtime
        if sig == signal.SIGTERM and not runtime.draining:
            runtime.draining = True
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(loop.call_later, self._settings.drain_s, self._stop)
        else:
            self.force_exit = self.should_exit
            self.should_exit = True

    def _stop(self) -> None:
        self.should_exit = True

    def _give_up(self, problem: CrossfixError) -> None:
        self.failure = problem
        self.should_exit = True


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
    try:
        return Settings(**given)
    except ValidationError as problem:
        first = problem.errors()[0]
        name = str(first["loc"][0])
        print(
            f"python -m service: --{name.replace('_', '-')} (CROSSFIX_{name.upper()}): "
            f"{first['msg'].removeprefix('Value error, ')}",
            file=sys.stderr,
        )
        raise SystemExit(2) from None


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
    try:
        listener = listen(settings)
        server = DrainingServer(settings)
        server.run(sockets=[listener])
        if server.failure is not None:
            raise server.failure
    except CrossfixError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"python -m service: {problem}{hint}", file=sys.stderr)
        return 1
    EVENTS.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
