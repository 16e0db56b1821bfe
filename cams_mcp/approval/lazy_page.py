"""The approval page of a server over stdio. It costs nothing until a write waits."""

from __future__ import annotations

import getpass
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import anyio
from anyio.abc import TaskGroup, TaskStatus

from cams_mcp.approval.desk import Desk
from cams_mcp.redaction import printable

if TYPE_CHECKING:
    from cams_mcp.approval.page import ApprovalPage

LONGEST_NAME = 80


def local_person() -> str:
    """The system's user and host, as the audit trail records them for a local decision: "ada@laptop"."""
    user = "unknown"
    with suppress(OSError, KeyError, ImportError):  # a container's user may have no name
        user = getpass.getuser()
    return printable(f"{user}@{socket.gethostname()}", LONGEST_NAME)


class LazyPage:
    """Imports and hosts the page when it is first shown.

    Args:
        desk: where the writes wait.
        language: of the page.
        group: hosts the page.
        command: how to decide on a terminal; empty if no other process can see the store.
    """

    def __init__(self, desk: Desk, language: Literal["auto", "en", "zh"], group: TaskGroup, command: str = "") -> None:
        self._desk = desk
        self._language: Literal["auto", "en", "zh"] = language
        self._group = group
        self._command = command
        self._lock = anyio.Lock()
        self._page: ApprovalPage | None = None

    async def show(self) -> bool:
        """See `ApprovalPage.show`."""
        async with self._lock:
            if self._page is None:
                self._page = await self._group.start(self._host)
        assert self._page is not None
        return await self._page.show()

    async def _host(self, *, task_status: TaskStatus[ApprovalPage]) -> None:
        from cams_mcp.approval.page import ApprovalPage

        person, command = local_person(), self._command
        async with ApprovalPage(self._desk, person=person, command=command, language=self._language) as page:
            task_status.started(page)
            await anyio.sleep_forever()
