"""Nobody takes more than their share: limits for each caller, and one for all calls to CAMS of this process."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import anyio

from cams_mcp.confirmation import Answered, Caller, Question
from cams_mcp.errors import NotNow

if TYPE_CHECKING:
    from cams_mcp.server import Tools
    from cams_mcp.tools import Outcome

BURST_SECONDS = 10.0
"""A caller who was silent may use the calls of so many seconds at once."""

LONGEST_WAIT_SECONDS = 30.0
MOST_CALLERS = 1000
"""So many are remembered before those that rest are forgotten."""


class Pace:
    """So many turns a second on average, with a burst (the generic cell rate algorithm).

    Args:
        per_second: turns.
        burst: how many may come at once after a rest.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._interval = 1 / per_second
        self._slack = (max(burst, 1.0) - 1) * self._interval
        self._due = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next turn."""
        wait = max(self._due, now) - self._slack - now
        return wait if wait > 1e-9 else 0.0  # noqa: PLR2004 - rounding

    def take(self, now: float) -> None:
        """Take the next turn."""
        self._due = max(self._due, now) + self._interval

    def rests(self, now: float) -> bool:
        return self._due <= now


class Upstream:
    """The way to CAMS, shared by all callers of a process. Whoever finds it full waits, first come, first served.

    Args:
        at_once: requests under way at a time.
        per_second: requests begun in a second; None is no limit.
        now, sleep: a clock that never goes back, the wait, in seconds.
    """

    def __init__(
        self,
        at_once: int,
        per_second: float | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._slots = anyio.Semaphore(at_once)
        self._pace = Pace(per_second, per_second) if per_second else None
        self._now = now
        self._sleep = sleep

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """One request.

        Raises:
            NotNow: it would have to wait for more than half a minute.
        """
        with anyio.move_on_after(LONGEST_WAIT_SECONDS) as limit:
            await self._keep_pace()
            await self._slots.acquire()
        if limit.cancelled_caught:
            raise _busy(LONGEST_WAIT_SECONDS)
        try:
            yield
        finally:
            self._slots.release()

    async def _keep_pace(self) -> None:
        if self._pace is None:
            return
        now = self._now()
        wait = self._pace.wait(now)
        if wait > LONGEST_WAIT_SECONDS:
            raise _busy(wait - LONGEST_WAIT_SECONDS)
        self._pace.take(now)
        if wait:
            await self._sleep(wait)


def _busy(seconds: float) -> NotNow:
    return NotNow(
        "Nothing was sent: all callers of this server together are at its limit for calls to CAMS.",
        retry_after=seconds,
    )


class FairTools:
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
    ) -> Outcome | Question:
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
