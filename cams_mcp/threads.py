"""Run blocking store steps in worker threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from cams_mcp.deadlines import OUTCOME_SECONDS, STEP_SECONDS, busy, until

T = TypeVar("T")

STEPS_AT_ONCE = 8
"""A few threads are enough: SQLite runs one step at a time, and a step in Redis takes milliseconds."""

# One per event loop: a limiter cannot serve two.
_LIMITER = anyio.lowlevel.RunVar[anyio.CapacityLimiter]("store_limiter")


async def in_thread(work: Callable[[], T], *, seconds: float = STEP_SECONDS, shield: bool = False) -> T:
    """Run a store step in a worker thread.

    Steps have their own limiter, so the default threads stay free for reads while steps wait for a locked store. A
    step that is still waiting for its turn occupies no thread and can be cancelled. A step that has started always
    runs to completion, because a cancelled call must not leave half a step.

    Args:
        seconds: the total time limit, including waits.
        shield: run the step even if the call has been cancelled.

    Raises:
        StoreError: the step timed out while it waited for its turn, or raised this error itself.
    """
    deadline = time.monotonic() + seconds

    def step() -> T:
        with until(deadline):
            return work()

    # Without abandon_on_cancel, anyio shields the thread itself, so this cancels only the wait for a turn.
    with anyio.move_on_after(seconds, shield=shield):
        return await anyio.to_thread.run_sync(step, limiter=_limiter())
    raise busy()


async def persist(work: Callable[[], T]) -> T:
    """Run a step that records the outcome of a write. It may wait longer, and runs even if the call is cancelled."""
    return await in_thread(work, seconds=OUTCOME_SECONDS, shield=True)


def _limiter() -> anyio.CapacityLimiter:
    limiter = _LIMITER.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(STEPS_AT_ONCE)
        _LIMITER.set(limiter)
    return limiter
