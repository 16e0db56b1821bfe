"""Graceful shutdown: running calls may finish, and no new write starts."""

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
    """Wraps tools and tracks their running calls, so that the server can drain or cancel them.

    Args:
        tools: runs the calls.
        writing: names of the tools that write.
    """

    def __init__(self, tools: Tools, writing: frozenset[str]) -> None:
        self._tools = tools
        self._writing = writing
        self._running: set[anyio.CancelScope] = set()
        self._asking: set[anyio.CancelScope] = set()
        self._stopping = False

    @property
    def is_running(self) -> bool:
        """Whether any call is running."""
        return bool(self._running)

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def stop(self) -> None:
        """Reject writes from now on."""
        self._stopping = True

    def cancel_questions(self) -> None:
        """Cancel the calls that wait for a person's confirmation: their answer would start a write."""
        self.stop_waiting()
        for scope in self._asking:
            scope.cancel()

    def cancel_calls(self) -> None:
        """Cancel the running calls. Their callers receive an error."""
        for scope in self._running:
            scope.cancel()

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, *, answered: Answered | None = None
    ) -> ToolResult | Question:
        """See `Toolbox.call`.

        Raises:
            NotNow: the server rejected a write because it is shutting down, or cancelled the call.
        """
        if self._stopping and name in self._writing:
            raise _shutting_down()
        if caller.ask is not None:
            caller = replace(caller, ask=self._until_stopped(caller.ask))
        with anyio.CancelScope() as scope:
            self._running.add(scope)
            try:
                return await self._tools.call(name, arguments, caller, answered=answered)
            finally:
                self._running.discard(scope)
        raise NotNow(
            "The server shut down before the call finished.",
            hint=f"If it sent a write, that may have been applied. Before you retry, {_how_to_check(name)}."
            if name in self._writing
            else "Try again in 30 s.",
        )

    async def card_key(self, caller: Caller) -> str:
        """See `Toolbox.card_key`."""
        return await self._tools.card_key(caller)

    def stop_waiting(self) -> bool:
        """See `Toolbox.stop_waiting`."""
        return self._tools.stop_waiting()

    def _until_stopped(self, ask: Ask) -> Ask:
        async def ask_until_stopped(question: Question) -> Reply:
            if self._stopping:
                raise _shutting_down()
            with anyio.CancelScope() as scope:
                self._asking.add(scope)
                try:
                    return await ask(question)
                finally:
                    self._asking.discard(scope)
            raise _shutting_down()

        return ask_until_stopped


def _how_to_check(tool: str) -> str:
    from cams_mcp.operations import OPERATIONS  # the interrupted call has loaded these
    from cams_mcp.upload.service import FILE_TOOLS

    effects = {each.name: each.effect for each in (*OPERATIONS, *FILE_TOOLS)}
    effect = effects.get(tool)
    return effect.how_to_check if effect else "check whether it was applied"


def _shutting_down() -> NotNow:
    return NotNow("Nothing was sent: the server is shutting down and accepts no new writes.", retry_after=30)
