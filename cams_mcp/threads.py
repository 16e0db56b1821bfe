"""Blocking work of the store, off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Run a step in a worker thread, to its end: a cancelled call must not leave half a step."""
    with anyio.CancelScope(shield=True):
        return await anyio.to_thread.run_sync(work)
    raise AssertionError  # a shield lets every exception through
