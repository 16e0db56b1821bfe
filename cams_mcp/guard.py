"""May this write go out? The one place that decides.

A write needs the person's yes. Three ways to get it, in this order of preference:

- ask mid-call (`Caller.ask`: legacy-era elicitation, or a terminal);
- ask by round trip (`Caller.round_trips`: the call returns a question, and the client calls again with the answer);
- two steps: the first call returns a preview and a token; a second call with the same arguments and that token sends.

Each way ends in spending an approval: bound to the exact request, good once, for ten minutes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import anyio

from cams_mcp.errors import NotConfirmed

if TYPE_CHECKING:
    from cams_mcp.models import AnyOperation, Response, WriteRequest

ConfirmMode = Literal["auto", "token", "off"]
Channel = Literal["elicitation", "token"]

APPROVAL_SECONDS = 600.0
ASK_SECONDS = 120.0
MOST_OPEN_APPROVALS = 1000

CONFIRM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "confirm": {
            "type": "boolean",
            "title": "Send it",
            "description": "Tick to hand these addresses to Meta. It cannot be undone.",
            "default": False,
        }
    },
    "required": ["confirm"],
}
"""What a client shows beside the question: one box to tick, so that an answer without a tick is a no."""

logger = logging.getLogger(__name__)


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
    """The second round of a question asked by round trip: the state that went out with it, and the reply, if any."""

    state: str
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and how the person behind can be asked.

    Attributes:
        principal: who is authenticated; "local" on stdio.
        ask: asks mid-call and returns the reply; None if that is not possible.
        round_trips: whether the call can return a question and be called again with the answer.
    """

    principal: str = "local"
    ask: Callable[[str], Awaitable[Reply]] | None = None
    round_trips: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """Nothing was sent yet: put `text` to the person and call again with `state` and the reply."""

    text: str
    state: str


@dataclass(frozen=True, slots=True)
class Preview:
    """Nothing was sent yet: show `text` to the person; after a yes, call again with `token`."""

    text: str
    token: str


@dataclass(slots=True)
class _Approval:
    binding: str
    channel: Channel
    expires: float


class Approvals:
    """Open approvals, each good once and for a while. Tokens are random: they hold nothing and cannot be forged.

    Args:
        now: seconds on a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._open: dict[str, _Approval] = {}

    def issue(self, binding: str, channel: Channel) -> str:
        """Open an approval for `binding`, the digest of what may be sent; returns its token."""
        now = self._now()
        self._open = {token: held for token, held in self._open.items() if held.expires > now}
        while len(self._open) >= MOST_OPEN_APPROVALS:
            del self._open[next(iter(self._open))]
        token = secrets.token_urlsafe(24)
        self._open[token] = _Approval(binding, channel, now + APPROVAL_SECONDS)
        return token

    def spend(self, token: str, binding: str, channel: Channel) -> None:
        """Use an approval up.

        Raises:
            NotConfirmed: unknown, already spent, expired, or given for another request. An approval that does not fit
                the request is used up all the same.
        """
        held = self._open.pop(token, None)
        if held is None or held.channel != channel or held.expires <= self._now():
            raise NotConfirmed(
                "Nothing was sent: the confirmation is unknown, already used, or older than ten minutes.",
                hint="Call again without confirmation_token to get a new preview or question.",
            )
        if held.binding != binding:
            raise NotConfirmed(
                "Nothing was sent: the arguments are not the ones that were confirmed, so the confirmation is void.",
                hint="Call again without confirmation_token, with the final arguments, for a new preview or question.",
            )


class Guard:
    """Lets a write out only after a confirmation.

    Args:
        mode: "auto" asks through the client if it can ask and else takes two steps; "token" always takes two steps;
            "off" sends without confirmation, for unattended pipelines.
        approvals: the open approvals.
        ask_seconds: how long a mid-call question may stay unanswered.
    """

    def __init__(
        self, mode: ConfirmMode = "auto", approvals: Approvals | None = None, *, ask_seconds: float = ASK_SECONDS
    ) -> None:
        self._mode = mode
        self._approvals = approvals or Approvals()
        self._ask_seconds = ask_seconds

    async def submit(
        self,
        operation: AnyOperation,
        request: WriteRequest,
        caller: Caller,
        send: Callable[[], Awaitable[Response]],
        *,
        token: str | None = None,
        answered: Answered | None = None,
    ) -> Response | Question | Preview:
        """Send the write if it is confirmed; else return what to ask. `send` is called at most once.

        Args:
            token: the confirmation token of the second step, if the caller gave one.
            answered: the reply of a round trip, if this is its second round.

        Raises:
            NotConfirmed: declined, cancelled, timed out, malformed, replayed; nothing was sent.
            Whatever `send` raises.
        """
        if self._mode == "off":
            return await send()
        binding = request_digest(operation, request, caller.principal)
        if answered is not None:
            self._approvals.spend(answered.state, binding, "elicitation")
            _check(answered.reply)
            return await send()
        if token is not None:
            self._approvals.spend(token, binding, "token")
            return await send()
        text = "\n".join(request.described())
        if self._mode == "auto" and caller.ask is not None:
            approval = self._approvals.issue(binding, "elicitation")
            _check(await self._ask(caller.ask, text))
            self._approvals.spend(approval, binding, "elicitation")
            return await send()
        if self._mode == "auto" and caller.round_trips:
            return Question(text, self._approvals.issue(binding, "elicitation"))
        return Preview(text, self._approvals.issue(binding, "token"))

    async def _ask(self, ask: Callable[[str], Awaitable[Reply]], text: str) -> Reply:
        with anyio.move_on_after(self._ask_seconds):
            return await ask(text)
        raise NotConfirmed(
            f"Nothing was sent: the question was not answered within {self._ask_seconds:g} s.",
            hint="Ask the user, then call again.",
        )


def request_digest(operation: AnyOperation, request: WriteRequest, principal: str) -> str:
    """A SHA-256 over who asks, the operation, and every parameter as it will be sent, in order."""
    content = json.dumps([principal, operation.action, request.parameters()], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _check(reply: Reply | None) -> None:
    """Raise NotConfirmed unless the reply is a yes."""
    if reply is not None and reply.is_yes:
        return
    if reply is not None and reply.action in ("decline", "cancel"):
        what = "declined" if reply.action == "decline" else "dismissed the question"
        raise NotConfirmed(
            f"Nothing was sent: the user {what}.",
            hint=(
                "Do not try again unless the user asks for it. If no question was shown at all, the client cannot show "
                "questions: start cams-mcp with --confirm token to confirm in two steps."
            ),
        )
    raise NotConfirmed(
        "Nothing was sent: the answer to the question was not a yes (the box was not ticked, or it was malformed).",
        hint="Ask the user; call again if they want it.",
    )
