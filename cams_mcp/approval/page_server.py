"""One run of the approval page: a socket on 127.0.0.1 with a random port, until nothing waits any more."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Literal, TypeAlias

import anyio
import uvicorn

from cams_mcp.approval.page_app import Desk, PageApp, View
from cams_mcp.approval.page_keys import Keys
from cams_mcp.errors import StoreError
from cams_mcp.store.pending import Pending

MOST_CONNECTIONS = 64
CLOSING_SECONDS = 1
"""How long responses in progress may take when the page closes."""
WATCH_SECONDS = 1.0
SILENT_SECONDS = 5.0
"""How long a connection may take to send a request."""
OpenBrowser: TypeAlias = Callable[[str], Awaitable[bool]]


class PageServer:
    """Serves the page on a random port and path. Binds the port when created, and serves in `run`.

    Args:
        linger: how long to stay up after the last outcome, in seconds.
        patience: how long a browser that was started may take to show the page.

    Raises:
        OSError: no port can be bound.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        view: View,
        person: str,
        command: str,
        principal: str,
        language: Literal["auto", "en", "zh"],
        linger: float,
        patience: float,
        clock: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._principal = principal
        self._linger = linger
        self._patience = patience
        self._clock = clock
        self._now = now
        self._open_until = 0.0
        self._last_open = now()
        self._opened = float("-inf")
        self._silent: dict[Any, float] = {}
        # asyncio disables Nagle's algorithm only if the protocol is given explicitly. Otherwise each response takes
        # 40 ms.
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._listener.bind(("127.0.0.1", 0))
            self._listener.listen()
        except OSError:
            self._listener.close()
            raise
        self._host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._keys = Keys(now)
        self._app = PageApp(
            self._host,
            self._keys,
            desk,
            view=view,
            person=person,
            command=command,
            principal=principal,
            language=language,
            clock=clock,
            now=now,
        )
        config = uvicorn.Config(
            self._app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=CLOSING_SECONDS,
        )
        self._server = _Server(config)

    @property
    def is_closing(self) -> bool:
        return self._server.should_exit

    @property
    def is_watched(self) -> bool:
        """Whether a person has the page before their eyes."""
        return self._app.is_watched

    @property
    def is_starting(self) -> bool:
        """Whether a browser was started a moment ago and does not show the page yet."""
        return self._keys.has_fresh_address and self._left_to_start() > 0

    def touch(self) -> None:
        """Start the time to linger again: something new waits."""
        self._last_open = self._now()

    def close(self) -> None:
        """Stop as soon as responses in progress are done."""
        self._server.should_exit = True

    async def open(self, open_browser: OpenBrowser) -> bool:
        """Open the page in a browser. Returns whether one was started, at the latest when it shows the page."""
        url = f"http://{self._host}/{self._keys.new_address()}"
        self._opened = self._now()
        entered = self._app.expect_entry()
        started = False
        async with anyio.create_task_group() as group:

            async def until_entered() -> None:
                # Some commands run until the browser is closed.
                await entered.wait()
                group.cancel_scope.cancel()

            group.start_soon(until_entered)
            started = await open_browser(url)
            group.cancel_scope.cancel()
        if started or entered.is_set():
            return True
        self._keys.withdraw()
        if not self._keys.has_session:
            self.close()
        return False

    async def arrival(self) -> bool:
        """Wait until the browser that was started shows the page. False if none does: not every failure is reported."""
        with anyio.move_on_after(self._left_to_start()):
            await self._app.entered.wait()
        return not self._keys.has_fresh_address

    def _left_to_start(self) -> float:
        return max(0.0, self._opened + self._patience - self._now())

    async def run(self) -> None:
        """Serve until `close`, or until nothing has waited for a while."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch)
                await self._server.serve(sockets=[self._listener])
                group.cancel_scope.cancel()
        finally:
            # uvicorn does this by itself, unless it is cancelled.
            for server in self._server.servers:
                server.close()
            for connection in list(self._server.server_state.connections):
                connection.shutdown()
            self._listener.close()
            # Nobody needs to wait for a browser any more.
            self._app.entered.set()

    async def _watch(self) -> None:
        while True:
            self._close_silent_connections()
            if await self._has_open_writes():
                self.touch()
            elif self._now() - self._last_open >= self._linger:
                self.close()
                return
            await anyio.sleep(min(WATCH_SECONDS, self._linger / 4))

    def _close_silent_connections(self) -> None:
        """Close connections that never sent a request: uvicorn has no limit for them, and they take the places."""
        now, silent = self._now(), dict[Any, float]()
        for connection in self._server.server_state.connections:
            if getattr(connection, "cycle", None) is None:
                silent[connection] = self._silent.get(connection, now)
        self._silent = silent
        for connection, since in silent.items():
            if now - since >= SILENT_SECONDS and (transport := getattr(connection, "transport", None)) is not None:
                transport.close()

    async def _has_open_writes(self) -> bool:
        try:
            writes = await self._desk.pending(self._principal)
        except StoreError:
            # As far as was known when the store could be read.
            return self._clock() < self._open_until
        self._open_until = max((write.expires for write in writes if _is_open(write)), default=0.0)
        return self._clock() < self._open_until


class _Server(uvicorn.Server):
    """Leaves signals to the program. By itself, uvicorn would take them over and end with the first."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.servers = []

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _is_open(write: Pending) -> bool:
    """Whether a write waits for a decision or its outcome."""
    return write.state in ("waiting", "approved") or (write.state == "spent" and write.outcome is None)
