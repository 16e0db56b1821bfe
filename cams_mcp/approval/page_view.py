"""What the page shows, as texts and shares: the server draws its HTML from this, and the script its updates.

Both draw the same way, and neither formats a number or decides what to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from cams_mcp.approval.words import PAGE
from cams_mcp.facts import Language

CardView: TypeAlias = dict[str, Any]

OPEN = ("waiting", "approved", "sending")
"""States of a write that is not over."""

MOST_FINISHED = 30
"""Finished writes on one page. Nothing limits how many somebody approves in ten minutes."""

_LEAST_SHARE = 1.5
"""Percent of a bar below which it cannot be seen."""


def page_view(
    shown: Sequence[Mapping[str, Any]], language: Language, token: Callable[[str], str], person: str
) -> dict[str, Any]:
    """The page as JSON.

    Args:
        shown: the writes, as `cams_mcp.approval.view.as_shown` returns them, in the order in which to show them.
        language: of the page's own words.
        token: makes the form token of a write.
        person: in whose name decisions on this page are recorded.
    """
    words = PAGE[language]
    waiting = sum(write["state"] == "waiting" for write in shown)
    is_busy = any(write["state"] in OPEN for write in shown)
    finished = [write["id"] for write in shown if write["state"] not in OPEN]
    dropped = set(finished[:-MOST_FINISHED])
    kind = "" if waiting else "_busy" if is_busy else "_none"
    number = "one" if waiting == 1 else "many"
    return {
        "title": words[f"title{kind}"],
        "heading": words[f"heading{kind or f'_{number}'}"].format(n=waiting),
        "lead": words[f"lead{kind}"],
        "door": words["door"].format(person=person),
        "waiting": waiting,
        "busy": is_busy,
        "writes": [card_view(write, words, token) for write in shown if write["id"] not in dropped],
    }


def card_view(write: Mapping[str, Any], words: Mapping[str, str], token: Callable[[str], str]) -> CardView:
    """One write as JSON. Its texts come from outside."""
    is_waiting = write["state"] == "waiting"
    return {
        "id": write["id"],
        "state": write["state"],
        "status": words[write["state"]],
        "question": write["question"],
        "requester": f"{write['requester']} {words['id'].format(id=write['id'])}",
        "next": write["next"],
        "warnings": list(write["warnings"]),
        "change": _change(write["change"], words),
        "bars": _bars(write["bars"]),
        "samples": list(write["samples"]),
        # Another version of cams-mcp asked, and only its facts are known.
        "place": list(write["place"] or (() if write["bars"] else write["details"])),
        "consequences": list(write["consequences"]),
        "outcome": write["outcome"],
        "until": words["until"].format(time=time.strftime("%H:%M:%S", time.localtime(write["expires"]))),
        "seconds_left": write["seconds_left"],
        "token": token(write["id"]) if is_waiting else "",
    }


def empty_card() -> CardView:
    """A card that shows nothing, for the script to fill."""
    texts = dict.fromkeys(("id", "state", "status", "question", "requester", "next", "outcome", "until", "token"), "")
    lists = {name: list[str]() for name in ("warnings", "bars", "samples", "place", "consequences")}
    return {**texts, **lists, "change": None, "seconds_left": 0}


def _change(change: Mapping[str, Any] | None, words: Mapping[str, str]) -> dict[str, Any] | None:
    if change is None:
        return None
    before, added = change["before"], change["added"]
    known = max(0, before or 0)
    total = known + max(0, added)
    share = min(max(100 * added / total, _LEAST_SHARE), 100.0) if total and added > 0 else 0.0
    return {
        "label": change["label"],
        "before": words["before_unknown"] if before is None else words["before"].format(n=f"{before:,}"),
        "added": words["added"].format(n=f"{added:,}"),
        "share": _percent(100 - share if known else 0.0),
        "share_added": _percent(share if before is not None else 0.0),
    }


def _bars(bars: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    longest = max((bar["number"] for bar in bars), default=0)
    return [
        {
            "label": bar["label"],
            "number": f"{bar['number']:,}",
            "share": _percent(max(100 * bar["number"] / longest, _LEAST_SHARE) if bar["number"] > 0 else 0.0),
        }
        for bar in bars
    ]


def _percent(share: float) -> str:
    return f"{share:.1f}%"
