"""The rule for questions: put a new one, or join the one about the same write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed
from cams_mcp.facts import Fact
from cams_mcp.store.pending import (
    MOST_WAITING,
    Asking,
    Key,
    Pending,
    new_id,
    too_many_waiting,
    was_declined,
)
from cams_mcp.store.records import Write, audit_entry, token_hash
from cams_mcp.store.rules import SENT_MEANWHILE, find_earlier
from cams_mcp.store.step import Step

ASKED_AGAIN = "the question was asked again"
GAVE_WAY = "it gave way to a newer preview"


def ask(step: Step, write: Write, channel: Channel, asking: Asking) -> Pending | NotConfirmed | None:
    """Join the question about this write, or put a new one. None if there is none to join and `facts` are missing."""
    pending, replaced = _current(step, write, asking.replaces)
    if pending is not None and pending.state == "spent":
        return pending
    everything = step.all_pending()
    until = 0.0 if asking.by_hand else _declined_until(step, everything, write)
    if until:
        return was_declined(until)
    seen, barred = step.last_write(write.digests), 0.0
    if pending is not None and pending.state == "declined":
        barred, pending = pending.expires, None
    elif pending is not None and seen > pending.seen_write:
        replaced, pending = replace(pending, entry={**pending.entry, "reason": SENT_MEANWHILE}), None
    if pending is not None and replaced is None:
        is_approved = pending.state == "approved"
        return pending if is_approved else _with_token(step, replace(pending, joined=True), channel, asking)
    others = _waiting(step, everything, write)
    if len(others) >= MOST_WAITING and not (channel == "token" and others[0].channel == "token"):
        return too_many_waiting()
    if pending is None and asking.facts is None:
        return None
    if len(others) >= MOST_WAITING:
        # Nobody can decline a preview through the assistant, so the oldest gives way to a new one.
        step.append("expired", {**others[0].entry, "reason": GAVE_WAY})
        step.drop_pending(others[0])
    if replaced is not None:
        step.append("expired", replaced.entry)
    pending = pending or _new(step, write, channel, asking, seen, barred)
    step.append("asked", pending.entry)
    return _with_token(step, pending, channel, asking)


def _declined_until(step: Step, everything: Sequence[Pending], write: Write) -> float:
    same = (each for each in everything if each.is_same(write.principal, write.digests, write.binding))
    return max((each.declined_until(step.now) for each in same), default=0.0)


def _with_token(step: Step, pending: Pending, channel: Channel, asking: Asking) -> Pending:
    # Once a write waits for a person at another door, no assistant may approve it.
    if asking.token and (channel != "token" or pending.channel == "token"):
        pending = pending.with_key(Key(token_hash(asking.token), channel, step.now + asking.token_seconds))
    step.put_pending(pending)
    return pending


def _waiting(step: Step, everything: Sequence[Pending], write: Write) -> list[Pending]:
    """The other writes of the same principal that wait, oldest first. Previews come before all others."""
    waiting = [
        each
        for each in everything
        if each.state == "waiting"
        and each.is_live(step.now)
        and each.principal == write.principal
        and each.binding != write.binding
        # A client that never answers its own question must not keep others from being asked.
        and not (each.keys and all(key.expires <= step.now for key in each.keys))
    ]
    return sorted(waiting, key=lambda each: each.channel != "token")


def _new(step: Step, write: Write, channel: Channel, asking: Asking, seen: int, barred: float) -> Pending:
    approval_id = new_id()
    return Pending(
        id=approval_id,
        binding=write.binding,
        digests=write.digests,
        operation=write.operation,
        principal=write.principal,
        client=write.client,
        facts=_with_repetition(step, write, asking),
        asked=step.now,
        expires=step.now + asking.seconds,
        seen_write=seen,
        entry=audit_entry(step.salt, write, channel) | {"approval_id": approval_id},
        channel=channel,
        barred=barred,
        in_call=asking.in_call,
        at_card=channel == "card",
    )


def _with_repetition(step: Step, write: Write, asking: Asking) -> tuple[Fact, ...]:
    """The facts, with what was sent before. Looked up in the step that asks: what is sent later voids the approval."""
    facts = asking.facts or ()
    earlier = find_earlier(step, write, asking.hold_seconds, asking.standing)
    if earlier is None:
        return facts
    return (Fact("earlier", "warning", {"started": earlier.started, "outcome": earlier.outcome}), *facts)


def _current(step: Step, write: Write, replaces: str | None) -> tuple[Pending | None, Pending | None]:
    """The question about this write that is alive, and the one it replaces, with the reason in its audit entry."""
    pending = step.pending_of(write.binding)
    if pending is None or not pending.is_live(step.now):
        return None, None
    if replaces is None or pending.state != "waiting" or pending.key(token_hash(replaces)) is None:
        return pending, None
    return pending.without_key(token_hash(replaces)), replace(pending, entry={**pending.entry, "reason": ASKED_AGAIN})
