"""The rules for approvals and the ledger, applied within one step."""

from __future__ import annotations

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed
from cams_mcp.store.records import (
    DAY_SECONDS,
    ENDED,
    Earlier,
    Event,
    Standing,
    Write,
    audit_entry,
    no_approval,
    over_limit,
    shown_id,
    token_hash,
)
from cams_mcp.store.step import Step


def record_ends(step: Step) -> None:
    """Record expired approvals, and writes whose process ended without recording their outcome."""
    for entry in step.take_expired():
        step.append("expired", entry)
    for entry in step.take_abandoned():
        step.append("unknown", {**entry, "reason": ENDED})


def spend(step: Step, write: Write, channel: Channel, token: str) -> NotConfirmed | None:
    """Use up an approval. Returns why it does not cover the write, or None if it does."""
    approval = step.take_approval(token_hash(token))
    if approval is None:
        return no_approval()
    problem = approval.problem(write, channel, step.now, step.last_write(write.digests))
    if problem is not None:
        step.append("expired", {**approval.entry, "reason": "the approval was used for a write that it does not cover"})
    return problem


def enter(
    step: Step, write: Write, channel: Channel, event: Event, per_day: int | None, standing: Standing | None
) -> int | NotConfirmed:
    """Record a write that is about to be sent. Returns its ledger number, or why it must not be sent."""
    problem = limit_problem(step, write, per_day, standing)
    if problem is not None:
        return problem
    if standing is not None:
        step.release(standing.write, write.amount - standing.doubtful)
    entry = audit_entry(step.salt, write, channel)
    number = step.enter(write, shown_id(step.salt, write.limit_key), entry)
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
