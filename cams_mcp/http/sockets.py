"""Bind a port, and serve an ASGI application on it until a signal arrives."""

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
"""How long requests in progress may take to finish at shutdown."""

SENDING_SECONDS = 2
"""How long responses may take to send once their calls have finished or were cancelled."""


class Work(Protocol):
    """Work to finish before the server stops. `cams_mcp.http.shutdown.Draining` implements it."""

    @property
    def is_running(self) -> bool: ...

    def stop(self) -> None: ...

    def cancel_questions(self) -> None: ...

    def cancel_calls(self) -> None: ...


def bind(host: str, port: int) -> socket.socket:
    """Create a listening socket. Port 0 picks a free port.

    Raises:
        ConfigurationError: the address is already in use, or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm only if the protocol is given explicitly. Otherwise each response takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        # Claims the port now. The kernel queues connections until the server accepts them.
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror}.", hint="Choose another --port, or 0 to pick a free one."
        ) from None
    return listener


class _Server(uvicorn.Server):
    """On a signal, stops accepting connections and drains running work. A second signal ends the grace period.

    By itself, uvicorn closes every event stream on a signal, which loses the results of running calls.
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
            # Not in handle_exit, because signal handlers run outside the event loop.
            self._work.cancel_questions()
            if self._now() >= self._stop_by:
                self._work.cancel_calls()
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
    """Serve `app` on a bound socket until SIGINT or SIGTERM. Requests in progress get a few seconds to finish.

    Args:
        ready: printed to standard error once the server handles connections and signals. None prints nothing.
        work: work that may take longer to finish.
        grace: how long `work` may take, in seconds.
        options: passed to `uvicorn.Config`.
    """
    seconds = GRACE_SECONDS if work is None else SENDING_SECONDS
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=seconds, **options
    )
    server = _Server(config, work, grace, now)
    # uvicorn handles signals only while it serves, and raises them again after it stops. This handler also catches a
    # signal that arrives before, and makes the repeated one harmless.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    if ready is not None:
        announce(ready, log_format)
    await server.serve(sockets=[listener])
