"""What an assistant reads while a write waits for a person."""

from __future__ import annotations

import datetime as dt
from typing import Any

from cams_mcp.confirmation import Awaiting

STATUS = "awaiting_approval"

_PAGE = "A page in the user's browser asks them to approve this write. Tell them to look at that page"
_CARD = "A card in this chat asks the user to approve this write. Tell them to look at that card"
_LATE_PAGE = "A page may still open in the user's browser, where they can approve this write. Tell them to look at it"
_IF_NOT = " or, if they do not see it, to run {command} on the machine that runs the server."
_TERMINAL = "This write waits for a person. Tell the user to run {command} on the machine that runs the server."
_NOBODY = (
    "Nothing has been sent, and nobody can approve it here: the server keeps its state in memory, where `cams-mcp "
    "approve` cannot see it. Tell the user to start the server with --state-dir, and then make the call again."
)
_HELD = "Once they approve, the server sends the write."
_NOT_HELD = "Once they approve, make exactly the same call again: it sends the write."
_NEXT = (
    "Nothing has been sent yet, and you cannot approve it. {door} {sends} When they say that they have decided, make "
    "exactly the same call again to get the outcome: it never sends twice. The question expires at {time}."
)


def awaiting_content(awaiting: Awaiting) -> dict[str, Any]:
    """The structured result of a call whose write waits."""
    return {
        "status": STATUS,
        "approval_id": awaiting.id,
        "preview": awaiting.question,
        "next": _next(awaiting),
    }


def _next(awaiting: Awaiting) -> str:
    command = f"`{awaiting.command}` in a terminal"
    shown = {"page": _PAGE, "card": _CARD}.get(awaiting.door, _LATE_PAGE if awaiting.tried_page else "")
    if shown:
        door = shown + (_IF_NOT.format(command=command) if awaiting.command else ".")
    elif awaiting.command:
        door = _TERMINAL.format(command=command)
    else:
        return _NOBODY
    time = dt.datetime.fromtimestamp(awaiting.expires, dt.UTC).strftime("%H:%M UTC")
    return _NEXT.format(door=door, sends=_HELD if awaiting.is_held else _NOT_HELD, time=time)
