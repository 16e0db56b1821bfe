"""A write that waits for a person, and what became of it."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed
from cams_mcp.facts import Fact, facts_from_json
from cams_mcp.store.records import Standing

State = Literal["waiting", "approved", "declined", "spent"]

MOST_WAITING = 5
"""How many writes of one principal may wait at a time. A person must be able to look through them."""

DECLINED_SECONDS = 600.0
"""How long the server does not ask again about a list that a person declined."""

MOST_KEYS = 8
"""How many previews or questions of one write stay good at a time: each identical call gets its own."""

_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Key:
    """What approves a write when it comes back with a call: the token of a preview, or the state of a question.

    Attributes:
        hash: of the secret; the store does not hold the secret itself.
        expires: seconds since 1970, UTC.
    """

    hash: str
    channel: Channel
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A write that waits for a person, from the question until its approval would have expired.

    Attributes:
        id: names it to people; not a secret.
        binding: digest of exactly what may be sent, by whom, and to which endpoint. One write waits per digest.
        digests: what the write is compared to others by.
        operation: the CAMS operation, whose module describes the facts.
        principal, client: who asked for it.
        facts: what a person must know. They hold no address; masked samples are deleted on decision.
        asked, expires: seconds since 1970, UTC. After `expires`, the write can neither be approved nor sent.
        seen_write: ledger number of the last write of the same contents when the question was asked.
        entry: the audit entry of the question.
        state: waiting; approved and not sent yet; declined; or spent, which means entered into the ledger.
        channel: the door where it was asked; once decided, the one where it was decided.
        by: who decided, as far as the door knows.
        decided: seconds since 1970, UTC; 0 while it waits.
        keys: what else approves it.
        in_call: whether only a call can send it, because its list is not held.
        at_card: whether a card may decide it. A client that can read the card's HTML must not decide a write that waits
            at a better door.
        joined: whether another identical call has joined it.
        barred: until when nobody else may be asked about a write that a person was asked about again on a terminal,
            after it had been declined; seconds since 1970, UTC.
        write: its ledger number, once spent.
        outcome: what became of it, once the ledger has the outcome: "sent", "refused" or "unknown" under "outcome", and
            under "result" or "error" what the call returned.
    """

    id: str
    binding: str
    digests: tuple[str, ...]
    operation: str
    principal: str
    client: str
    facts: tuple[Fact, ...]
    asked: float
    expires: float
    seen_write: int
    entry: Mapping[str, Any]
    state: State = "waiting"
    channel: Channel
    by: str = ""
    decided: float = 0.0
    keys: tuple[Key, ...] = ()
    joined: bool = False
    barred: float = 0.0
    in_call: bool = False
    at_card: bool = False
    write: int = 0
    outcome: Mapping[str, Any] | None = None

    def is_live(self, now: float) -> bool:
        """Whether its time has come and not run out. A clock that was set back must not extend an approval."""
        return self.asked <= now < self.expires

    def declined_until(self, now: float) -> float:
        """Until when nobody is asked again, because a person declined it a short while ago; 0 if nobody did."""
        return self.expires if self.state == "declined" else self.barred if now < self.barred else 0.0

    def is_same(self, principal: str, digests: Sequence[str], binding: str) -> bool:
        """Whether it is this write of a principal, or one of the same contents."""
        return self.principal == principal and (self.binding == binding or not set(self.digests).isdisjoint(digests))

    def key(self, hashed: str) -> Key | None:
        return next((key for key in self.keys if key.hash == hashed), None)

    def without_key(self, hashed: str) -> Self:
        return replace(self, keys=tuple(key for key in self.keys if key.hash != hashed))

    def with_key(self, key: Key) -> Self:
        return replace(self, keys=(*self.keys[-(MOST_KEYS - 1) :], key))

    def decide(self, state: State, channel: Channel, by: str, now: float) -> Self:
        """The same write once somebody has decided. Its samples and keys have served their purpose."""
        facts = tuple(fact for fact in self.facts if fact.kind != "samples")
        expires = now + DECLINED_SECONDS if state == "declined" else self.expires
        return replace(self, state=state, channel=channel, by=by, decided=now, facts=facts, keys=(), expires=expires)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "facts": [fact.to_json() for fact in self.facts]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        parts: dict[str, Any] = {
            "facts": facts_from_json(stored["facts"]),
            "digests": tuple(stored["digests"]),
            "keys": tuple(Key(**key) for key in stored["keys"]),
        }
        return cls(**{**stored, **parts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a write is asked about.

    Attributes:
        facts: what the person must know; None to join a question that is already there, if there is one.
        seconds: how long the question lives.
        token: a secret that approves the write when it comes back with a call; empty if this door needs none.
        token_seconds: how long it does.
        replaces: the token of an earlier question, which this one replaces.
        in_call: whether only a call can send it.
        by_hand: whether a person makes the call on a terminal. They may reconsider a write that was declined.
        hold_seconds: how far back an identical list counts as a repetition, which the question then mentions.
        standing: the approval of the upload that this write resumes, if any.
    """

    facts: tuple[Fact, ...] | None = None
    seconds: float
    token: str = ""
    token_seconds: float = 0.0
    replaces: str | None = None
    in_call: bool = False
    by_hand: bool = False
    hold_seconds: float = 0.0
    standing: Standing | None = None


def new_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))


def was_declined(until: float) -> NotConfirmed:
    time = dt.datetime.fromtimestamp(until, dt.UTC).strftime("%H:%M UTC")
    return NotConfirmed(
        f"Nothing was sent: a person declined this write. The server does not ask about this list again before {time}.",
        hint="Tell the user. Make this call again only if they ask for it, and not earlier.",
    )


def too_many_waiting() -> NotConfirmed:
    return NotConfirmed(
        f"Nothing was sent, and the user was not asked: {MOST_WAITING} writes are already waiting for approval.",
        hint="Ask the user to approve or decline those first: the approval page and `cams-mcp approve` show them all. "
        "Each of them expires ten minutes after it was asked.",
    )


def not_waiting() -> NotConfirmed:
    return NotConfirmed(
        "Nothing was decided: no write with this id is waiting. It may have expired; a question lives ten minutes.",
        hint="Run `cams-mcp approve` to list what waits, or make the call again to be asked again.",
    )
