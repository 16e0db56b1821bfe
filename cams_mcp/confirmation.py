"""The types that the guard shares with the code that asks its questions, on a server or a terminal. Imports nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ConfirmMode = Literal["auto", "person", "page", "card", "token", "off"]
PERSONS = frozenset({"person", "page", "card"})
"""The modes in which only a person approves, at a door that no assistant has a part in. There are no tokens."""

Channel = Literal["elicitation", "page", "card", "approve", "terminal", "token", "off", "resumed"]
"""How a write was approved: through the client, on the server's own page, on a card in the chat, with
`cams-mcp approve`, on the terminal of the command that writes, in two steps, without asking, or earlier.
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """A person's answer to a question. `action` is accept, decline or cancel; `content` holds the form's values."""

    action: str
    content: Mapping[str, Any] | None = None

    @property
    def is_yes(self) -> bool:
        return self.action == "accept" and self.content is not None and self.content.get("confirm") is True


@dataclass(frozen=True, slots=True)
class Answered:
    """The second round of a round trip: the state sent with the question, and the reply.

    A reply of None means that the client called again without answering.
    """

    state: str
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and how to ask the person behind the client.

    Attributes:
        principal: the authenticated principal; "local" without authentication.
        client: the client's name and version, as the client reports them.
        ask: asks mid-call and returns the reply; None if that is not possible.
        ask_channel: the channel that `ask` uses, for the audit trail.
        person: who is asked, as far as this is known: the system's user and host on a terminal.
        report: reports the progress of a long call: amount done, total and a message.
        cards: whether the client shows cards (MCP Apps) and does not support elicitation.
        round_trips: whether the call can return a question and be called again with the answer.
    """

    principal: str = "local"
    client: str = ""
    ask: Callable[[Question], Awaitable[Reply]] | None = None
    ask_channel: Literal["elicitation", "terminal"] = "elicitation"
    person: str = ""
    round_trips: bool = False
    cards: bool = False
    report: Callable[[float, float, str], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """Nothing has been sent yet. Show the person `text` and a box labelled `tick`, then call again with `state` and the
    reply.
    """

    text: str
    state: str
    tick: str
    title: str = "Send it"

    @property
    def schema(self) -> dict[str, Any]:
        """The form that a client shows with the question: one box, so that an answer without a tick is a no."""
        box = {"type": "boolean", "title": self.title, "description": self.tick, "default": False}
        return {"type": "object", "properties": {"confirm": box}, "required": ["confirm"]}


@dataclass(frozen=True, slots=True)
class Preview:
    """Nothing has been sent yet. Show the person `text` and, only after a yes, call again with `token`."""

    text: str
    token: str


@dataclass(frozen=True, slots=True)
class Awaiting:
    """Nothing has been sent yet. A person must decide at a door that the assistant has no part in.

    Attributes:
        id: names the waiting write to people; not a secret.
        question: what is about to happen, as a question.
        door: where the person can decide: page, card, or approve, which is `cams-mcp approve`.
        command: how to decide on a terminal; empty if no other process can see the store.
        is_held: whether the server sends the write once it is approved. Otherwise, the same call made again does.
        expires: when the question ends, seconds since 1970, UTC.
        tried_page: whether a browser was started, and may still show the page.
    """

    id: str
    question: str
    door: Channel
    command: str
    is_held: bool
    expires: float
    tried_page: bool = False


def why_not(reply: Reply, ask_seconds: float) -> tuple[str, str]:
    """Why a reply is not a yes, and what to do next."""
    unseen = (
        "If no question appeared, the client cannot show questions. In that case, the operator can start cams-mcp with "
        "--confirm page to ask in the user's browser, or --confirm token to confirm in two steps."
    )
    match reply.action:
        case "decline":
            return "the user declined", f"Do not try again unless the user asks. {unseen}"
        case "cancel":
            return "the user dismissed the question", f"Do not try again unless the user asks. {unseen}"
        case "timeout":
            waited = f"the user did not answer within {ask_seconds:g} s"
            return waited, f"Ask the user whether to try again. {unseen}"
        case "failed":
            return "the client failed to display the confirmation prompt", unseen
        case _:
            why = "the answer was not a yes (the box was not ticked, or the answer was malformed)"
            return why, f"Ask the user whether to try again. {unseen}"
