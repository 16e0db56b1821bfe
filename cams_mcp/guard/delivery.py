"""Sends a write that is already in the ledger, and records its outcome."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from cams_mcp.confirmation import Channel
from cams_mcp.errors import AmbiguousWrite, CamsMcpError, StoreError
from cams_mcp.models import Outcome, Response, Result
from cams_mcp.store import BaseStore, Write
from cams_mcp.threads import in_thread, persist

logger = logging.getLogger(__name__)
T = TypeVar("T")
Send = Callable[[str, int, Channel], Awaitable[Result]]
"""Sends a write, given its digest, its ledger number, and how it was approved."""


async def deliver(store: BaseStore, write: Write, channel: Channel, number: int, send: Send) -> Result:
    """Send a write whose outcome the ledger holds as "unknown", and record the actual outcome.

    Raises:
        CamsError: the call failed. AmbiguousWrite if the write may have been applied.
    """
    outcome: Outcome = "unknown"
    request_id: str | None = None
    reason: str | None = "the call was interrupted"
    amount: int | None = None
    try:
        response = await _keep_alive(store, send(write.binding, number, channel))
        outcome, reason, amount = response.ledger_outcome, None, response.units_written
        request_id = response.request_id if isinstance(response, Response) else None
    except AmbiguousWrite as error:
        request_id, reason = error.request_id, "no conclusive response"
        raise
    except CamsMcpError as error:
        outcome, reason = "refused", getattr(error, "code", None) or type(error).__name__
        request_id = getattr(error, "request_id", None)
        raise
    except Exception as error:
        # A bug in cams-mcp must not hide that the write may have been sent.
        reason = f"cams-mcp failed with {type(error).__name__}"
        raise AmbiguousWrite(
            f"cams-mcp itself failed ({type(error).__name__}) while sending. The write may have been applied.",
            action=write.operation,
            hint="Do not retry it yourself. Tell the user, and report the bug with the server's log.",
        ) from error
    finally:
        try:
            await persist(lambda: store.finish(number, write, channel, outcome, request_id, reason, amount))
        except Exception:
            # The ledger keeps the outcome as "unknown". The caller still gets CAMS's answer.
            logger.exception("failed to record the outcome (%s) of write %d", outcome, number)
    return response


async def _keep_alive(store: BaseStore, sending: Awaitable[T]) -> T:
    """Await `sending`. Meanwhile, let other processes see that this one is alive and will record the outcome."""
    every = store.renew_seconds
    if every is None:
        return await sending
    outcome: list[T | BaseException] = []
    async with anyio.create_task_group() as group:
        group.start_soon(_renew, store, every)
        try:
            outcome.append(await sending)
        except BaseException as error:  # noqa: BLE001 - raised below, since the group would wrap it
            outcome.append(error)
        group.cancel_scope.cancel()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


async def _renew(store: BaseStore, every: float) -> None:
    while True:
        await anyio.sleep(every)
        try:
            await in_thread(store.renew)
        except StoreError:
            logger.warning("failed to record that a write is still in flight")
