"""A waiting write as the page, the card and the terminal show it: JSON values in the words of one language."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

from cams_mcp.access import LOCAL_PRINCIPAL
from cams_mcp.facts import LONGEST_LINE, Description, Fact, Language, quoted_in
from cams_mcp.operations import OPERATIONS
from cams_mcp.redaction import printable, quoted
from cams_mcp.store import Pending

_ASKED_BY: dict[Language, str] = {"en": "Requested by {client}.", "zh": "由{client}发起。"}
_ASKED_FOR: dict[Language, str] = {
    "en": "Requested by {client} for {principal}.",
    "zh": "由{client}代表{principal}发起。",
}
_UNKNOWN_CLIENT: dict[Language, str] = {"en": "an unnamed client", "zh": "未知客户端"}
_NEXT: dict[Language, dict[bool, str]] = {
    "en": {
        False: "If you approve, the server sends this once, right away. If you decline, nothing is sent.",
        True: "If you approve, it is sent once: right away if the assistant's call still waits, otherwise when the "
        "assistant makes the same call again. If you decline, nothing is sent.",
    },
    "zh": {
        False: "批准后，服务器会立即发送，且只发送一次。拒绝后，不会发送任何数据。",
        True: "批准后只发送一次：如果助手的调用仍在等待，则立即发送；否则在助手再次发起相同的调用时发送。"
        "拒绝后，不会发送任何数据。",
    },
}
_DOORS: dict[Language, dict[str, str]] = {
    "en": {
        "elicitation": "in the client",
        "page": "on the approval page",
        "card": "on the card shown by {by}",
        "approve": "with cams-mcp approve",
        "terminal": "on a terminal",
        "token": "through the assistant",
    },
    "zh": {
        "elicitation": "在客户端",
        "page": "在审批页面",
        "card": "在{by}显示的卡片中",
        "approve": "通过 cams-mcp approve ",
        "terminal": "在终端",
        "token": "通过 AI 助手",
    },
}
_STATES: dict[Language, dict[str, str]] = {
    "en": {
        "approved": "Approved {door}{by} at {time}. Not sent yet. If that does not change in a few seconds, ask the "
        "assistant to make the same call again before {until}.",
        "sending": "Approved {door}{by} at {time}. Sending now.",
        "sent": "Approved {door}{by} at {time}, and sent. CAMS accepted it.",
        "stopped": "Approved {door}{by} at {time}. Sending stopped before the end.",
        "refused": "Approved {door}{by} at {time}, but it failed. Nothing was sent.",
        "unknown": "Approved {door}{by} at {time}. The outcome is unknown: it may have been applied.",
        "declined": "Declined {door}{by} at {time}. Nothing was sent.",
    },
    "zh": {
        "approved": "{by}已于 {time} {door}批准，尚未发送。如果几秒后仍未发送，请让助手在 {until} 前再次发起"
        "相同的调用。",
        "sending": "{by}已于 {time} {door}批准，正在发送。",
        "sent": "{by}已于 {time} {door}批准并发送，CAMS 已受理。",
        "stopped": "{by}已于 {time} {door}批准，发送中途停止。",
        "refused": "{by}已于 {time} {door}批准，但发送失败，未发送任何数据。",
        "unknown": "{by}已于 {time} {door}批准，发送结果未知，可能已生效。",
        "declined": "{by}已于 {time} {door}拒绝，未发送任何数据。",
    },
}
_BY: dict[Language, str] = {"en": " by {by}", "zh": "{by} "}


def state_of(write: Pending) -> str:
    """waiting, approved, declined, sending, sent, stopped, refused or unknown."""
    if write.state != "spent":
        return write.state
    if write.outcome is None:
        return "sending"
    result: dict[str, Any] = write.outcome.get("result", {})
    if result.get("status") == "stopped":
        return "stopped"
    return write.outcome["outcome"]


def describe(write: Pending, language: Language) -> Description:
    """The description of a write by the module of its operation."""
    for operation in OPERATIONS:
        if operation.effect is not None and operation.action == write.operation:
            return operation.effect.description(write.facts, language)
    # Another version of cams-mcp asked. Without its words, show what it stored.
    tick = {"en": "Approve", "zh": "批准"}[language]
    details = tuple(f"{fact.key}: {_plain(fact)}" for fact in write.facts)
    return Description(question=f"{write.operation}?", tick=tick, details=details)


def _plain(fact: Fact) -> str:
    return quoted(str(fact.value), LONGEST_LINE // 2)


def as_shown(write: Pending, language: Language, now: float, *, local: bool = False) -> dict[str, Any]:
    """What doors that draw show of a write. Every text is one line, bounded and printable, but not to be trusted.

    Args:
        now: seconds since 1970.
        local: whether the person is at this machine, so that its local time is theirs.
    """
    described = describe(write, language)
    state = state_of(write)
    return {
        "id": write.id,
        "state": state,
        "question": printable(described.question, LONGEST_LINE),
        "warnings": _lines(described.warnings),
        "details": _lines(described.details),
        "consequences": _lines(described.consequences),
        "tick": described.tick,
        "place": _lines(described.place),
        "change": None
        if described.change is None
        else {
            "label": described.change.label,
            "before": described.change.before,
            "added": described.change.added,
        },
        "bars": [{"label": bar.label, "number": bar.number} for bar in described.bars],
        "samples": _lines(described.samples),
        "next": _NEXT[language][write.in_call],
        "requester": _requester(write, language),
        "asked": write.asked,
        "expires": write.expires,
        "seconds_left": max(0, math.floor(write.expires - now)),
        "outcome": outcome_of(write, language, local=local),
    }


def outcome_of(write: Pending, language: Language, *, local: bool = False) -> str:
    """A sentence about what was decided, where, and what became of it; empty while the write waits."""
    words = _STATES[language].get(state_of(write))
    if words is None:
        return ""
    by = printable(write.by, 80)
    if write.channel == "card":
        # Who pressed the button, only the app knows.
        door, by = _DOORS[language]["card"].format(by=quoted_in(language, by) if by else _UNKNOWN_CLIENT[language]), ""
    else:
        door, by = _DOORS[language].get(write.channel, ""), _BY[language].format(by=by) if by else ""
    time, until = _time(write.decided, local=local), _time(write.expires, local=local)
    return words.format(door=door, by=by, time=time, until=until).strip()


def _time(seconds: float, *, local: bool) -> str:
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return f"{moment.astimezone():%H:%M}" if local else f"{moment:%H:%M} UTC"


def _requester(write: Pending, language: Language) -> str:
    client = quoted_in(language, write.client) if write.client else _UNKNOWN_CLIENT[language]
    # Without authentication, there is nobody to name.
    words = _ASKED_BY if write.principal == LOCAL_PRINCIPAL else _ASKED_FOR
    return words[language].format(client=client, principal=quoted_in(language, write.principal))


def _lines(texts: tuple[str, ...]) -> list[str]:
    return [printable(text, LONGEST_LINE) for text in texts]
