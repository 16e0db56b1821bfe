"""What is kept of a write, in words that every kind of store shares."""

from __future__ import annotations

import datetime as dt
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
"""What the audit trail records: "blocked" by a limit, "failed" because CAMS refused it, "resumed" for an upload."""

DAY_SECONDS = 86_400.0
RESUME_SECONDS = DAY_SECONDS
"""How long an approved upload that stopped may be resumed without another approval."""

ENDED = "the process ended before it recorded the outcome"
"""The reason in the trail for a write whose process was killed."""

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Write:
    """A write as the store knows it: who, what, how much; no addresses.

    Attributes:
        binding: digest of exactly what may be sent, by whom, to where.
        list_digest: digest of the audience and its list of people, in any order; empty without people.
        part_digest: for the rest of an upload, the same digest of the people that are left; else empty.
        target: the ids, by argument.
        counts: how many units, and other counts.
        effect: what the operation changes, in words.
    """

    operation: str
    principal: str
    client: str
    binding: str
    list_digest: str
    audience: str
    target: Mapping[str, str]
    counts: Mapping[str, int]
    effect: Effect
    part_digest: str = ""

    @property
    def users(self) -> int:
        return self.counts[self.effect.units]

    @property
    def digests(self) -> tuple[str, ...]:
        """The lists this write is compared by with other writes."""
        return tuple(digest for digest in (self.list_digest, self.part_digest) if digest)


@dataclass(frozen=True, slots=True)
class Standing:
    """The approval that an upload got before it stopped.

    Attributes:
        binding: digest of what was approved.
        write: number in the ledger of the upload's last run; what was sent after it makes the approval void.
        approved: when a person approved it, seconds since 1970, UTC.
        doubtful: how many people were in a batch whose outcome is unknown; sending them again takes another approval.
    """

    binding: str
    write: int
    approved: float
    doubtful: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier write of the same list to the same audience: when (seconds since 1970, UTC), and how it ended."""

    started: float
    outcome: Outcome

    def sentence(self, effect: Effect) -> str:
        """What happened then, and how to find out where that is unknown."""
        when = dt.datetime.fromtimestamp(self.started, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        if self.outcome == "sent":
            return f"the same list was already sent to this {effect.target} on {when}."
        return (
            f"the same list was sent to this {effect.target} on {when}, and whether CAMS applied it is unknown. "
            f"To find out, {effect.how_to_check}."
        )


@dataclass(frozen=True, slots=True)
class Approval:
    """An open approval.

    Attributes:
        issued, expires: seconds since 1970, UTC.
        seen_write: the number of the last write of the same list when the person was asked.
        entry: the audit entry of the question, for the record of its expiry.
    """

    binding: str
    channel: str
    issued: float
    expires: float
    seen_write: int
    entry: Mapping[str, Any]

    def problem(self, write: Write, channel: Channel, now: float, last_write: int) -> NotConfirmed | None:
        """Why this approval does not let `write` out, if so."""
        if self.channel != channel or not self.issued <= now < self.expires:
            return no_approval()
        if not hmac.compare_digest(self.binding, write.binding):
            return NotConfirmed(
                "Nothing was sent: this is not what was confirmed (other arguments, another caller, or another "
                "endpoint or access key), so the confirmation is void.",
                hint="Call again without confirmation_token, with the final arguments, for a new preview or question.",
            )
        if last_write > self.seen_write:
            return NotConfirmed(
                f"Nothing was sent: the same list was sent to this {write.effect.target} after this question was "
                "asked.",
                hint="Call again without confirmation_token; the new preview or question says when.",
            )
        return None


def no_approval() -> NotConfirmed:
    return NotConfirmed(
        "Nothing was sent: the confirmation is unknown, already used, or expired. A preview expires after ten minutes, "
        "a question after --ask-timeout.",
        hint="Call again without confirmation_token to get a new preview or question.",
    )


def held(earlier: Earlier, effect: Effect, *, resumes: bool = False) -> NotConfirmed:
    """The error for a repetition where nobody is asked."""
    return NotConfirmed(
        f"Nothing was sent: {earlier.sentence(effect)} With --confirm off nobody can be asked whether to repeat it.",
        hint="To send it all the same, resume where a person can approve it: without --yes and --confirm off."
        if resumes
        else "Leave it, or have the operator lower --hold-hours.",
    )


def over_limit(write: Write, used: int, users_per_day: int | None) -> NotConfirmed | None:
    """The problem, if `write` does not fit under the day's limit beside what went out before."""
    if users_per_day is None or used + write.users <= users_per_day:
        return None
    units = write.effect.units
    return NotConfirmed(
        f"Nothing was sent: this server lets at most {users_per_day:,} {units} a day go to one {write.effect.target}; "
        f"{used:,} went in the last 24 hours.",
        hint=f"No argument can lift this. Send fewer {units} or wait; the operator sets --max-users-per-day.",
    )


def token_hash(token: str) -> str:
    """How a token is kept, so that nobody who reads the store can spend it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def salted(salt: bytes, text: str) -> str:
    return hmac.new(salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def shown_id(salt: bytes, text: str) -> str:
    """An id as it is; what does not look like one could be an address, so only its digest is kept."""
    return text if _ID.fullmatch(text) else f"sha256:{salted(salt, text)[:32]}"


def audit_entry(
    salt: bytes, write: Write, channel: Channel, request_id: str | None = None, reason: str | None = None
) -> dict[str, Any]:
    """What the audit trail holds of a write."""
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
