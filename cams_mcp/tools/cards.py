"""The two tools that only the approval card calls, and the key of its HTML."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from cams_mcp.approval.card import DECIDE, SHOW, card_key, is_proved_decision, is_proved_show
from cams_mcp.approval.desk import Decision, Desk
from cams_mcp.approval.view import as_shown
from cams_mcp.confirmation import Caller
from cams_mcp.errors import NotConfirmed
from cams_mcp.facts import Language
from cams_mcp.redaction import printable
from cams_mcp.store import BaseStore, Pending
from cams_mcp.store.pending import not_waiting
from cams_mcp.threads import in_thread
from cams_mcp.tools.result import ToolResult


class Cards:
    """Answers the calls of approval cards.

    A server cannot tell a card's call from a model's. So every call must prove that it comes from a card of the same
    principal, with a key that stands only in the card's HTML.

    Args:
        desk: where the writes wait.
        store: holds the secret that the keys are made from.
        command: how to decide on a terminal; empty if no other process can see the store.
        language: of the texts; None to take the one that the card asks for.
    """

    def __init__(self, desk: Desk, store: BaseStore, command: str = "", language: Language | None = None) -> None:
        self._desk = desk
        self._store = store
        self._command = command
        self._language: Language | None = language

    async def key(self, caller: Caller) -> str:
        """The key in the HTML of this caller's cards."""
        secret = await in_thread(self._store.secret)
        return card_key(secret, caller.principal)

    async def call(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> ToolResult:
        """Run one of the two tools.

        Raises:
            NotConfirmed: the call does not come from a card, or no such write waits.
        """
        given, key = dict(arguments), await self.key(caller)
        if name == SHOW and caller.cards and is_proved_show(given, key):
            wanted = given.get("approval_id") or None
            found = [each for each in await self._at_card(caller) if wanted in (None, each.id)]
        elif name == DECIDE and caller.cards and is_proved_decision(given, key):
            # The proof covers both.
            approval_id, decision = cast("str", given["approval_id"]), cast("Decision", given["decision"])
            by = printable(caller.client, 80)
            if all(each.id != approval_id for each in await self._at_card(caller)):
                raise not_waiting()
            found = [await self._desk.decide(approval_id, decision, "card", by, caller.principal)]
        else:
            raise NotConfirmed(
                "Nothing was decided: only the approval card can call this tool, for the person who looks at it.",
                hint="Ask the user to decide on the card, or at the door that the waiting call's result names.",
            )
        return self._shown(found, given.get("language"))

    async def _at_card(self, caller: Caller) -> list[Pending]:
        """The writes that wait, or waited, at a card of this principal."""
        return [each for each in await self._desk.pending(caller.principal) if each.at_card]

    def _shown(self, writes: list[Pending], language: object) -> ToolResult:
        asked_for: Language = "zh" if language == "zh" else "en"
        chosen: Language = self._language or asked_for
        now = time.time()
        shown = [as_shown(each, chosen, now) for each in writes]
        return ToolResult({"writes": shown, "now": now, "language": chosen, "command": self._command})
