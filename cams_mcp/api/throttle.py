"""Limit the requests that a process sends to CAMS, across all its callers."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from cams_mcp.errors import NotNow

LONGEST_WAIT_SECONDS = 30.0


class Pace:
    """A rate limit with a burst allowance (the generic cell rate algorithm).

    Args:
        per_second: the average rate.
        burst: how many requests may start at once after an idle period.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._interval = 1 / per_second
        self._slack = (max(burst, 1.0) - 1) * self._interval
        self._due = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next request may start."""
        wait = max(self._due, now) - self._slack - now
        return wait if wait > 1e-9 else 0.0  # noqa: PLR2004 - rounding

    def take(self, now: float) -> None:
        """Count one request."""
        self._due = max(self._due, now) + self._interval

    def rests(self, now: float) -> bool:
        """Whether the full burst is available again."""
        return self._due <= now


class Throttle:
    """A limit on concurrent requests and on their rate. Requests over the limit wait in order of arrival.

    Args:
        at_once: maximum concurrent requests.
        per_second: maximum requests per second; None for no limit.
        now, sleep: a monotonic clock and a wait, both in seconds.
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
    async def slot(self) -> AsyncGenerator[None]:
        """Wait for permission to send one request, and hold it until the block ends.

        Raises:
            NotNow: the wait would exceed `LONGEST_WAIT_SECONDS`.
        """
        with anyio.move_on_after(LONGEST_WAIT_SECONDS) as limit:
            await self._wait_for_pace()
            await self._slots.acquire()
        if limit.cancelled_caught:
            raise _busy(LONGEST_WAIT_SECONDS)
        try:
            yield
        finally:
            self._slots.release()

    async def _wait_for_pace(self) -> None:
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
        "Nothing was sent: this server has reached its limit for requests to CAMS, across all callers.",
        retry_after=seconds,
    )
