"""What the guard works with: the operator's rules, and the service that sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cams_mcp.confirmation import ConfirmMode
from cams_mcp.facts import Language
from cams_mcp.operation import Operation, RequestT, ResponseT
from cams_mcp.settings import Settings


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allows.

    Attributes:
        confirm: which door a write waits at. "auto" takes the first that is there: the client's own question, the
            server's page, a card in the chat, and last the two steps. "person" does the same without the two steps;
            "page", "card" and "token" choose one; "off" sends without confirmation, for unattended pipelines.
        ask_seconds: how long a question shown by the client may stay unanswered.
        wait_seconds: how long a call waits for a decision on the page before it returns.
        language: of the questions that a client or a terminal shows.
        cards: whether a write may wait at a card in the chat.
        hold_seconds: how long an identical list for the same target counts as a duplicate. The question then says so;
            with "off", the guard rejects the write.
        read_only: reject every write, no matter who asks or how it was approved.
        per_call: the maximum number of units per call; None for no limit.
        per_day: the maximum number of units sent to one target in 24 hours; None for no limit.
        targets: the ids of the only targets that may be written to; empty allows all.
    """

    confirm: ConfirmMode = Settings.confirm
    ask_seconds: float = Settings.ask_timeout
    wait_seconds: float = Settings.approval_wait
    language: Language = "en"
    cards: bool = True
    hold_seconds: float = Settings.hold_hours * 3600
    read_only: bool = False
    per_call: int | None = None
    per_day: int | None = None
    targets: frozenset[str] = frozenset()


class Service(Protocol):
    """Sends writes and runs look-ups. `cams_mcp.api.client.CamsClient` implements it."""

    async def call(self, operation: Operation[RequestT, ResponseT], request: RequestT) -> ResponseT: ...

    async def identity(self) -> str:
        """The endpoint and the access key id that a write would be sent with."""
        ...
