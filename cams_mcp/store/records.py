"""The records that every store backend keeps, and the errors that follow from them."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed
from cams_mcp.models import Outcome
from cams_mcp.operation import Effect

Event = Literal["asked", "approved", "declined", "expired", "blocked", "resumed", "sent", "failed", "unknown"]
"""Audit trail events. "blocked": stopped by a limit. "failed": CAMS refused it. "resumed": the rest of an upload."""

DAY_SECONDS = 86_400.0
RESUME_SECONDS = DAY_SECONDS
"""How long a stopped upload can be resumed without another approval."""

ENDED = "the process ended before it recorded the outcome"
"""The audit trail's reason for a write whose process was killed."""

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Write:
    """A write as the store records it: caller, target and counts, but no personal data.

    Attributes:
        binding: digest of exactly what may be sent, by whom, and to which endpoint.
        list_digest: digest of the target and the contents in any order; empty without contents.
        part_digest: for the rest of an upload, the same digest of the remaining contents; otherwise empty.
        target: the ids, by argument.
        counts: how many units, and other counts.
        effect: what the operation changes, in words.
    """

    operation: str
    principal: str
    client: str
    binding: str
    list_digest: str
    target: Mapping[str, str]
    counts: Mapping[str, int]
    effect: Effect
    part_digest: str = ""

    @property
    def amount(self) -> int:
        """How many units it writes; limits count them."""
        return self.counts[self.effect.units]

    @property
    def target_id(self) -> str:
        """The id of what it writes to."""
        return self.target[self.effect.target_argument]

    @property
    def limit_key(self) -> str:
        """The daily limit adds up writes with the same key. Version 0.1.0 knew only users, and stored the id alone."""
        return self.target_id if self.effect.unit == "user" else f"{self.effect.units}:{self.target_id}"

    @property
    def digests(self) -> tuple[str, ...]:
        """The list digests by which this write is compared to others."""
        return tuple(digest for digest in (self.list_digest, self.part_digest) if digest)


@dataclass(frozen=True, slots=True)
class Standing:
    """The existing approval of a stopped upload.

    Attributes:
        binding: digest of what was approved.
        write: ledger number of the upload's last run. A later write of the same contents voids the approval.
        approved: when a person approved it, seconds since 1970, UTC.
        doubtful: how many units were in a batch with unknown outcome. Sending them again requires another approval.
    """

    binding: str
    write: int
    approved: float
    doubtful: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier write of the same list to the same target: its time (seconds since 1970, UTC) and outcome."""

    started: float
    outcome: Outcome

    def sentence(self, effect: Effect) -> str:
        """What happened then, and how to find out where that is unknown."""
        return effect.earlier_in("en", started=self.started, outcome=self.outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a write ended.

    Attributes:
        request_id: of CAMS.
        reason: why it failed, in a few words, for the audit trail.
        amount: how many units were or may have been sent, if not all.
        result: what the call returned, for identical calls; without personal data.
        error: the same for a call that failed.
        is_reported: whether a caller gets this outcome. One that nobody saw is kept for the next identical call.
    """

    outcome: Outcome
    request_id: str | None = None
    reason: str | None = None
    amount: int | None = None
    result: Mapping[str, Any] | None = None
    error: str | None = None
    is_reported: bool = True

    @property
    def is_forgettable(self) -> bool:
        """Whether an identical call may ask anew: nothing was sent, and the caller knows."""
        return self.outcome == "refused" and self.is_reported

    def to_json(self) -> dict[str, Any]:
        stored: dict[str, Any] = {"outcome": self.outcome, "result": self.result, "error": self.error}
        return {name: value for name, value in stored.items() if value is not None}


def no_approval() -> NotConfirmed:
    return NotConfirmed(
        "Nothing was sent: the confirmation is unknown, already used, or expired. A preview expires after ten minutes, "
        "a question after --ask-timeout.",
        hint="Call again without confirmation_token to get a new preview or question.",
    )


def other_call() -> NotConfirmed:
    return NotConfirmed(
        "Nothing was sent: the confirmation was for a different call (other arguments, another caller, or another "
        "endpoint or access key), so it is void.",
        hint="Call again with the final arguments and without confirmation_token to get a new preview or question.",
    )


def sent_since(effect: Effect) -> NotConfirmed:
    return NotConfirmed(
        f"Nothing was sent: the same {effect.contents} was sent to this {effect.target} after this question was asked.",
        hint="Call again without confirmation_token. The new preview or question shows when.",
    )


def held(earlier: Earlier, effect: Effect, *, resumes: bool = False) -> NotConfirmed:
    """The error for a repetition under --confirm off."""
    return NotConfirmed(
        f"Nothing was sent: {earlier.sentence(effect)} With --confirm off, no one can approve sending it again.",
        hint="To send it anyway, resume without --yes and without --confirm off, so that a person can approve it."
        if resumes
        else "To allow the repetition, the operator must lower --hold-hours.",
    )


def over_limit(write: Write, used: int, per_day: int | None) -> NotConfirmed | None:
    """The error if `write` would exceed the daily limit, given the units already sent; None otherwise."""
    if per_day is None or used + write.amount <= per_day:
        return None
    effect = write.effect
    return NotConfirmed(
        f"Nothing was sent: this server sends at most {effect.amount(per_day)} per day to one {effect.target}, "
        f"and {used:,} were sent in the last 24 hours.",
        hint=f"No argument can override this limit. Send fewer {effect.units} or wait. The operator sets "
        "--max-users-per-day.",
    )


def token_hash(token: str) -> str:
    """The stored form of a token. Reading the store does not reveal tokens that can be used."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def salted(salt: bytes, text: str) -> str:
    return hmac.new(salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def shown_id(salt: bytes, text: str) -> str:
    """`text` if it is a plain id, otherwise a digest of it: it might be personal data."""
    return text if _ID.fullmatch(text) else f"sha256:{salted(salt, text)[:32]}"


def audit_entry(
    salt: bytes, write: Write, channel: Channel, request_id: str | None = None, reason: str | None = None
) -> dict[str, Any]:
    """The audit trail's record of a write."""
    entry: dict[str, Any] = {
        "operation": write.operation,
        "principal": write.principal,
        "client": write.client,
        "channel": channel,
        "target": {name: shown_id(salt, value) for name, value in write.target.items()},
        "counts": dict(write.counts),
        "digest": write.binding,
    }
    entry |= {"request_id": request_id} if request_id else {}
    return entry | ({"reason": reason} if reason else {})
