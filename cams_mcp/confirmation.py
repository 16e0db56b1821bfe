"""The words between the guard and whoever carries its questions: a server, a terminal. Imports nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ConfirmMode = Literal["auto", "token", "off"]
Channel = Literal["elicitation", "terminal", "token", "off", "resumed"]
"""How an approval came: asked through the client, on a terminal, in two steps, not asked for at all, or earlier."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A person's answer to a question: `action` is accept, decline or cancel, `content` what the form held."""

    action: str
    content: Mapping[str, Any] | None = None

    @property
    def is_yes(self) -> bool:
        return self.action == "accept" and self.content is not None and self.content.get("confirm") is True


@dataclass(frozen=True, slots=True)
class Answered:
    """The second round of a question asked by round trip: the state sent with the question, and the reply.

    A reply of None means that the client called again without answering.
    """

    state: str
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and how the person behind can be asked.

    Attributes:
        principal: who is authenticated; "local" without authentication.
        client: name and version of the client, as it gives them.
        ask: asks mid-call and returns the reply; None if that is not possible.
        ask_channel: what `ask` is, for the audit trail.
        report: tells the caller how far a long call is: done, of how much, in words.
        round_trips: whether the call can return a question and be called again with the answer.
    """

    principal: str = "local"
    client: str = ""
    ask: Callable[[Question], Awaitable[Reply]] | None = None
    ask_channel: Literal["elicitation", "terminal"] = "elicitation"
    round_trips: bool = False
    report: Callable[[float, float, str], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """Nothing was sent yet: show `text` and a box labelled `tick` to the person, and call again with `state` and the
    reply.
    """

    text: str
    state: str
    tick: str

    @property
    def schema(self) -> dict[str, Any]:
        """The form a client shows with the question: one box to tick, so that an answer without a tick is a no."""
        box = {"type": "boolean", "title": "Send it", "description": self.tick, "default": False}
        return {"type": "object", "properties": {"confirm": box}, "required": ["confirm"]}


@dataclass(frozen=True, slots=True)
class Preview:
    """Nothing was sent yet: show `text` to the person; after a yes, call again with `token`."""

    text: str
    token: str


def why_not(reply: Reply, ask_seconds: float) -> tuple[str, str]:
    """Why a reply is not a yes, and what to do next."""
    unseen = (
        "If no question was shown at all, the client cannot show questions: the operator can start cams-mcp with "
        "--confirm token to confirm in two steps."
    )
    match reply.action:
        case "decline":
            return "the user declined", f"Do not try again unless the user asks for it. {unseen}"
        case "cancel":
            return "the user dismissed the question", f"Do not try again unless the user asks for it. {unseen}"
        case "timeout":
            waited = f"the question was not answered within {ask_seconds:g} s"
            return waited, f"Ask the user whether to call again. {unseen}"
        case "failed":
            return "the client could not put the question to the user", unseen
        case _:
            why = "the answer was not a yes (the box was not ticked, or the answer was malformed)"
            return why, f"Ask the user; call again if they want it. {unseen}"
