"""cams-mcp, but it kills itself with SIGKILL at the step of a write that CRASH_AT names, e.g. `begin:after`."""

from __future__ import annotations

import functools
import os
import signal
from typing import Any

from cams_mcp.api.client import CamsClient
from cams_mcp.cli import main
from cams_mcp.operation import AnyOperation
from cams_mcp.store import Store


def reached(step: str) -> None:
    if os.environ["CRASH_AT"] == step:
        os.kill(os.getpid(), signal.SIGKILL)


def wrap_step(name: str) -> None:
    step = getattr(Store, name)

    @functools.wraps(step)
    def run(*args: Any, **keywords: Any) -> Any:
        reached(f"{name}:before")
        result = step(*args, **keywords)
        if name != "ask" or result is not None:  # the first time, the store only says that nobody has been asked
            reached(f"{name}:after")
        return result

    setattr(Store, name, run)


def wrap_call() -> None:
    call = CamsClient.call

    @functools.wraps(call)
    async def run(self: CamsClient, operation: AnyOperation, request: Any) -> Any:
        if not operation.writes:
            return await call(self, operation, request)
        reached("call:before")
        try:
            return await call(self, operation, request)
        finally:
            reached("call:after")

    CamsClient.call = run


if __name__ == "__main__":
    for name in ("ask", "decide", "begin", "finish"):
        wrap_step(name)
    wrap_call()
    main()
