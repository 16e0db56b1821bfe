"""What an assistant reads while a write waits for a person."""

from __future__ import annotations

from typing import Any

from cams_mcp.confirmation import Awaiting

STATUS = "awaiting_approval"

_PAGE = "A page in the user's browser asks them to approve this write. If they do not see it, "
_CARD = "A card in this chat asks the user to approve this write. If no card appears, "
_ELSEWHERE = "Ask the user to approve this write: "
_COMMAND = "they can run `{command}` in a terminal on the server's machine."
_NO_COMMAND = "the operator can start the server with --state-dir, so that `cams-mcp approve` can show it."
_HELD = "Once approved, the server sends it by itself. "
_NOT_HELD = "It is sent by the next identical call after the approval. "
_NEXT = (
    "Nothing has been sent yet. Tell the user. You cannot approve it. {sends}When the user says that they decided, "
    "make exactly the same call again to get the outcome: it never asks or sends twice. A question lives {minutes} "
    "minutes."
)


def awaiting_content(awaiting: Awaiting) -> dict[str, Any]:
    """The structured result of a call whose write waits."""
    door = {"page": _PAGE, "card": _CARD}.get(awaiting.door, _ELSEWHERE)
    how = _COMMAND.format(command=awaiting.command) if awaiting.command else _NO_COMMAND
    sends = _HELD if awaiting.is_held else _NOT_HELD
    return {
        "status": STATUS,
        "approval_id": awaiting.id,
        "preview": awaiting.question,
        "next": f"{door}{how} {_NEXT.format(sends=sends, minutes=awaiting.minutes)}",
    }
