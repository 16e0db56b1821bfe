"""Serve over stdio until the client closes the connection or a signal arrives."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, BinaryIO, Protocol

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from cams_mcp.api.tracing import flush
from cams_mcp.logs import quiet_sdk
from cams_mcp.server.messages import Unreadable, read_message

logger = logging.getLogger(__name__)


ANSWER_SECONDS = 0.3
"""How long calls that wait for a person may take to return at a signal."""

SENDING_SECONDS = 5.0
"""How long writes that were approved and are being sent may take then, so that their outcome is known."""


class Waiting(Protocol):
    """What waits for a person. `cams_mcp.lazy_toolbox.LazyToolbox` implements it."""

    def stop_waiting(self) -> bool: ...

    async def finish_sending(self, seconds: float) -> None: ...


async def serve_stdio(server: Server[Any], waiting: Waiting) -> None:
    """Serve one client. Returns at end of input; exits the process with status 0 on SIGINT or SIGTERM.

    Args:
        waiting: lets calls that wait for a person return, and writes in flight end, before the process exits.
    """
    quiet_sdk()
    lines = anyio.wrap_file(_take_input())
    async with anyio.create_task_group() as group:
        serving = anyio.CancelScope()
        group.start_soon(_stop_on_signal, serving, waiting)
        with serving:
            # Use only the output side of the SDK's transport: its reader drops invalid messages without a response.
            output = stdio_server(stdin=anyio.wrap_file(io.StringIO()))
            arriving, arrived = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            async with output as (nothing, write), nothing, arrived, anyio.create_task_group() as reading:
                reading.start_soon(_read, lines, arriving, write.send)
                await server.run(arrived, write, server.create_initialization_options())
        group.cancel_scope.cancel()


def _take_input() -> BinaryIO:
    """Take exclusive ownership of standard input: any other reader in this process gets end of file."""
    try:
        is_own = sys.stdin.fileno() != 0
    except OSError:  # an embedding program replaced stdin with a stream that has no descriptor
        is_own = True
    if is_own:
        return sys.stdin.buffer
    taken = os.fdopen(os.dup(0), "rb", closefd=False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return taken


async def _read(
    lines: anyio.AsyncFile[bytes],
    arriving: MemoryObjectSendStream[SessionMessage | Exception],
    answer: Callable[[SessionMessage], Awaitable[None]],
) -> None:
    """Forward valid messages to the server, and answer invalid ones directly."""
    async with arriving:
        async for line in lines:
            if not line.strip():
                continue
            try:
                message = SessionMessage(read_message(line))
            except Unreadable as error:
                logger.info("rejected a message: %s", error)
                await answer(SessionMessage(error.answer))
            else:
                await arriving.send(message)


async def _stop_on_signal(serving: anyio.CancelScope, waiting: Waiting) -> None:
    with _signalled() as signalled:
        await signalled.wait()
        if waiting.stop_waiting():
            await anyio.sleep(ANSWER_SECONDS)
        await waiting.finish_sending(SENDING_SECONDS)
        # Cancelling ends running calls and closes their connections. The thread that reads standard input cannot be
        # cancelled and would keep the process alive until the client sends or closes, so exit without it.
        serving.cancel()
        await anyio.sleep(0.1)
        flush()
        os._exit(0)


@contextmanager
def _signalled() -> Generator[anyio.Event]:
    """An event that Ctrl-C and SIGTERM set. Uses Python's own handlers: event loops on Windows have none."""
    event, loop = anyio.Event(), asyncio.get_running_loop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(event.set)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    usual = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield event
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
