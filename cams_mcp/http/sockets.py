"""A port, and an ASGI application served on it until a signal comes."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp

from cams_mcp.errors import ConfigurationError
from cams_mcp.logs import LogFormat, announce

GRACE_SECONDS = 5
"""For requests that are being answered when the server stops."""

SENDING_SECONDS = 2
"""The same where the calls behind them have ended or were cut off."""


class Work(Protocol):
    """What must come to an end before the server stops; `cams_mcp.http.shutdown.Draining` is."""

    @property
    def is_running(self) -> bool: ...

    def stop(self) -> None: ...

    def stop_asking(self) -> None: ...

    def give_up(self) -> None: ...


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        ConfigurationError: the address is not free or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named so that asyncio switches Nagle's delay off: without it each answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        # From here on nobody else gets the port, and connections wait for the server.
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror}.", hint="Use another --port, or 0 for a free one."
        ) from None
    return listener


class _Server(uvicorn.Server):
    """At a signal it takes no more connections, lets running work end for a while, and stops; at a second, at once.

    uvicorn alone would cut every event stream at the signal, and with it the result of a running call.
    """

    def __init__(self, config: uvicorn.Config, work: Work | None, grace: float, now: Callable[[], float]) -> None:
        super().__init__(config)
        self._work = work
        self._grace = grace
        self._now = now
        self._stop_by: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._work is None:
            super().handle_exit(sig, frame)
            return
        self._stop_by = self._now() + (self._grace if self._stop_by is None else 0.0)
        self._work.stop()

    async def on_tick(self, counter: int) -> bool:
        if self._work is not None and self._stop_by is not None and not self.should_exit:
            for server in self.servers:
                server.close()
            # Not in handle_exit: a signal handler runs outside the event loop.
            self._work.stop_asking()
            if self._now() >= self._stop_by:
                self._work.give_up()
            self.should_exit = not self._work.is_running or self._now() >= self._stop_by + SENDING_SECONDS
        return await super().on_tick(counter)


async def serve_http(
    app: ASGIApp,
    listener: socket.socket,
    *,
    ready: str | None,
    log_format: LogFormat,
    work: Work | None = None,
    grace: float = 0.0,
    now: Callable[[], float] = time.monotonic,
    **options: Any,
) -> None:
    """Serve `app` on a bound socket until SIGINT or SIGTERM; running requests get a few seconds to end.

    Args:
        ready: said on standard error once connections and signals are taken; None if it was said already.
        work: what may take longer than that to end.
        grace: for how many seconds.
        options: go to `uvicorn.Config`.
    """
    seconds = GRACE_SECONDS if work is None else SENDING_SECONDS
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=seconds, **options
    )
    server = _Server(config, work, grace, now)
    # uvicorn takes signals only while it serves, and raises them again once it has stopped. A signal that comes before
    # must stop it too, and one that is raised again must do nothing more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    if ready is not None:
        announce(ready, log_format)
    await server.serve(sockets=[listener])
