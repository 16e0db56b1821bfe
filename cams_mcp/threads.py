"""Blocking work of the store, off the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from cams_mcp.deadlines import OUTCOME_PATIENCE_SECONDS, PATIENCE_SECONDS, busy, until

T = TypeVar("T")

STEPS_AT_ONCE = 8
"""Few are needed: SQLite takes one step at a time, and a step in Redis takes milliseconds."""

# Each event loop has its own, because a limiter cannot serve two.
_LIMITER = anyio.lowlevel.RunVar[anyio.CapacityLimiter]("store_limiter")


async def in_thread(work: Callable[[], T], *, patience: float = PATIENCE_SECONDS, shield: bool = False) -> T:
    """Run a step of the store in a worker thread.

    Steps have a limiter of their own: while they wait for a locked store, the default threads stay free for reads. A
    step that waits for its turn takes no thread and can be cancelled. A step that started always runs to its end,
    because a cancelled call must not leave half a step.

    Args:
        patience: seconds the step may take in all, waiting included.
        shield: run the step even if the call is cancelled already.

    Raises:
        StoreError: the step did not get its turn in time; or the step raised it.
    """
    deadline = time.monotonic() + patience

    def step() -> T:
        with until(deadline):
            return work()

    # Without abandon_on_cancel, anyio shields the thread itself: this cuts off the wait for a turn only.
    with anyio.move_on_after(patience, shield=shield):
        return await anyio.to_thread.run_sync(step, limiter=_limiter())
    raise busy()


async def patiently(work: Callable[[], T]) -> T:
    """Record what became of a write that was sent: worth a longer wait, and done even if the call is cancelled."""
    return await in_thread(work, patience=OUTCOME_PATIENCE_SECONDS, shield=True)


def _limiter() -> anyio.CapacityLimiter:
    limiter = _LIMITER.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(STEPS_AT_ONCE)
        _LIMITER.set(limiter)
    return limiter
