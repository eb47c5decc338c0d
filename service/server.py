"""uvicorn around the app: its limits, and how it stops."""

import asyncio
import math
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from crossfix.errors import CrossfixError
from service.app import create_app
from service.http.connection_guard import guarded_protocol
from service.logs.log import EVENTS
from service.settings import Settings

# Longer than proxies keep idle connections (60 s is usual), or they send on one that just closed.
KEEP_ALIVE_S = 75


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the app."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=guarded_protocol(app.state.runtime.metrics),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_s),
        # By default uvicorn believes proxies on 127.0.0.1 and those in an environment variable.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
    )


class DrainingServer(uvicorn.Server):
    """Says not-ready before it stops listening, so that nobody is turned away.

    SIGTERM: /readyz answers 503 for `drain_s` while requests are still taken; then no new ones,
    and running ones finish. SIGINT, or a second signal: the last step at once. SIGHUP: looks for
    a new gallery version and new keys now.

    Raises:
        CrossfixError: the settings cannot be served.
    """

    failure: CrossfixError | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = create_app(settings, on_failed_start=self._give_up)
        super().__init__(server_config(self._app, settings))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the app; then SIGHUP is understood."""
        await super().startup(sockets)
        reload_now = self._app.state.runtime.reload_now
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_now)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Called by the signal handler."""
        runtime = self._app.state.runtime
        if sig == signal.SIGTERM and not runtime.draining:
            runtime.draining = True
            EVENTS.info("drain")
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
