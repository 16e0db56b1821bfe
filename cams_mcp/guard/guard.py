"""The guard: the only code that decides whether a write may be sent.

A write needs a person's approval. The guard gets it in one of three ways, in this order of preference:

- It asks mid-call (`Caller.ask`), by elicitation in the legacy era or on a terminal.
- It asks by round trip (`Caller.round_trips`): the call returns a question, and the client calls again with the answer.
- It takes two steps: the first call returns a preview and a token, and a second call with the same arguments and that
  token sends the write.

Each way ends in `Store.begin`, which spends the approval and enters the write into the ledger, in one step, before
anything is sent. An approval is bound to the exact request, works once, and expires (a token after ten minutes). No
matter which process dies at what point, no write is sent unapproved, unrecorded, or twice on one approval.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import anyio

from cams_mcp.confirmation import Answered, Caller, Channel, Preview, Question, Reply, why_not
from cams_mcp.errors import NotConfirmed
from cams_mcp.guard.delivery import Send, deliver
from cams_mcp.guard.limits import limit_problem
from cams_mcp.guard.policy import Policy, Service
from cams_mcp.models import Response, Result
from cams_mcp.operation import AnyOperation, Writable, render
from cams_mcp.store import BaseStore, Standing, Write
from cams_mcp.threads import in_thread

APPROVAL_SECONDS = 600.0


class Guard:
    """Sends a write only under the rules above. Nothing else in this package sends writes.

    Args:
        service: sends the writes, and runs the question's look-ups.
        store: approvals, ledger and audit trail.
        policy: what the operator allows.
    """

    def __init__(self, service: Service, store: BaseStore, policy: Policy | None = None) -> None:
        self._service = service
        self._store = store
        self._policy = policy or Policy()

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
    ) -> Result | Question | Preview:
        """Send the write if it is confirmed; otherwise return the question or preview to show. Sends at most once.

        Args:
            token: the confirmation token, in the second of two steps.
            answered: the reply, in the second round of a round trip.
            send: sends the write. By default, the write is one call of `operation`.
            standing: the approval that the write already has, if it is the rest of an upload. It suffices unless it is
                too old, the outcome of a batch is unknown, or the same people have been sent since.

        Raises:
            NotConfirmed: a limit rejects the write; the user declined, dismissed or did not answer the question; or the
                answer or approval is malformed, expired or already used. Nothing was sent.
            StoreError: the write cannot be recorded. Nothing was sent.
            CamsError: the call failed. AmbiguousWrite if the write may have been applied.
        """
        write = await self._as_write(operation, request, caller)
        replaces = None
        if answered is not None and answered.reply is None:
            # SEP-2322 recommends asking again when a client calls back without an answer.
            replaces, answered = answered.state, None
        channel = self._channel(caller, token, answered)

        async def one_call(binding: str, number: int, channel: Channel) -> Result:
            response: Response = await self._service.call(operation, request)
            return response

        send = send or one_call
        await self._check_limits(write, channel, standing)
        approval: str | None = None
        if answered is not None and answered.reply is not None:
            await self._check_reply(write, channel, answered.state, answered.reply)
            approval = answered.state
        elif token is not None and channel == "token":
            approval = token
        elif channel != "off":
            number = await self._resume(write, standing)
            if number is not None:
                return await deliver(self._store, write, "resumed", number, send)
            question = await self._question(request, write, channel, caller, standing, replaces)
            if caller.ask is None or isinstance(question, Preview):
                return question
            approval = question.state
            await self._check_reply(write, channel, approval, await self._ask(write, channel, caller, question))
        return await self._send(write, channel, approval, send, standing)

    async def _resume(self, write: Write, standing: Standing | None) -> int | None:
        """Enter the rest of an upload into the ledger under its existing approval; None if it needs a new one."""
        if standing is None or standing.doubtful:
            return None
        day = self._policy.per_day
        return await in_thread(lambda: self._store.resume(write, standing, per_day=day))

    async def _question(
        self,
        request: Writable,
        write: Write,
        channel: Channel,
        caller: Caller,
        standing: Standing | None,
        replaces: str | None,
    ) -> Question | Preview:
        """The question or preview to show, with the approval that a yes will spend."""
        try:
            facts = await request.facts(self._service.call)
        except NotConfirmed as error:
            await self._refuse(write, channel, error)
        # Mid-call, `_ask` enforces the timeout, and the approval must outlast it. Otherwise, its expiry is the timeout.
        seconds = APPROVAL_SECONDS if channel == "token" else self._policy.ask_seconds + (60 if caller.ask else 0)
        approval = await in_thread(lambda: self._store.issue(write, channel, seconds, replaces=replaces))
        # Look after `issue`: the question names what was sent before it, and anything sent after it voids the approval.
        earlier = await in_thread(lambda: self._store.earlier(write, self._policy.hold_seconds, standing))
        if earlier is not None:
            facts = replace(facts, warnings=(earlier.sentence(write.effect), *facts.warnings))
        if channel == "token":
            return Preview(render(facts), approval)
        return Question(render(facts), approval, write.effect.tick)

    async def _as_write(self, operation: AnyOperation, request: Writable, caller: Caller) -> Write:
        identity = await self._service.identity()
        effect = operation.effect
        assert effect is not None, f"{operation.action} does not write"
        target = request.target()
        target_id = target[effect.target_argument]
        part, whole = request.contents(), request.part_of()

        def build() -> Write:
            exactly = self._store.digest(caller.principal, identity, operation.action, request.parameters())
            part_digest, whole_digest = (
                self._store.digest(operation.action, target_id, contents) if contents else ""
                for contents in (part, whole)
            )
            return Write(
                operation=operation.action,
                principal=caller.principal,
                client=caller.client,
                binding=exactly,
                list_digest=whole_digest or part_digest,
                part_digest=part_digest if whole_digest else "",
                target=target,
                counts=request.counts(),
                effect=effect,
            )

        return await in_thread(build)

    def _channel(self, caller: Caller, token: str | None, answered: Answered | None) -> Channel:
        if self._policy.confirm == "off":
            return "off"
        if answered is not None:
            return "elicitation"
        if token is None and self._policy.confirm == "auto":
            if caller.ask is not None:
                return caller.ask_channel
            if caller.round_trips:
                return "elicitation"
        return "token"

    async def _check_limits(self, write: Write, channel: Channel, standing: Standing | None) -> None:
        """Reject a write that the operator does not allow, before anyone is asked."""
        problem = limit_problem(write, self._policy, channel, standing)
        if problem is not None:
            await self._refuse(write, channel, problem)
        try:
            await in_thread(lambda: self._store.check_limit(write, self._policy.per_day, standing))
        except NotConfirmed as error:
            await self._refuse(write, channel, error)

    async def _refuse(self, write: Write, channel: Channel, problem: NotConfirmed) -> NoReturn:
        await in_thread(lambda: self._store.record("blocked", write, channel, problem.message))
        raise problem

    async def _ask(self, write: Write, channel: Channel, caller: Caller, question: Question) -> Reply:
        assert caller.ask is not None
        reply = Reply("ended")
        try:
            with anyio.move_on_after(self._policy.ask_seconds) as limit:
                reply = await caller.ask(question)
            return Reply("timeout") if limit.cancelled_caught else reply
        except BaseException:
            # The client disconnected or cancelled, so the approval can no longer be granted.
            await self._decline(write, channel, question.state, "the call ended before the user answered")
            raise

    async def _check_reply(self, write: Write, channel: Channel, approval: str, reply: Reply) -> None:
        """Raise NotConfirmed unless the reply is a yes."""
        if reply.is_yes:
            return
        message, hint = why_not(reply, self._policy.ask_seconds)
        await self._decline(write, channel, approval, message)
        raise NotConfirmed(f"Nothing was sent: {message}.", hint=hint)

    async def _decline(self, write: Write, channel: Channel, approval: str, reason: str) -> None:
        await in_thread(lambda: self._store.decline(write, channel, approval, reason), shield=True)

    async def check_same(self, operation: AnyOperation, request: Writable, caller: Caller, standing: Standing) -> None:
        """Raise NotConfirmed unless this is the write that was approved before the upload stopped."""
        write = await self._as_write(operation, request, caller)
        if write.binding != standing.binding:
            problem = NotConfirmed(
                "Nothing more was sent: this is not the upload that was approved. The file, the arguments, the caller, "
                "the endpoint or the access key changed.",
                hint="Start a new upload.",
            )
            await self._refuse(write, "resumed", problem)

    async def _send(
        self, write: Write, channel: Channel, approval: str | None, send: Send, standing: Standing | None
    ) -> Result:
        policy = self._policy
        number = await in_thread(
            lambda: self._store.begin(
                write,
                channel,
                approval,
                per_day=policy.per_day,
                hold_seconds=policy.hold_seconds,
                standing=standing,
            )
        )
        return await deliver(self._store, write, channel, number, send)
