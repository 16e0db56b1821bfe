"""What every door works with: the writes that wait for a person, and the decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from cams_mcp.confirmation import Channel
from cams_mcp.store import BaseStore, Pending
from cams_mcp.store.pending import not_waiting
from cams_mcp.threads import in_thread

Decision = Literal["approve", "decline"]


class Desk:
    """Lists and decides the waiting writes of a store.

    Args:
        store: where they wait.
        on_decision: called after each decision, so that a call that waits in this process notices at once.
    """

    def __init__(self, store: BaseStore, on_decision: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._on_decision = on_decision

    async def pending(self, principal: str | None = None) -> list[Pending]:
        """The writes that wait or were decided, until their approval would have expired, oldest first.

        Args:
            principal: whose writes; None for everybody's.

        Raises:
            StoreError: the store cannot be read.
        """
        found = await in_thread(self._store.pending)
        return [each for each in found if principal in (None, each.principal)]

    async def decide(
        self, approval_id: str, decision: Decision, channel: Channel, by: str = "", principal: str | None = None
    ) -> Pending:
        """Decide a waiting write. The first decision counts: a decided write is returned as it is.

        Args:
            channel: the door.
            by: who decided, as far as the door knows.
            principal: whose write it must be; None for anybody's.

        Raises:
            NotConfirmed: no such write waits.
            StoreError: the decision cannot be recorded.
        """
        approve = decision == "approve"
        decided = await in_thread(
            lambda: self._store.decide(approval_id, approve=approve, channel=channel, by=by, principal=principal)
        )
        if decided is None:
            raise not_waiting()
        self._on_decision()
        return decided
