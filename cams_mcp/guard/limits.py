"""The operator's limits on every write, except the daily limit, which the store enforces."""

from __future__ import annotations

from typing import NoReturn

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed
from cams_mcp.guard.policy import Policy
from cams_mcp.store import BaseStore, Standing, Write
from cams_mcp.threads import in_thread


async def check_limits(
    store: BaseStore, policy: Policy, write: Write, channel: Channel, standing: Standing | None
) -> None:
    """Reject a write that the operator does not allow, before anyone is asked.

    Raises:
        NotConfirmed: the operator does not allow it. The audit trail says so.
    """
    problem = limit_problem(write, policy, channel, standing)
    if problem is not None:
        await refuse(store, write, channel, problem)
    try:
        await in_thread(lambda: store.check_limit(write, policy.per_day, standing))
    except NotConfirmed as error:
        await refuse(store, write, channel, error)


async def refuse(store: BaseStore, write: Write, channel: Channel, problem: NotConfirmed) -> NoReturn:
    """Record that a write was rejected, and raise why."""
    await in_thread(lambda: store.record("blocked", write, channel, problem.message))
    raise problem


def limit_problem(write: Write, policy: Policy, channel: Channel, standing: Standing | None) -> NotConfirmed | None:
    """Why the operator does not allow `write`, no matter who approves it; None if it is allowed."""
    effect = write.effect
    if policy.read_only:
        return NotConfirmed("Nothing was sent: this server is read-only (--read-only).")
    if policy.targets and write.target_id not in policy.targets:
        return NotConfirmed(
            f"Nothing was sent: the operator does not allow writes to this {effect.target} (--allow-audience).",
            hint="No argument can override this limit.",
        )
    if channel == "off" and standing is not None and standing.doubtful:
        return _doubtful(write)
    if policy.per_call is not None and write.amount > policy.per_call:
        return NotConfirmed(
            f"Nothing was sent: this server sends at most {effect.amount(policy.per_call)} per call "
            "(--max-users-per-call).",
            hint="No argument can override this limit.",
        )
    return None


def _doubtful(write: Write) -> NotConfirmed:
    """The error for a resume under --confirm off that could send something twice."""
    return NotConfirmed(
        "Nothing was sent: this upload stopped at a batch with an unknown outcome. Resuming it would send "
        f"{write.effect.amount(write.amount)}, some of which may already have been sent. With --confirm off, no one "
        "can approve that.",
        hint=f"To find out, {write.effect.how_to_check}. To send them again, resume without --yes and without "
        "--confirm off, so that a person can approve it.",
    )
