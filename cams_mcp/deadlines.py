"""Bound the total time of a store step, including waits for its turn, for other processes and for Redis.

Each step has a single deadline, so consecutive waits cannot add up. A context variable carries it from the caller, who
knows how long the step may take, to the database, which waits. The layers in between don't need it.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from cams_mcp.errors import StoreError

STEP_SECONDS = 2.0
"""For most steps. Nothing has been sent yet, and a caller is waiting for the response."""

OUTCOME_SECONDS = 10.0
"""For recording the outcome of a write that was sent. If this step gave up, the outcome would be lost."""

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def until(deadline: float) -> Generator[None]:
    """Set the deadline of every step in this block, by `time.monotonic`."""
    before = _DEADLINE.set(deadline)
    try:
        yield
    finally:
        _DEADLINE.reset(before)


def step_deadline() -> float:
    """The deadline of a step that starts now: the one set by `until`, or STEP_SECONDS from now."""
    deadline = _DEADLINE.get()
    return time.monotonic() + STEP_SECONDS if deadline is None else deadline


def seconds_until(deadline: float) -> float:
    """The time left, never negative."""
    return max(0.0, deadline - time.monotonic())


def busy() -> StoreError:
    """The error for a step that timed out while it waited for its turn."""
    return StoreError(
        "The record of approvals and writes is busy: another call or process holds it. The server sends nothing "
        "without it.",
        hint="Try again in a moment. If the error persists, stop the process that keeps the record open.",
    )
