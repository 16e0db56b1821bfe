"""Serve over stdio until the client closes it or a signal comes."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server


async def serve_stdio(server: Server[Any]) -> None:
    """Serve one client. Returns at end of input; on SIGINT or SIGTERM ends the process with status 0."""
    # At DEBUG the SDK logs the messages it cannot read, addresses and all.
    sdk = logging.getLogger("mcp")
    sdk.setLevel(max(logging.WARNING, sdk.getEffectiveLevel()))
    async with anyio.create_task_group() as group:
        serving = anyio.CancelScope()
        group.start_soon(_stop_on_signal, serving)
        with serving:
            async with stdio_server() as (read, write):
                await server.run(read, write, server.create_initialization_options())
        group.cancel_scope.cancel()


async def _stop_on_signal(serving: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            # Running calls are cancelled and their connections closed. The thread that reads standard input cannot
            # be cancelled: it would hold the process until the client sends or closes. So leave without it.
            serving.cancel()
            await anyio.sleep(0.1)
            os._exit(0)
