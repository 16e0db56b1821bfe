"""What the store does with writes that wait for a person. Each method is one step; see `BaseStore`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed
from cams_mcp.redaction import scrub
from cams_mcp.store.asking import ask
from cams_mcp.store.pending import Asking, Pending
from cams_mcp.store.records import Write, token_hash
from cams_mcp.store.rules import decide, end
from cams_mcp.store.step import Step

T = TypeVar("T")


class WaitingWrites(ABC):
    """The part of a store that asks and decides."""

    @abstractmethod
    def _run(self, work: Callable[[Step], T]) -> T: ...

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def _or_blocked(self, work: Callable[[Step], T | NotConfirmed], write: Write, channel: Channel) -> T: ...

    def ask(self, write: Write, channel: Channel, asking: Asking) -> Pending | None:
        """Join the question about this write, or put a new one, in one step.

        Returns:
            The write as it waits, or as it was decided: identical calls share one question and one outcome. None if
            there is nothing to join and `asking` has no facts.

        Raises:
            NotConfirmed: the write was declined a short while ago, or too many writes are waiting.
        """
        self._prepare()
        return self._or_blocked(lambda step: ask(step, write, channel, asking), write, channel)

    def pending(self) -> list[Pending]:
        """Every write that waits for a person or was decided, until its approval would have expired, oldest first."""
        self._prepare()
        return self._run(lambda step: [each for each in step.all_pending() if each.is_live(step.now)])

    def pending_of(self, binding: str) -> Pending | None:
        """The write with this digest, if it waits or was decided."""
        pending = self._run(lambda step: (step.pending_of(binding), step.now))
        return pending[0] if pending[0] is not None and pending[0].is_live(pending[1]) else None

    def decide(
        self, approval_id: str, *, approve: bool, channel: Channel, by: str = "", principal: str | None = None
    ) -> Pending | None:
        """Approve or decline a waiting write. The first decision counts: a decided write is returned as it is.

        Args:
            by: who decided, as far as the door knows.
            principal: whose write it must be; None for anyone's.

        Returns:
            The write; None if no such write waits.
        """
        self._prepare()
        return self._run(
            lambda step: decide(step, approval_id, approve=approve, channel=channel, by=by, principal=principal)
        )

    def forget(self, pending: Pending) -> None:
        """Drop a write that was refused, so that the same call asks anew."""

        def work(step: Step) -> None:
            current = step.pending_of(pending.binding)
            if current is not None and current.write == pending.write and current.outcome == pending.outcome:
                step.drop_pending(current)

        self._run(work)

    def decline(self, write: Write, token: str, reason: str, *, hold: bool) -> Pending | None:
        """End the question that a token belongs to: the person declined or can no longer respond.

        Returns the write if it was approved at another door before.

        Args:
            hold: whether the person said no, which keeps the server from asking again for a while.
        """
        return self._run(
            lambda step: end(
                step,
                step.pending_with_key(token_hash(token)),
                write,
                scrub(reason),
                hold=hold,
                channel="elicitation",
            )
        )

    def withdraw(
        self, write: Write, reason: str, *, hold: bool, by: str = "", channel: Channel | None = None
    ) -> Pending | None:
        """The same for a question that was asked during the call.

        Args:
            by: who was asked, as far as the door knows.
            channel: the door where they were asked; None for the one where the write waits.
        """
        return self._run(
            lambda step: end(
                step, step.pending_of(write.binding), write, scrub(reason), hold=hold, by=by, channel=channel
            )
        )

    def reached(self, pending: Pending, channel: Channel) -> Pending | None:
        """The write as it is now. If it still waits, record that it has reached the card as its door."""

        def work(step: Step) -> Pending | None:
            current = step.pending_of(pending.binding)
            if current is None or not current.is_live(step.now):
                return None
            if channel == "card" and current.state == "waiting" and not current.at_card:
                current = replace(current, at_card=True)
                step.put_pending(current)
            return current

        return self._run(work)
