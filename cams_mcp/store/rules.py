"""The rules for approvals and the ledger, applied within one step.

A step in Redis does not see its own changes, so each rule reads first and writes last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed
from cams_mcp.store.pending import (
    Pending,
    was_declined,
)
from cams_mcp.store.records import (
    DAY_SECONDS,
    ENDED,
    Earlier,
    Event,
    Standing,
    Write,
    audit_entry,
    no_approval,
    other_call,
    over_limit,
    sent_since,
    shown_id,
    token_hash,
)
from cams_mcp.store.step import Entry, Step

NOT_COVERED = "the approval was used for a write that it does not cover"
SENT_MEANWHILE = "the same contents were sent after the question was asked"
SAME_DECLINED = "a person declined the same contents"
NEVER_SENT = "it was approved, but the write was not sent before the approval expired"


def record_ends(step: Step) -> None:
    """Record expired questions and approvals, and writes whose process ended without recording their outcome."""
    for pending in step.take_expired():
        if pending.state == "waiting":
            step.append("expired", pending.entry)
        elif pending.state == "approved":
            step.append("expired", {**pending.entry, "reason": NEVER_SENT})
    for number, entry in step.take_abandoned():
        step.append("unknown", {**entry, "reason": ENDED})
        pending = step.pending_of(entry["digest"])
        if pending is not None and pending.is_live(step.now) and pending.write == number and pending.outcome is None:
            step.put_pending(replace(pending, outcome={"outcome": "unknown", "error": ENDED}))


def spend(step: Step, write: Write, channel: Channel, token: str | None) -> Pending | NotConfirmed:
    """The approval that covers a write, or why there is none. One that is spent already is returned as it is.

    Args:
        token: the secret that came with the call. None if a person must have approved the write at some door.
    """
    pending = step.pending_of(write.binding)
    if pending is not None and not pending.is_live(step.now):
        pending = None
    if pending is not None and pending.state == "spent":
        return pending
    if pending is not None and pending.state == "declined":
        return was_declined(pending.expires)
    if pending is None or pending.state == "waiting":
        found = _with_key(step, write, channel, token_hash(token)) if token is not None else no_approval()
        if isinstance(found, NotConfirmed):
            return found
        pending = found
    if step.last_write(write.digests) > pending.seen_write:
        step.append("expired", {**pending.entry, "reason": SENT_MEANWHILE})
        step.drop_pending(pending)
        return sent_since(write.effect)
    return pending


def _with_key(step: Step, write: Write, channel: Channel, hashed: str) -> Pending | NotConfirmed:
    pending = step.pending_with_key(hashed)
    key = pending.key(hashed) if pending is not None else None
    if pending is None or key is None:
        return no_approval()
    is_good = key.channel == channel and pending.is_live(step.now) and step.now < key.expires
    if is_good and pending.binding == write.binding:
        return pending
    left = pending.without_key(hashed)
    step.append("expired", {**pending.entry, "reason": NOT_COVERED})
    if left.keys:
        step.put_pending(left)
    else:
        step.drop_pending(pending)
    return other_call() if is_good else no_approval()


def begin(
    step: Step,
    write: Write,
    channel: Channel,
    token: str | None,
    per_day: int | None,
    standing: Standing | None,
) -> tuple[int, Channel] | Pending | NotConfirmed:
    """Spend the approval of a write and enter the write into the ledger. Returns its number and how it was approved.

    Returns the waiting write if somebody else spent the approval.
    """
    approval = spend(step, write, channel, token)
    if isinstance(approval, NotConfirmed) or approval.state == "spent":
        return approval
    if approval.state == "waiting":
        approval = approval.decide("approved", channel, "", step.now)
        event = "approved"
    else:
        event = None  # recorded when it was decided
    number = enter(step, write, approval.channel, event, per_day, standing)
    if isinstance(number, NotConfirmed):
        step.drop_pending(approval)
        return number
    step.put_pending(replace(approval, state="spent", write=number))
    return number, approval.channel


def decide(
    step: Step, approval_id: str, *, approve: bool, channel: Channel, by: str, principal: str | None
) -> Pending | None:
    """Decide a waiting write, unless somebody has. Returns it; None if no such write waits."""
    pending = next((each for each in step.all_pending() if each.id == approval_id), None)
    if pending is None or not pending.is_live(step.now) or principal not in (None, pending.principal):
        return None
    if pending.state != "waiting":
        return pending
    entry = {**pending.entry, "channel": channel} | ({"by": by} if by else {})
    if not approve:
        return _decline(step, pending, channel, by, {**entry, "reason": "a person declined"})
    decided = pending.decide("approved", channel, by, step.now)
    step.put_pending(decided)
    step.append("approved", entry)
    return decided


def _decline(step: Step, pending: Pending, channel: Channel, by: str, entry: Entry) -> Pending:
    """Decline a write, and every other of the same contents that is not sent yet: a no is about the list."""
    declined = pending.decide("declined", channel, by, step.now)
    others = [
        each
        for each in step.all_pending()
        if each.is_same(pending.principal, pending.digests, pending.binding)
        and each.binding != pending.binding
        and each.state in ("waiting", "approved")
    ]
    step.put_pending(declined)
    step.append("declined", entry)
    for each in others:
        step.put_pending(each.decide("declined", channel, by, step.now))
        step.append("declined", {**each.entry, "channel": channel, "reason": SAME_DECLINED})
    return declined


def end(
    step: Step,
    pending: Pending | None,
    write: Write,
    reason: str,
    *,
    hold: bool,
    by: str = "",
    channel: Channel | None = None,
) -> Pending | None:
    """End a question without a yes. Returns the write if it was approved at another door before.

    Only a no ends a question that waits at another door too, or that identical calls have joined.
    """
    if pending is None or pending.state != "waiting":
        current = step.pending_of(write.binding)
        is_approved = current is not None and current.is_live(step.now) and current.state in ("approved", "spent")
        return current if is_approved else None
    channel = channel or pending.channel
    if not hold and (pending.joined or pending.channel != channel):
        return None
    entry = {**pending.entry, "client": write.client, "channel": channel, "reason": reason}
    entry |= {"by": by} if by else {}
    if hold:
        _decline(step, pending, channel, by, entry)
        return None
    if pending.barred > step.now:
        step.put_pending(replace(pending.decide("declined", pending.channel, "", step.now), expires=pending.barred))
    else:
        step.drop_pending(pending)
    step.append("declined", entry)
    return None


def settle(step: Step, binding: str, number: int, outcome: Mapping[str, Any], *, forget: bool) -> None:
    """Keep what became of a write for identical calls. `forget`: the caller knows, and nothing was sent."""
    pending = step.pending_of(binding)
    if pending is None or pending.state != "spent" or pending.write != number:
        return
    if forget:
        step.drop_pending(pending)
    else:
        step.put_pending(replace(pending, outcome=outcome))


def enter(
    step: Step, write: Write, channel: Channel, event: Event | None, per_day: int | None, standing: Standing | None
) -> int | NotConfirmed:
    """Record a write that is about to be sent. Returns its ledger number, or why it must not be sent."""
    problem = limit_problem(step, write, per_day, standing)
    if problem is not None:
        return problem
    if standing is not None:
        step.release(standing.write, write.amount - standing.doubtful)
    entry = audit_entry(step.salt, write, channel)
    number = step.enter(write, shown_id(step.salt, write.limit_key), entry)
    if event is not None:
        step.append(event, entry)
    return number


def limit_problem(step: Step, write: Write, per_day: int | None, standing: Standing | None) -> NotConfirmed | None:
    used = step.sent_since(shown_id(step.salt, write.limit_key), step.now - DAY_SECONDS)
    if standing is not None and step.may_release(standing.write):
        # Don't count what the upload's last run certainly did not send.
        used -= min(used, write.amount - standing.doubtful)
    return over_limit(write, used, per_day)


def find_earlier(step: Step, write: Write, seconds: float, standing: Standing | None) -> Earlier | None:
    if standing is not None:
        return step.overlapping(write, standing.write)
    return step.earlier(write.digests, step.now - seconds)


def append(
    step: Step,
    event: Event,
    write: Write,
    channel: Channel,
    *,
    request_id: str | None = None,
    reason: str | None = None,
) -> None:
    step.append(event, audit_entry(step.salt, write, channel, request_id, reason))
