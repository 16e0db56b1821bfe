"""The doors by which a person reaches a waiting write: which one comes first, and what happens if it does not open."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio

from cams_mcp.confirmation import Awaiting, Caller, Channel, Preview, Question, Reply
from cams_mcp.facts import quoted_in, render
from cams_mcp.guard import words
from cams_mcp.guard.attempt import Attempt
from cams_mcp.guard.policy import Policy
from cams_mcp.guard.waiting import Held, Watch
from cams_mcp.store import Pending

PROGRESS_SECONDS = 5.0

logger = logging.getLogger(__name__)
T = TypeVar("T")


class PageDoor(Protocol):
    """The approval page. `cams_mcp.approval.page.ApprovalPage` implements it."""

    async def show(self) -> bool:
        """Show the person every waiting write. False if no browser could be started."""
        ...


class Doors:
    """The doors of one server.

    Args:
        policy: which of them the operator wants.
        watch: tells when a write is decided.
        page: the approval page; None if a person at this server has no browser.
        command: how to decide on a terminal; empty if no other process can see the store.
    """

    def __init__(self, policy: Policy, watch: Watch, page: PageDoor | None, command: str) -> None:
        self._policy = policy
        self._watch = watch
        self._page = page
        self._command = command

    def first(self, caller: Caller) -> Channel:
        """Where a write of this caller waits."""
        confirm = self._policy.confirm
        if confirm in ("off", "token"):
            return confirm
        if caller.ask is not None and caller.ask_channel == "terminal":
            return "terminal"
        if confirm in ("auto", "person") and (caller.ask is not None or caller.round_trips):
            return "elicitation"
        if confirm != "card" and self._page is not None:
            return "page"
        if confirm != "page" and self._shows_card(caller):
            return "card"
        return "token" if confirm == "auto" else "approve"

    def after(self, door: Channel, caller: Caller) -> Channel | None:
        """The next door of a person, if `door` does not open. Never a token: the write waits for a person already."""
        if door == "elicitation" and self._page is not None:
            return "page"
        if door in ("elicitation", "page") and self._shows_card(caller):
            return "card"
        return "approve" if self._command else None

    def _shows_card(self, caller: Caller) -> bool:
        return self._policy.cards and caller.cards

    async def wait(self, attempt: Attempt, pending: Pending, door: Channel, held: Held | None) -> tuple[Channel, bool]:
        """Open a door and wait there. Returns the door that opened, and whether the write was decided in time."""
        if door == "page":
            if await self._open_page(pending):
                return door, await self._wait_for_decision(attempt, pending, held)
            logger.warning("no browser shows the approval page; the write %s waits at the next door", pending.id)
            door = self.after(door, attempt.caller) or "approve"
        # The person learns from the result that something waits, so there is nothing to wait for yet.
        return door, False

    async def _open_page(self, pending: Pending) -> bool:
        """Whether a browser shows the page. A decision at another door ends the wait for the browser."""
        assert self._page is not None
        opened = True

        async def until_decided() -> None:
            await self._watch.decided(pending.binding)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            with self._watch.until_stopped(group.cancel_scope):
                group.start_soon(until_decided)
                opened = await _opens(self._page)
                group.cancel_scope.cancel()
        return opened

    async def _wait_for_decision(self, attempt: Attempt, pending: Pending, held: Held | None) -> bool:
        async def until_decided() -> bool:
            if held is not None:
                await held.done.wait()
            else:
                await self._watch.decided(pending.binding)
            return True

        async def until_decided_with_progress() -> bool:
            async with anyio.create_task_group() as group:
                group.start_soon(self._report_waiting, attempt.caller, pending)
                await until_decided()
                group.cancel_scope.cancel()
            return True

        return await self.within_wait(until_decided_with_progress) or False

    async def _report_waiting(self, caller: Caller, pending: Pending) -> None:
        """Report progress periodically so that the client does not time out while the person decides."""
        while caller.report is not None:
            await caller.report(0, 0, f"Waiting for a person to decide on the approval page (id {pending.id})")
            await anyio.sleep(PROGRESS_SECONDS)

    async def within_wait(self, wait: Callable[[], Awaitable[T]]) -> T | None:
        """Await `wait()`, but no longer than a call may wait, and not while the server shuts down."""
        with anyio.move_on_after(self._policy.wait_seconds) as limit, self._watch.until_stopped(limit):
            return await wait()
        return None

    async def ask(self, attempt: Attempt, pending: Pending, door: Channel) -> Reply | None:
        """Ask during the call. None if the write was decided at another door before the reply."""
        ask = attempt.caller.ask
        assert ask is not None
        question = self.question(attempt, pending, "", door=door)
        outcome: list[Reply | BaseException] = []
        decided = False

        async def until_decided() -> None:
            nonlocal decided
            await self._watch.decided(pending.binding)
            decided = True
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(until_decided)
            try:
                with anyio.move_on_after(self._policy.ask_seconds) as limit:
                    outcome.append(await ask(question))
                if limit.cancelled_caught:
                    outcome.append(Reply("timeout"))
            except BaseException as error:  # noqa: BLE001 - raised below, since the group would wrap it
                outcome.append(error)
            group.cancel_scope.cancel()
        reply = outcome[0] if outcome else None
        if isinstance(reply, BaseException):
            if decided and isinstance(reply, anyio.get_cancelled_exc_class()):
                return None
            raise reply
        return reply

    def question(self, attempt: Attempt, pending: Pending, state: str, *, door: Channel = "elicitation") -> Question:
        language = self._policy.language
        described = attempt.write.effect.description(pending.facts, language)
        lines = [render(described)]
        if door == "elicitation":
            client = quoted_in(language, attempt.caller.client) if attempt.caller.client else words.CLIENT[language]
            lines.append(words.ELICITATION[language].format(client=client))
        return Question("\n".join(lines), state, described.tick, words.BOX[language])

    def preview(self, attempt: Attempt, pending: Pending, token: str) -> Preview:
        language = self._policy.language
        lines = [render(attempt.write.effect.description(pending.facts, language)), words.TOKEN[language]]
        if self._command:
            lines.append(words.TERMINAL[language].format(command=f"{self._command} {pending.id}"))
        return Preview("\n".join(lines), token)

    def awaiting(self, attempt: Attempt, pending: Pending, door: Channel, *, is_held: bool) -> Awaiting:
        described = attempt.write.effect.description(pending.facts, self._policy.language)
        command = f"{self._command} {pending.id}" if self._command else ""
        tried_page = door != "page" and self._page is not None
        return Awaiting(pending.id, described.question, door, command, is_held, pending.expires, tried_page)


async def _opens(page: PageDoor) -> bool:
    try:
        return await page.show()
    except Exception:
        # The other doors are still there.
        logger.exception("failed to open the approval page")
        return False
