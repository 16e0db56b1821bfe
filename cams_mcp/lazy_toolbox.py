"""The tools of a server, opened on the first call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
from anyio.abc import TaskGroup

if TYPE_CHECKING:
    from cams_mcp.confirmation import Answered, Caller, Question
    from cams_mcp.tools.result import ToolResult
    from cams_mcp.tools.toolbox import Toolbox


class LazyToolbox:
    """Opens the real toolbox on the first call, so that starting and listing tools need no network or credentials.

    Args:
        open_toolbox: opens the real one, given the task group for tasks that outlive a call.
    """

    def __init__(self, open_toolbox: Callable[[TaskGroup], AbstractAsyncContextManager[Toolbox]]) -> None:
        self._open = open_toolbox
        self._stack = AsyncExitStack()
        self._lock = anyio.Lock()
        self._toolbox: Toolbox | None = None
        self._group = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._stack.aclose()
        finally:
            self._group.cancel_scope.cancel()
            await self._group.__aexit__(None, None, None)

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, *, answered: Answered | None = None
    ) -> ToolResult | Question:
        """See `Toolbox.call`."""
        return await (await self._opened()).call(name, arguments, caller, answered=answered)

    async def card_key(self, caller: Caller) -> str:
        """See `Toolbox.card_key`."""
        return await (await self._opened()).card_key(caller)

    def stop_waiting(self) -> bool:
        """See `Toolbox.stop_waiting`."""
        return self._toolbox is not None and self._toolbox.stop_waiting()

    async def finish_sending(self, seconds: float) -> None:
        """See `Toolbox.finish_sending`."""
        if self._toolbox is not None:
            await self._toolbox.finish_sending(seconds)

    async def _opened(self) -> Toolbox:
        async with self._lock:
            if self._toolbox is None:
                self._toolbox = await self._stack.enter_async_context(self._open(self._group))
        return self._toolbox
