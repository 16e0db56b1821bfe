"""Per-principal call limits."""

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
"""An idle caller can make this many seconds' worth of calls in one burst."""

MOST_CALLERS = 1000
"""Number of callers to track before idle ones are dropped."""


class LimitedTools:
    """Wraps tools with limits on the calls of each principal.

    Args:
        tools: runs the admitted calls.
        at_once: maximum concurrent calls per principal.
        per_minute: maximum calls started per minute, per principal.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self, tools: Tools, *, at_once: int, per_minute: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._tools = tools
        self._at_once = at_once
        self._per_minute = per_minute
        self._now = now
        self._usage_by_principal: dict[str, _Usage] = {}

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, *, answered: Answered | None = None
    ) -> ToolResult | Question:
        """See `Toolbox.call`.

        Raises:
            NotNow: the caller exceeded a limit.
        """
        with self._admitted(caller.principal):
            return await self._tools.call(name, arguments, caller, answered=answered)

    async def card_key(self, caller: Caller) -> str:
        """See `Toolbox.card_key`."""
        return await self._tools.card_key(caller)

    def stop_waiting(self) -> bool:
        """See `Toolbox.stop_waiting`."""
        return self._tools.stop_waiting()

    @contextmanager
    def _admitted(self, principal: str) -> Generator[None]:
        now = self._now()
        usage = self._usage_of(principal, now)
        if usage.running >= self._at_once:
            raise NotNow(
                f"Nothing was sent: you have reached the limit of {self._at_once} concurrent calls (--calls-at-once). "
                "Wait for one to finish, then try again."
            )
        wait = usage.pace.wait(now)
        if wait:
            raise NotNow(
                f"Nothing was sent: you have exceeded the rate limit of {self._per_minute:,} calls per minute "
                "(--calls-per-minute).",
                retry_after=wait,
            )
        usage.pace.take(now)
        usage.running += 1
        try:
            yield
        finally:
            usage.running -= 1

    def _usage_of(self, principal: str, now: float) -> _Usage:
        usage = self._usage_by_principal.get(principal)
        if usage is None:
            if len(self._usage_by_principal) >= MOST_CALLERS:
                self._usage_by_principal = {
                    name: old for name, old in self._usage_by_principal.items() if not old.is_idle(now)
                }
            usage = self._usage_by_principal[principal] = _Usage(self._per_minute)
        return usage


class _Usage:
    """Current usage of one principal."""

    def __init__(self, per_minute: int) -> None:
        self.running = 0
        self.pace = Pace(per_minute / 60, math.ceil(per_minute * BURST_SECONDS / 60))

    def is_idle(self, now: float) -> bool:
        return not self.running and self.pace.rests(now)
