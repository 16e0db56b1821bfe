"""The outcome of a write for identical calls, and the guard's errors that belong to no limit."""

from __future__ import annotations

import datetime as dt
from typing import Any

from cams_mcp.errors import AmbiguousWrite, NotConfirmed, NotNow, Recorded
from cams_mcp.models import Result
from cams_mcp.store import Pending, Write

SENT_BEFORE = "An identical call was approved and sent at {when}. This is its recorded result. Nothing was sent again."


class RecordedResult(Result):
    """What an identical call returned."""

    content: dict[str, Any]

    @property
    def tool_status(self) -> str:
        return self.content.get("status", "sent")

    def to_content(self) -> dict[str, Any]:
        return self.content


def recorded(pending: Pending, write: Write) -> RecordedResult:
    """The outcome of a write that was sent, for an identical call.

    Raises:
        Recorded: CAMS refused it.
        AmbiguousWrite: it may have been applied.
    """
    when = dt.datetime.fromtimestamp(pending.decided, dt.UTC).strftime("%H:%M UTC")
    outcome = pending.outcome or {}
    if "result" in outcome:
        result: dict[str, Any] = outcome["result"]
        following = " ".join([SENT_BEFORE.format(when=when), *([result["next"]] if "next" in result else [])])
        return RecordedResult(content={**result, "next": following})
    if outcome.get("outcome") == "refused":
        raise Recorded(
            f"This write was approved at {when}, and failed; nothing was sent. {outcome.get('error', '')}".strip(),
            hint="To try again, make the same call. The user is then asked again.",
        )
    raise AmbiguousWrite(
        f"an identical call was approved at {when}, and its outcome is unknown: it may have been applied. Nothing was "
        "sent again.",
        action=write.operation,
        hint=f"Do not retry it yourself. To find out, {write.effect.how_to_check}.",
    )


def in_flight() -> NotNow:
    return NotNow(
        "This write was approved and is being sent right now. Its outcome is not known yet.",
        hint="Make exactly the same call again in a few seconds to get the outcome: it never sends twice.",
    )


def no_token() -> NotConfirmed:
    return NotConfirmed(
        "Nothing was sent: on this server, a person approves the writes of this client, and no confirmation_token is "
        "accepted.",
        hint="Call again without confirmation_token.",
    )


def nobody_decided() -> NotConfirmed:
    return NotConfirmed(
        "Nothing was sent: the question ended before anybody decided. It lives ten minutes.",
        hint="Ask the user whether to try again.",
    )


def other_upload() -> NotConfirmed:
    return NotConfirmed(
        "Nothing more was sent: this is not the upload that was approved. The file, the arguments, the caller, the "
        "endpoint or the access key changed.",
        hint="Start a new upload.",
    )
