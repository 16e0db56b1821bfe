"""The guard: the only code that decides whether a write may be sent.

A write needs a person's approval. It waits in the store (`store.pending`) until a person decides at some door:

- mid-call (`Caller.ask`): the client's own question in the legacy era, or a terminal;
- by round trip (`Caller.round_trips`): the call returns a question, and the client calls again with the answer;
- on the server's page, on a card in the chat, or with `cams-mcp approve`: none of them passes through the assistant;
- in two steps: the call returns a preview and a token, and a second call with the same arguments and that token sends.

The first decision counts, at whatever door. `BaseStore.begin` then spends the approval and enters the write into the
ledger, in one step, before anything is sent. An approval is bound to the exact request, works once, and expires. No
matter which process dies at what point, no write is sent unapproved, unrecorded, or twice on one approval.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from anyio.abc import TaskGroup

from cams_mcp.confirmation import PERSONS, Answered, Awaiting, Caller, Channel, Preview, Question, Reply, why_not
from cams_mcp.errors import NotConfirmed
from cams_mcp.guard.attempt import Attempt, build_write
from cams_mcp.guard.delivery import Send, deliver
from cams_mcp.guard.doors import Doors, PageDoor
from cams_mcp.guard.limits import check_limits, refuse
from cams_mcp.guard.outcomes import in_flight, no_token, nobody_decided, other_upload, recorded
from cams_mcp.guard.policy import Policy, Service
from cams_mcp.guard.waiting import Held, HeldWrites, Watch
from cams_mcp.models import Response, Result
from cams_mcp.operation import AnyOperation, Writable
from cams_mcp.store import Asking, BaseStore, Pending, Standing
from cams_mcp.store.pending import was_declined
from cams_mcp.store.records import no_approval
from cams_mcp.threads import in_thread

APPROVAL_SECONDS = 600.0
"""How long a question lives from asking, sending included."""

Answer = Result | Question | Preview | Awaiting


class Guard:
    """Sends a write only under the rules above. Nothing else in this package sends writes.

    Args:
        service: sends the writes, and runs the question's look-ups.
        store: approvals, ledger and audit trail.
        policy: what the operator allows.
        watch: tells when a waiting write is decided.
        page: shows the approval page; None if a person at this server has no browser.
        command: how to list and decide what waits on a terminal; empty if no other process can see the store.
        group: runs tasks that outlive a call; None to run none.
    """

    def __init__(
        self,
        service: Service,
        store: BaseStore,
        policy: Policy | None = None,
        *,
        watch: Watch | None = None,
        page: PageDoor | None = None,
        command: str = "",
        group: TaskGroup | None = None,
    ) -> None:
        self._service = service
        self._store = store
        self._policy = policy or Policy()
        self.watch = watch or Watch(store)
        self.held = HeldWrites(self.watch, group)
        self._doors = Doors(self._policy, self.watch, page, command)

    async def submit(
        self,
        operation: AnyOperation,
        request: Writable,
        caller: Caller,
        *,
        token: str | None = None,
        answered: Answered | None = None,
        send: Send | None = None,
        standing: Standing | None = None,
    ) -> Answer:
        """Send the write if it is confirmed; otherwise return what is to be shown or waited for. Sends at most once.

        An identical call made while the write waits joins it, and one made after it was sent gets its outcome.

        Args:
            token: the confirmation token, in the second of two steps.
            answered: the reply, in the second round of a round trip.
            send: sends the write, during this call only. By default, the write is one call of `operation`, which this
                process also sends if it is approved after the call has returned.
            standing: the approval that the write already has, if it is the rest of an upload. It suffices unless it is
                too old, the outcome of a batch is unknown, or the same people have been sent since.

        Raises:
            NotConfirmed: a limit rejects the write; the user declined, dismissed or did not answer the question; or the
                answer or approval is malformed, expired or already used. Nothing was sent.
            StoreError: the write cannot be recorded. Nothing was sent.
            CamsError: the call failed. AmbiguousWrite if the write may have been applied.
        """

        async def one_call(binding: str, number: int, channel: Channel) -> Result:
            response: Response = await self._service.call(operation, request)
            return response

        write, size = await build_write(self._service, self._store, operation, request, caller)
        attempt = Attempt(request, caller, write, send or one_call, standing, size if send is None else None)
        door = self._doors.first(caller)
        await check_limits(self._store, self._policy, write, door, standing)
        if door == "off":
            return await self._send_unasked(attempt)
        replaces = None
        if answered is not None and door != "elicitation":
            await refuse(self._store, write, door, no_approval())
        elif answered is not None and answered.reply is not None:
            return await self._answered(attempt, answered.state, answered.reply)
        elif answered is not None:
            # SEP-2322 recommends asking again when a client calls back without an answer.
            replaces = answered.state
        if token is not None:
            if door != "token":
                await refuse(self._store, write, door, no_token())
            return await self._spend(attempt, "token", token)
        number = await self._resume(attempt)
        if number is not None:
            return await deliver(self._store, write, "resumed", number, attempt.send)
        return await self._ask(attempt, door, replaces)

    async def _resume(self, attempt: Attempt) -> int | None:
        """Enter the rest of an upload into the ledger under its existing approval; None if it needs a new one."""
        standing = attempt.standing
        # The journal does not know at which door the upload was approved: it may have been that of an assistant.
        if standing is None or standing.doubtful or self._policy.confirm in PERSONS:
            return None
        day = self._policy.per_day
        return await in_thread(lambda: self._store.resume(attempt.write, standing, per_day=day))

    async def _ask(self, attempt: Attempt, door: Channel, replaces: str | None) -> Answer:
        """Put the question, or join it if it is there, and go through the doors until somebody decides."""
        caller, write = attempt.caller, attempt.write
        secret = secrets.token_urlsafe(24) if door == "token" or (door == "elicitation" and caller.ask is None) else ""
        asking = Asking(
            seconds=max(APPROVAL_SECONDS, self._policy.ask_seconds + 60),
            token=secret,
            token_seconds=APPROVAL_SECONDS if door == "token" else self._policy.ask_seconds,
            replaces=replaces,
            in_call=attempt.size is None,
            by_hand=door == "terminal",
            hold_seconds=self._policy.hold_seconds,
            standing=attempt.standing,
        )
        pending = await in_thread(lambda: self._store.ask(write, door, asking))
        if pending is None:
            try:
                facts = await attempt.request.facts(self._service.call)
            except NotConfirmed as error:
                await refuse(self._store, write, door, error)
            with_facts = replace(asking, facts=facts)
            pending = await in_thread(lambda: self._store.ask(write, door, with_facts))
            assert pending is not None, "a question with facts is always put"
        if pending.state != "waiting":
            return await self._spend(attempt, door, None)
        if (door == "token" and pending.channel != "token") or (door == "card" and not pending.at_card):
            door = "approve"  # it waits at a better door already
        if caller.ask is not None and door == caller.ask_channel:
            return await self._ask_during_call(attempt, pending, door)
        return await self._at_door(attempt, pending, door, secret)

    async def _at_door(self, attempt: Attempt, pending: Pending, door: Channel, secret: str = "") -> Answer:
        held = None
        if attempt.size is not None:
            held = self.held.hold(pending.binding, attempt.size, partial(self._send_held, attempt))
        if door == "token":
            return self._doors.preview(attempt, pending, secret)
        if door == "elicitation":
            return self._doors.question(attempt, pending, secret)
        if held is not None:
            held.waiters += 1
        try:
            open_door, decided = await self._doors.wait(attempt, pending, door, held)
        finally:
            if held is not None:
                held.waiters -= 1
        return await self._after_waiting(attempt, pending, open_door, held, decided=decided)

    async def _after_waiting(
        self, attempt: Attempt, pending: Pending, door: Channel, held: Held | None, *, decided: bool
    ) -> Answer:
        if held is not None and held.error is not None:
            raise held.error
        if held is not None and held.result is not None:
            return held.result
        # Look again: a decision may have come in the last moment.
        current = await in_thread(lambda: self._store.reached(pending, door))
        if current is None or current.state == "declined":
            raise was_declined(current.expires) if current is not None else nobody_decided()
        if current.state == "waiting":
            return self._doors.awaiting(attempt, pending, door, is_held=held is not None)
        if not decided and held is not None:
            raise in_flight()
        return await self._spend(attempt, door, None)

    async def _ask_during_call(self, attempt: Attempt, pending: Pending, door: Channel) -> Answer:
        reply = await self._reply_or_decision(attempt, pending, door)
        if reply is None:
            return await self._spend(attempt, door, None)
        if reply.is_yes:
            by = attempt.caller.person
            await in_thread(lambda: self._store.decide(pending.id, approve=True, channel=door, by=by))
            self.watch.poke()
            return await self._spend(attempt, door, None)
        if reply.action == "failed" and (following := self._doors.after(door, attempt.caller)) is not None:
            return await self._at_door(attempt, pending, following)
        withdraw = partial(self._store.withdraw, attempt.write, by=attempt.caller.person, channel=door)
        return await self._not_a_yes(attempt, reply, withdraw)

    async def _reply_or_decision(self, attempt: Attempt, pending: Pending, door: Channel) -> Reply | None:
        """The reply to a question asked during the call; None if the write was decided at another door meanwhile."""
        try:
            return await self._doors.ask(attempt, pending, door)
        except BaseException:
            # The client disconnected or cancelled, so this question can no longer be answered.
            reason = "the call ended before the user answered"
            withdraw = partial(self._store.withdraw, attempt.write, reason, hold=False, channel=door)
            await in_thread(withdraw, shield=True)
            raise

    async def _answered(self, attempt: Attempt, state: str, reply: Reply) -> Answer:
        """The second round of a round trip."""
        current = await in_thread(lambda: self._store.pending_of(attempt.write.binding))
        if current is not None and current.state in ("approved", "spent"):
            return await self._spend(attempt, "elicitation", None)
        if reply.is_yes:
            return await self._spend(attempt, "elicitation", state)
        return await self._not_a_yes(attempt, reply, partial(self._store.decline, attempt.write, state))

    async def _not_a_yes(self, attempt: Attempt, reply: Reply, end: Callable[..., Pending | None]) -> Result:
        message, hint = why_not(reply, self._policy.ask_seconds)
        approved = await in_thread(lambda: end(message, hold=reply.action == "decline"), shield=True)
        if approved is not None:
            return await self._spend(attempt, approved.channel, None)
        self.watch.poke()
        raise NotConfirmed(f"Nothing was sent: {message}.", hint=hint)

    async def _send_held(self, attempt: Attempt, held: Held) -> Result:
        return await self._spend(attempt, "approve", None, is_reported=lambda: held.waiters > 0)

    async def _send_unasked(self, attempt: Attempt) -> Result:
        policy, write = self._policy, attempt.write
        number = await in_thread(
            lambda: self._store.begin_unasked(
                write, per_day=policy.per_day, hold_seconds=policy.hold_seconds, standing=attempt.standing
            )
        )
        return await deliver(self._store, write, "off", number, attempt.send)

    async def _spend(
        self, attempt: Attempt, channel: Channel, token: str | None, is_reported: Callable[[], bool] = lambda: True
    ) -> Result:
        """Spend the approval and send the write, or return the outcome if an identical call has spent it."""
        begun = await in_thread(
            lambda: self._store.begin(
                attempt.write, channel, token, per_day=self._policy.per_day, standing=attempt.standing
            )
        )
        if isinstance(begun, Pending):
            return await self._outcome(attempt, begun, is_reported)
        number, how = begun
        self.watch.poke()
        return await deliver(self._store, attempt.write, how, number, attempt.send, is_reported)

    async def _outcome(self, attempt: Attempt, pending: Pending, is_reported: Callable[[], bool]) -> Result:
        known = await self._doors.within_wait(lambda: self.watch.outcome(pending.binding)) or pending
        if known.outcome is None:
            raise in_flight()
        if known.outcome["outcome"] == "refused" and is_reported():
            # The caller now has the outcome, so the same call may ask again.
            await in_thread(lambda: self._store.forget(known))
        return recorded(known, attempt.write)

    async def check_same(self, operation: AnyOperation, request: Writable, caller: Caller, standing: Standing) -> None:
        """Raise NotConfirmed unless this is the write that was approved before the upload stopped."""
        write, _ = await build_write(self._service, self._store, operation, request, caller)
        if write.binding != standing.binding:
            await refuse(self._store, write, "resumed", other_upload())
