"""The card in the chat: an MCP Apps view in which a person decides about a waiting write.

The view is `card.html` with `card.js` in it. It draws only what the app-only tool `show_waiting_writes`
returns, never arguments or text of the model, and decides with the app-only tool `decide_write`. A server cannot tell a
call of the view from a call of the model, so both tools demand a proof that only the view can make: an HMAC with a key
that stands nowhere but in the view's HTML. The proof is good for one question or one decision, so it may appear in
transcripts and logs; the key never leaves the view.

The card is as trustworthy as the host that shows it: a host that lets its model read the view's HTML, or that presses
the buttons itself, can decide in the person's place.
"""

from __future__ import annotations

import hmac
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mcp_types as types

URI = "ui://cams-mcp/approval"
MIME_TYPE = "text/html;profile=mcp-app"
EXTENSION = "io.modelcontextprotocol/ui"

SHOW = "show_waiting_writes"
DECIDE = "decide_write"
CARD_TOOLS = frozenset({SHOW, DECIDE})
DECISIONS = ("approve", "decline")

_LABEL = "cams-mcp approval card, key 1\n"


def card_key(secret: bytes, principal: str) -> str:
    """The key in the HTML of one principal's cards.

    It depends on nothing else, so that it survives restarts, other workers and HTML that a host has cached.
    """
    return hmac.digest(secret, f"{_LABEL}{principal}".encode(), "sha256").hex()


def proof(key: str, *parts: str) -> str:
    """What the view sends instead of the key, for ("show", ID or "") or ("decide", ID, DECISION)."""
    return hmac.digest(key.encode(), "\n".join(parts).encode("utf-8", "replace"), "sha256").hex()


def is_proved(given: object, key: str, *parts: str) -> bool:
    """Whether `given`, any JSON value, is the proof of these parts. Takes the same time for every wrong proof."""
    shown = given.encode("utf-8", "replace") if isinstance(given, str) else b""
    return hmac.compare_digest(shown, proof(key, *parts).encode())


def is_proved_show(arguments: dict[str, Any], key: str) -> bool:
    """Whether a call of `show_waiting_writes` comes from a view with this key."""
    return is_proved(arguments.get("proof"), key, "show", str(arguments.get("approval_id") or ""))


def is_proved_decision(arguments: dict[str, Any], key: str) -> bool:
    """Whether a call of `decide_write` comes from a view with this key."""
    approval_id, decision = str(arguments.get("approval_id")), str(arguments.get("decision"))
    return decision in DECISIONS and is_proved(arguments.get("proof"), key, "decide", approval_id, decision)


def card_html(key: str) -> str:
    """The view, with the key and the words that it shows."""
    from cams_mcp.approval.card_words import FOR_MODEL, WORDS

    given = {"key": key, "show": SHOW, "decide": DECIDE, "words": WORDS, "forModel": FOR_MODEL}
    # In a script element only "<" could end the element early.
    return _template().replace("{{given}}", json.dumps(given, ensure_ascii=False).replace("<", "\\u003c"))


@cache
def _template() -> str:
    """The view as one file, as hosts want it."""
    page, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("card.html", "card.js"))
    return page.replace("{{script}}", script)


def card_resource(key: str) -> types.TextResourceContents:
    """The contents of `ui://cams-mcp/approval` for the principal whose key this is."""
    import mcp_types as types

    no_network = {f"{kind}Domains": list[str]() for kind in ("connect", "resource", "frame", "baseUri")}
    meta = {"ui": {"prefersBorder": True, "csp": no_network}}
    return types.TextResourceContents(uri=URI, mime_type=MIME_TYPE, text=card_html(key), _meta=meta)


def tool_meta() -> dict[str, Any]:
    """`_meta` of a tool whose calls show the card. The second key is the older form, which some hosts still read."""
    return {"ui": {"resourceUri": URI, "visibility": ["model"]}, "ui/resourceUri": URI}


def card_tools() -> tuple[types.Tool, ...]:
    """The two tools that only the view calls."""
    import mcp_types as types

    proof_of = {"type": "string", "description": "Computed by the card."}
    language = {"type": "string", "enum": ["en", "zh"], "description": "The language of the texts."}
    app_only = {"ui": {"visibility": ["app"]}}
    return (
        types.Tool(
            name=SHOW,
            title="Show waiting writes",
            description="For the approval card only: the writes that wait for a person, and what became of them.",
            input_schema={
                "type": "object",
                "properties": {
                    "approval_id": {"type": "string", "description": "One write; without it, all of this principal."},
                    "proof": proof_of,
                    "language": language,
                },
                "required": ["proof"],
                "additionalProperties": False,
            },
            annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
            _meta=app_only,
        ),
        types.Tool(
            name=DECIDE,
            title="Decide about a waiting write",
            description="For the approval card only: records the decision of the person who reads it.",
            input_schema={
                "type": "object",
                "properties": {
                    "approval_id": {"type": "string", "description": "Id of the write."},
                    "decision": {"type": "string", "enum": list(DECISIONS), "description": "What the person decided."},
                    "proof": proof_of,
                    "language": language,
                },
                "required": ["approval_id", "decision", "proof"],
                "additionalProperties": False,
            },
            annotations=types.ToolAnnotations(
                read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True
            ),
            _meta=app_only,
        ),
    )
