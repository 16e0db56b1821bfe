"""A server that stops: what runs may end, and no new write begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import anyio

from cams_mcp.confirmation import Answered, Caller, Question, Reply
from cams_mcp.errors import NotNow
from cams_mcp.tools.result import ToolResult, Tools

Ask = Callable[[Question], Awaitable[Reply]]


class Draining:
    """Counts the running calls of `tools`.

    Args:
        tools: what runs the calls.
        writing: the names of those that write.
    """

    def __init__(self, tools: Tools, writing: frozenset[str]) -> None:
        self._tools = tools
        self._writing = writing
        self._running: set[anyio.CancelScope] = set()
        self._asking: set[anyio.CancelScope] = set()
        self._stopping = False

    @property
    def is_running(self) -> bool:
        """Whether a call is under way."""
        return bool(self._running)

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def stop(self) -> None:
        """Refuse writes from now on."""
        self._stopping = True

    def stop_asking(self) -> None:
        """End the calls that wait for a person's answer: it would begin a write, and the person may be gone."""
        for scope in self._asking:
            scope.cancel()

    def give_up(self) -> None:
        """Cut the running calls off; their callers are told."""
        for scope in self._running:
            scope.cancel()

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, *, answered: Answered | None = None
    ) -> ToolResult | Question:
        """See `Toolbox.call`.

        Raises:
            NotNow: a write, and the server is stopping; or the call was cut off.
        """
        if self._stopping and name in self._writing:
            raise _stopping()
        if caller.ask is not None:
            caller = replace(caller, ask=self._until_stopped(caller.ask))
        with anyio.CancelScope() as scope:
            self._running.add(scope)
            try:
                return await self._tools.call(name, arguments, caller, answered=answered)
            finally:
                self._running.discard(scope)
        raise NotNow(
            "This server stopped before the call had ended.",
            hint="The write may have been applied. Check before you repeat it; `cams-mcp audit` lists it."
            if name in self._writing
            else "Call again in half a minute.",
        )

    def _until_stopped(self, ask: Ask) -> Ask:
        async def asking(question: Question) -> Reply:
            if self._stopping:
                raise _stopping()
            with anyio.CancelScope() as scope:
                self._asking.add(scope)
                try:
                    return await ask(question)
                finally:
                    self._asking.discard(scope)
            raise _stopping()

        return asking


def _stopping() -> NotNow:
    return NotNow("Nothing was sent: this server is stopping and begins no new write.", retry_after=30)
