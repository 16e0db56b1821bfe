"""The limit on calls to CAMS that all callers of a process share."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from cams_mcp.errors import NotNow

LONGEST_WAIT_SECONDS = 30.0


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
