"""What the guard is given: the operator's rules, and what sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cams_mcp.confirmation import ConfirmMode
from cams_mcp.operation import Operation, RequestT, ResponseT
from cams_mcp.settings import Settings


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allows.

    Attributes:
        confirm: "auto" asks through the client if it can ask and else takes two steps; "token" always takes two steps;
            "off" sends without confirmation, for unattended pipelines.
        ask_seconds: how long a question put mid-call may stay unanswered.
        hold_seconds: for how long the same list to the same target counts as a repetition. The question then says
            so; with "off" it is refused.
        read_only: nothing is written, whoever asks and however it was approved.
        per_call: the most units a call may send; None is no limit.
        per_day: the most units that may be sent to one target in 24 hours; None is no limit.
        targets: the ids of the only targets that may be written to; empty allows all.
    """

    confirm: ConfirmMode = Settings.confirm
    ask_seconds: float = Settings.ask_timeout
    hold_seconds: float = Settings.hold_hours * 3600
    read_only: bool = False
    per_call: int | None = None
    per_day: int | None = None
    targets: frozenset[str] = frozenset()


class Service(Protocol):
    """Where writes go: `cams_mcp.api.client.CamsClient`."""

    async def call(self, operation: Operation[RequestT, ResponseT], request: RequestT) -> ResponseT: ...

    async def identity(self) -> str:
        """The endpoint and the access key id that a write would go out with."""
        ...
