"""Waiting for a person: how calls notice a decision, and the lists that this process holds until there is one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from cams_mcp.errors import CamsMcpError, StoreError
from cams_mcp.models import Result
from cams_mcp.store import BaseStore, Pending
from cams_mcp.threads import in_thread

POLL_SECONDS = 0.5
"""How soon a decision made in another process is noticed. One made in this process is noticed at once."""

MOST_HELD = 64
MOST_HELD_BYTES = 64 * 1024 * 1024
"""What this process holds in memory of writes that wait. Beyond it, an approved write is sent by the same call made
again.
"""

logger = logging.getLogger(__name__)


class Watch:
    """Tells when waiting writes change. All waiters share one look at the store every half second."""

    def __init__(self, store: BaseStore) -> None:
        self._store = store
        self._seen: dict[str, Pending] = {}
        self._looked_at = -1.0
        self._is_current = False
        self._lock = anyio.Lock()
        self._changed = anyio.Event()
        self._is_stopped = False
        self._waits: set[anyio.CancelScope] = set()

    def poke(self) -> None:
        """Look again at once: something was decided in this process."""
        self._is_current = False
        self._changed.set()
        self._changed = anyio.Event()

    def stop(self) -> bool:
        """Let every call that waits return now: the server shuts down. Returns whether any does."""
        self._is_stopped = True
        for scope in self._waits:
            scope.cancel()
        return bool(self._waits)

    @contextmanager
    def until_stopped(self, scope: anyio.CancelScope) -> Generator[None]:
        """Within this block, a shutdown cancels `scope`."""
        if self._is_stopped:
            scope.cancel()
        self._waits.add(scope)
        try:
            yield
        finally:
            self._waits.discard(scope)

    async def decided(self, binding: str) -> Pending | None:
        """Wait until a write no longer waits. Returns it; None if it was withdrawn or has expired."""
        return await self._until(binding, lambda pending: pending.state != "waiting")

    async def outcome(self, binding: str) -> Pending | None:
        """Wait until the outcome of a write that was spent is known. Returns it; None if it has expired."""
        return await self._until(binding, lambda pending: pending.state != "spent" or pending.outcome is not None)

    async def _until(self, binding: str, is_over: Callable[[Pending], bool]) -> Pending | None:
        began = anyio.current_time()
        while True:
            await self._look(began)
            pending = self._seen.get(binding)
            # A look from before may not have seen the write yet.
            if self._looked_at >= began and (pending is None or is_over(pending)):
                return pending
            await self._pause()

    async def _pause(self) -> None:
        if not self._is_current:
            return  # something was decided during the last look
        with anyio.move_on_after(POLL_SECONDS):
            await self._changed.wait()

    async def _look(self, since: float) -> None:
        """Look at the store, unless somebody did a moment ago and not before `since`."""
        async with self._lock:
            now = anyio.current_time()
            if self._is_current and self._looked_at >= since and now - self._looked_at < POLL_SECONDS:
                return
            self._is_current = True
            # If the store is busy or away for a moment: as far as anyone knows, nothing has changed.
            with suppress(StoreError):
                found = await in_thread(self._store.pending)
                self._seen = {pending.binding: pending for pending in found}
                self._looked_at = now


@dataclass(slots=True)
class Held:
    """A write whose list this process keeps until it is decided.

    Attributes:
        size: bytes of the list.
        waiters: how many calls wait for the outcome.
        is_sending: whether it was approved and is on its way.
        waiting: ends the wait for a decision.
        done: set once `result` or `error` is there, or the write was declined or has expired.
    """

    size: int
    waiters: int = 0
    is_sending: bool = False
    waiting: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    result: Result | None = None
    error: CamsMcpError | None = None


class HeldWrites:
    """The writes that this process sends once a person approves them, whether or not a call still waits.

    Args:
        watch: tells when a write is decided.
        group: runs one task per write; None to hold nothing.
    """

    def __init__(self, watch: Watch, group: TaskGroup | None) -> None:
        self._watch = watch
        self._group = group
        self._held: dict[str, Held] = {}
        self._is_ending = False

    def hold(self, binding: str, size: int, send: Callable[[Held], Awaitable[Result]]) -> Held | None:
        """Keep a write until it is decided. None if that would exceed what this process may hold."""
        if binding in self._held:
            return self._held[binding]
        total = sum(each.size for each in self._held.values())
        if self._group is None or len(self._held) >= MOST_HELD or total + size > MOST_HELD_BYTES:
            return None
        held = self._held[binding] = Held(size)
        self._group.start_soon(self._carry, binding, held, send)
        return held

    async def _carry(self, binding: str, held: Held, send: Callable[[Held], Awaitable[Result]]) -> None:
        try:
            with held.waiting:
                await self._send_if_approved(binding, held, send)
        except CamsMcpError as error:
            # The ledger records it, and the next identical call gets it.
            held.error = error
        except Exception:
            logger.exception("failed to send a write that was approved")
        finally:
            del self._held[binding]
            held.done.set()
            self._watch.poke()

    async def _send_if_approved(self, binding: str, held: Held, send: Callable[[Held], Awaitable[Result]]) -> None:
        while (pending := await self._watch.decided(binding)) is not None and pending.state == "approved":
            held.is_sending = not self._is_ending
            if self._is_ending:
                return
            try:
                held.result = await send(held)
            except StoreError:
                # The approval was not spent, so nothing was sent, and the approval is still good.
                held.is_sending = False
                await anyio.sleep(POLL_SECONDS)
            else:
                return

    async def finish_sending(self, seconds: float) -> None:
        """Begin to send nothing more, and let the writes that are being sent end, so that their outcome is known."""
        self._is_ending = True
        for held in self._held.values():
            if not held.is_sending:
                held.waiting.cancel()
        with anyio.move_on_after(seconds):
            for held in [each for each in self._held.values() if each.is_sending]:
                await held.done.wait()
