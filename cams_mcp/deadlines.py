"""How long a step of the store may take in all: waiting for its turn, for other processes, and for Redis.

A step has one deadline, so that waits do not add up. It travels in a context variable, because the layers between the
caller, who knows how patient a step may be, and the database, which waits, have no use for it.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from cams_mcp.errors import StoreError

PATIENCE_SECONDS = 2.0
"""For most steps: nothing has been sent yet, and somebody waits for the answer."""

OUTCOME_PATIENCE_SECONDS = 10.0
"""For recording what became of a write that was sent: giving up would lose it."""

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def until(deadline: float) -> Generator[None]:
    """Give every step in this block the same deadline, by `time.monotonic`."""
    before = _DEADLINE.set(deadline)
    try:
        yield
    finally:
        _DEADLINE.reset(before)


def step_deadline() -> float:
    """The deadline of a step that starts now; without `until`, PATIENCE_SECONDS from now."""
    deadline = _DEADLINE.get()
    return time.monotonic() + PATIENCE_SECONDS if deadline is None else deadline


def seconds_until(deadline: float) -> float:
    """The time left, never negative."""
    return max(0.0, deadline - time.monotonic())


def busy() -> StoreError:
    """What a step raises that did not get its turn in time."""
    return StoreError(
        "The record of approvals and writes is busy: another call or process holds it. The server sends nothing "
        "without it.",
        hint="Call again in a moment. If that does not help, end the process that keeps the record open.",
    )
