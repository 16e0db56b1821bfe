"""Limits on the calls of each principal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from cams_mcp.api.throttle import Pace
from cams_mcp.confirmation import Answered, Caller, Question
from cams_mcp.errors import NotNow
from cams_mcp.tools.result import ToolResult, Tools

BURST_SECONDS = 10.0
"""A caller who was silent may use the calls of so many seconds at once."""

MOST_CALLERS = 1000
"""So many are remembered before those that rest are forgotten."""


class LimitedTools:
    """Tools with limits for each principal.

    Args:
        tools: what runs the calls that are let in.
        at_once: calls under way of one principal.
        per_minute: calls begun in a minute by one principal.
        now: seconds that never go back.
    """

    def __init__(
        self, tools: Tools, *, at_once: int, per_minute: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._tools = tools
        self._at_once = at_once
        self._per_minute = per_minute
        self._now = now
        self._shares: dict[str, _Share] = {}

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, *, answered: Answered | None = None
    ) -> ToolResult | Question:
        """See `Toolbox.call`.

        Raises:
            NotNow: the caller is over a limit.
        """
        with self._admitted(caller.principal):
            return await self._tools.call(name, arguments, caller, answered=answered)

    @contextmanager
    def _admitted(self, principal: str) -> Generator[None]:
        now = self._now()
        share = self._share(principal, now)
        if share.running >= self._at_once:
            raise NotNow(
                f"Nothing was sent: {self._at_once} of your calls are under way, and this server runs no more at once "
                "(--calls-at-once). Wait until one has ended."
            )
        wait = share.pace.wait(now)
        if wait:
            raise NotNow(
                f"Nothing was sent: you call more often than {self._per_minute:,} times a minute (--calls-per-minute).",
                retry_after=wait,
            )
        share.pace.take(now)
        share.running += 1
        try:
            yield
        finally:
            share.running -= 1

    def _share(self, principal: str, now: float) -> _Share:
        share = self._shares.get(principal)
        if share is None:
            if len(self._shares) >= MOST_CALLERS:
                self._shares = {name: old for name, old in self._shares.items() if not old.rests(now)}
            share = self._shares[principal] = _Share(self._per_minute)
        return share


class _Share:
    """What one principal uses."""

    def __init__(self, per_minute: int) -> None:
        self.running = 0
        self.pace = Pace(per_minute / 60, math.ceil(per_minute * BURST_SECONDS / 60))

    def rests(self, now: float) -> bool:
        return not self.running and self.pace.rests(now)
