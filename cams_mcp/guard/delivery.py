"""Sends a write that is already in the ledger, and records its outcome."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

import anyio

from cams_mcp.confirmation import Channel
from cams_mcp.errors import AmbiguousWrite, CamsMcpError, StoreError
from cams_mcp.models import Response, Result
from cams_mcp.redaction import identifier, scrub
from cams_mcp.store import BaseStore, Ending, Write
from cams_mcp.threads import in_thread, persist

logger = logging.getLogger(__name__)
T = TypeVar("T")
Send = Callable[[str, int, Channel], Awaitable[Result]]
"""Sends a write, given its digest, its ledger number, and how it was approved."""


async def deliver(
    store: BaseStore,
    write: Write,
    channel: Channel,
    number: int,
    send: Send,
    is_reported: Callable[[], bool] = lambda: True,
) -> Result:
    """Send a write whose outcome the ledger holds as "unknown", and record the actual outcome.

    Args:
        is_reported: whether a caller is there to get the outcome.

    Raises:
        CamsError: the call failed. AmbiguousWrite if the write may have been applied.
    """
    ending = Ending(outcome="unknown", reason="the call was interrupted")
    try:
        response = await _keep_alive(store, send(write.binding, number, channel))
        ending = Ending(
            outcome=response.ledger_outcome,
            request_id=response.request_id if isinstance(response, Response) else None,
            amount=response.units_written,
            result={"status": response.tool_status} | _storable(response),
            is_reported=is_reported(),
        )
    except AmbiguousWrite as error:
        ending = _failed("unknown", error, "no conclusive response", is_reported())
        raise
    except CamsMcpError as error:
        reason = getattr(error, "code", None) or type(error).__name__
        ending = _failed("refused", error, reason, is_reported())
        raise
    except Exception as error:
        # A bug in cams-mcp must not hide that the write may have been sent.
        ending = Ending(outcome="unknown", reason=f"cams-mcp failed with {type(error).__name__}")
        raise AmbiguousWrite(
            f"cams-mcp itself failed ({type(error).__name__}) while sending. The write may have been applied.",
            action=write.operation,
            hint="Do not retry it yourself. Tell the user, and report the bug with the server's log.",
        ) from error
    finally:
        try:
            await persist(lambda: store.finish(number, write, channel, ending))
        except Exception:
            # The ledger keeps the outcome as "unknown". The caller still gets CAMS's answer.
            logger.exception("failed to record the outcome (%s) of write %d", ending.outcome, number)
    return response


def _failed(outcome: Any, error: CamsMcpError, reason: str, is_reported: bool) -> Ending:
    request_id = getattr(error, "request_id", None)
    return Ending(
        outcome=outcome, request_id=request_id, reason=reason, error=scrub(str(error)), is_reported=is_reported
    )


def _storable(response: Result) -> dict[str, Any]:
    content = response.to_content()
    return without_people(content) if isinstance(response, Response) else content


def without_people(content: Mapping[str, Any]) -> dict[str, Any]:
    """A result of CAMS as the store may keep it: all but ids is scrubbed, because CAMS may echo what was sent."""
    return {name: _scrubbed(value) for name, value in content.items()}


def _scrubbed(value: Any) -> Any:
    match value:
        case str():
            return identifier(value) or scrub(value)
        case dict():
            return without_people(cast("dict[str, Any]", value))
        case list():
            return [_scrubbed(item) for item in cast("list[Any]", value)]
        case _:
            return value


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
