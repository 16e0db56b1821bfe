"""The approval page: the server opens the person's browser at a page of its own on 127.0.0.1.

The page is served only while something waits. What serves it is imported when it is first needed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import anyio
from anyio.abc import TaskGroup

from cams_mcp.access import LOCAL_PRINCIPAL
from cams_mcp.approval.browser import open_browser as in_browser

if TYPE_CHECKING:
    from cams_mcp.approval.page_app import Desk, View
    from cams_mcp.approval.page_server import OpenBrowser, PageServer

LINGER_SECONDS = 30.0
"""How long the page stays up after the last outcome."""

STARTING_SECONDS = 15.0
"""How long a browser that was started may take to show the page."""

CLOSING_SECONDS = 2.0

logger = logging.getLogger(__name__)


class ApprovalPage:
    """Shows the person what waits for them. An asynchronous context manager, which owns the tasks that serve the page.

    Args:
        desk: where the writes wait.
        person: recorded as who decided on the page, for example "ada@laptop".
        command: how to decide on a terminal; empty if no other process can see the store.
        language: of the page; "auto" takes the browser's, else the system's.
        principal: whose writes it shows.
        open_browser: opens a URL and returns whether a browser was started.
        view: what to show of a write; by default `cams_mcp.approval.view.as_shown`.
        linger: how long to stay up after the last outcome, in seconds.
        patience: how long a browser that was started may take to show the page, in seconds.
        clock: seconds since 1970.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        person: str,
        command: str = "",
        language: Literal["auto", "en", "zh"] = "auto",
        principal: str = LOCAL_PRINCIPAL,
        open_browser: OpenBrowser = in_browser,
        view: View | None = None,
        linger: float = LINGER_SECONDS,
        patience: float = STARTING_SECONDS,
        clock: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._person = person
        self._command = command
        self._language: Literal["auto", "en", "zh"] = language
        self._principal = principal
        self._open_browser = open_browser
        self._view = view
        self._linger = linger
        self._patience = patience
        self._clock = clock
        self._now = now
        self._lock = anyio.Lock()
        self._group: TaskGroup | None = None
        self._server: PageServer | None = None
        self._idle = anyio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._group is not None
        try:
            if self._server is not None:
                self._server.close()
                with anyio.move_on_after(CLOSING_SECONDS):
                    await self._idle.wait()
        finally:
            self._group.cancel_scope.cancel()
            # Not with the error: the group would wrap it, and no task of the group raises one.
            await self._group.__aexit__(None, None, None)

    @property
    def is_watched(self) -> bool:
        """Whether a person has the page before their eyes."""
        return self._server is not None and not self._server.is_closing and self._server.is_watched

    async def show(self) -> bool:
        """Make sure that the person sees what waits: open the page, unless they have it before their eyes.

        Returns:
            False if no browser shows the page: none could be started, or it did not load the page in time. In the
            latter case it still may, and a decision there counts.
        """
        async with self._lock:
            server = self._server
            if server is None or server.is_closing:
                try:
                    server = self._start()
                except OSError as error:
                    logger.warning("the approval page found no port on 127.0.0.1: %s", type(error).__name__)
                    return False
            server.touch()
            if server.is_watched:
                return True
            if not server.is_starting and not await server.open(self._open_browser):
                return False
        return await server.arrival()

    def _start(self) -> PageServer:
        from cams_mcp.approval.page_server import PageServer

        view = self._view
        if view is None:
            from cams_mcp.approval.view import as_shown

            view = partial(as_shown, local=True)
        server = PageServer(
            self._desk,
            view=view,
            person=self._person,
            command=self._command,
            principal=self._principal,
            language=self._language,
            linger=self._linger,
            patience=self._patience,
            clock=self._clock,
            now=self._now,
        )
        assert self._group is not None, "the page is used inside `async with`"
        self._server, self._idle = server, anyio.Event()
        self._group.start_soon(self._run, server, self._idle)
        return server

    async def _run(self, server: PageServer, idle: anyio.Event) -> None:
        try:
            await server.run()
        except Exception as error:
            # The other doors are still there.
            logger.warning("the approval page stopped: %s", type(error).__name__, exc_info=error)
        finally:
            if self._server is server:
                self._server = None
            idle.set()
