"""May this write go out? The one place that decides.

A write needs the person's yes. Three ways to get it, in this order of preference:

- ask mid-call (`Caller.ask`: legacy-era elicitation, or a terminal);
- ask by round trip (`Caller.round_trips`: the call returns a question, and the client calls again with the answer);
- two steps: the first call returns a preview and a token; a second call with the same arguments and that token sends.

Each way ends in `Store.begin`: it spends an approval bound to the exact request, good once, for ten minutes, and enters
the write into the ledger, in one step, before anything is sent. So whatever dies whenever, nothing goes out unapproved,
unrecorded, or twice on one approval.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import anyio

from cams_mcp.confirmation import Answered, Caller, Channel, Preview, Question, Reply
from cams_mcp.errors import AmbiguousWrite, CamsMcpError, NotConfirmed, StoreError
from cams_mcp.models import AnyOperation, Outcome, Response, Writable
from cams_mcp.policy import Policy, Service
from cams_mcp.store import BaseStore, Write
from cams_mcp.threads import in_thread, in_thread_patiently

APPROVAL_SECONDS = 600.0

logger = logging.getLogger(__name__)
T = TypeVar("T")
Send = Callable[[str, int], Awaitable[Response]]


class Guard:
    """Lets a write out only as the module says. Nothing else in this package sends writes.

    Args:
        service: where writes go, and where the question's look-ups are answered.
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
    ) -> Response | Question | Preview:
        """Send the write if it is confirmed; else return what to ask. Sends at most once.

        Args:
            send: sends it, given its digest and its number in the ledger; without it, it is one call of `operation`.
            token: the confirmation token of the second step, if the caller gave one.
            answered: the reply of a round trip, if this is its second round.

        Raises:
            NotConfirmed: a limit, declined, cancelled, timed out, malformed, replayed; nothing was sent.
            StoreError: the record cannot be kept; nothing was sent.
            CamsError: as for any call; AmbiguousWrite if it may have been applied.
        """
        write = await self._as_write(operation, request, caller)
        channel = self._channel(caller, token, answered)

        async def one_call(binding: str, number: int) -> Response:
            response: Response = await self._service.call(operation, request)
            return response

        send = send or one_call
        await self._check_limits(write, channel)
        if channel == "off":
            return await self._send(write, channel, None, send)
        if answered is not None:
            await self._check_reply(write, channel, answered.state, answered.reply)
            return await self._send(write, channel, answered.state, send)
        if token is not None:
            return await self._send(write, channel, token, send)
        lines = await request.described(self._service.call)
        seconds = max(APPROVAL_SECONDS, self._policy.ask_seconds + 60)
        approval = await in_thread(lambda: self._store.issue(write, channel, seconds))
        # After `issue`: what went out before it is told here, what goes out after it makes the approval void.
        earlier = await in_thread(lambda: self._store.earlier(write.list_digest, self._policy.hold_seconds))
        if earlier is not None:
            lines.insert(1, f"Careful: {earlier}")
        text = "\n".join(lines)
        if channel == "token":
            return Preview(text, approval)
        if caller.ask is None:
            return Question(text, approval)
        await self._check_reply(write, channel, approval, await self._ask(write, channel, approval, caller, text))
        return await self._send(write, channel, approval, send)

    async def _as_write(self, operation: AnyOperation, request: Writable, caller: Caller) -> Write:
        identity = await self._service.identity()
        contents = request.contents()

        def build() -> Write:
            exactly = self._store.digest(caller.principal, identity, operation.action, request.parameters())
            same_list = self._store.digest(operation.action, request.audience, contents) if contents else ""
            return Write(
                operation=operation.action,
                principal=caller.principal,
                client=caller.client,
                binding=exactly,
                list_digest=same_list,
                audience=request.audience,
                target=request.target(),
                counts=request.counts(),
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

    async def _check_limits(self, write: Write, channel: Channel) -> None:
        """Refuse what the operator does not allow, before anybody is asked."""
        policy = self._policy
        await self._check_audience(write, channel)
        if policy.users_per_call is not None and write.users > policy.users_per_call:
            most = f"this server sends at most {policy.users_per_call:,} users in a call (--max-users-per-call)."
            await self._refuse(write, channel, f"Nothing was sent: {most}", "No argument can lift this.")
        try:
            await in_thread(lambda: self._store.check_limit(write, policy.users_per_day))
        except NotConfirmed as error:
            await self._refuse(write, channel, error.message, error.hint)

    async def _check_audience(self, write: Write, channel: Channel) -> None:
        if self._policy.audiences and write.audience not in self._policy.audiences:
            problem = "this server may not write to this audience; the operator allows some with --allow-audience."
            await self._refuse(write, channel, f"Nothing was sent: {problem}", "No argument can lift this.")

    async def _refuse(self, write: Write, channel: Channel, message: str, hint: str | None) -> NoReturn:
        await in_thread(lambda: self._store.record("blocked", write, channel, message))
        raise NotConfirmed(message, hint=hint)

    async def _ask(self, write: Write, channel: Channel, approval: str, caller: Caller, text: str) -> Reply:
        assert caller.ask is not None
        reply = Reply("ended")
        try:
            with anyio.move_on_after(self._policy.ask_seconds) as limit:
                reply = await caller.ask(text)
            return Reply("timeout") if limit.cancelled_caught else reply
        except BaseException:
            # The client went away or called off; nobody can say yes any more.
            await self._decline(write, channel, approval, "the call ended before an answer came")
            raise

    async def _check_reply(self, write: Write, channel: Channel, approval: str, reply: Reply | None) -> None:
        """Raise NotConfirmed unless the reply is a yes."""
        if reply is not None and reply.is_yes:
            return
        message, hint = self._why_not(reply)
        await self._decline(write, channel, approval, message)
        raise NotConfirmed(f"Nothing was sent: {message}.", hint=hint)

    def _why_not(self, reply: Reply | None) -> tuple[str, str]:
        unseen = (
            "If no question was shown at all, the client cannot show questions: the operator can start cams-mcp with "
            "--confirm token to confirm in two steps."
        )
        match reply.action if reply else "":
            case "decline":
                return "the user declined", f"Do not try again unless the user asks for it. {unseen}"
            case "cancel":
                return "the user dismissed the question", f"Do not try again unless the user asks for it. {unseen}"
            case "timeout":
                waited = f"the question was not answered within {self._policy.ask_seconds:g} s"
                return waited, f"Ask the user whether to call again. {unseen}"
            case "failed":
                return "the client could not put the question to the user", unseen
            case _:
                why = "the answer was not a yes (the box was not ticked, or the answer was malformed)"
                return why, f"Ask the user; call again if they want it. {unseen}"

    async def _decline(self, write: Write, channel: Channel, approval: str, reason: str) -> None:
        await in_thread(lambda: self._store.decline(write, channel, approval, reason), shield=True)

    async def resume(self, write: Write, number: int, send: Send, *, counted: bool) -> Response:
        """Go on with a write that was confirmed as a whole and has not been sent as a whole.

        Args:
            write: as `check_same` gave it.
            number: its number in the ledger.
            counted: whether some of it was sent, so that it counts in the day's limit already.

        Raises:
            NotConfirmed: over the day's limit.
        """
        day = self._policy.users_per_day
        await in_thread(lambda: self._store.resume(number, write, counted=counted, users_per_day=day))
        return await self._run(write, "resumed", number, send)

    async def settle(self, write: Write, number: int, response: Response) -> None:
        """Enter how a write ended after all, when another one went on with it."""
        outcome = response.outcome
        await in_thread_patiently(
            lambda: self._store.finish(number, write, "resumed", outcome, response.request_id, None)
        )

    async def check_same(self, operation: AnyOperation, request: Writable, caller: Caller, binding: str) -> Write:
        """The write, as the store knows it, if it is the one with this digest and its audience is allowed still.

        Raises:
            NotConfirmed: another write, or the operator does not allow this audience any more.
        """
        write = await self._as_write(operation, request, caller)
        await self._check_audience(write, "resumed")
        if write.binding != binding:
            raise NotConfirmed(
                "Nothing more was sent: this is not the upload that was confirmed (the file changed, or it is another "
                "caller, endpoint or access key).",
                hint="Start a new upload.",
            )
        return write

    async def _send(self, write: Write, channel: Channel, approval: str | None, send: Send) -> Response:
        policy = self._policy
        number = await in_thread(
            lambda: self._store.begin(
                write,
                channel,
                approval,
                users_per_day=policy.users_per_day,
                hold_seconds=policy.hold_seconds,
            )
        )
        return await self._run(write, channel, number, send)

    async def _run(self, write: Write, channel: Channel, number: int, send: Send) -> Response:
        """Send what is in the ledger as of unknown outcome, and enter how it ended."""
        outcome: Outcome = "unknown"
        request_id: str | None = None
        reason: str | None = "the call was cut off"
        try:
            response = await send(write.binding, number)
            outcome, request_id, reason = response.outcome, response.request_id, None
        except AmbiguousWrite as error:
            request_id, reason = error.request_id, "no clear answer"
            raise
        except CamsMcpError as error:
            outcome, reason = "refused", getattr(error, "code", None) or type(error).__name__
            request_id = getattr(error, "request_id", None)
            raise
        finally:
            try:
                await in_thread_patiently(
                    lambda: self._store.finish(number, write, channel, outcome, request_id, reason)
                )
            except StoreError:
                # The ledger keeps it as "unknown"; the caller hears what CAMS said.
                logger.exception("the outcome (%s) of write %d could not be recorded", outcome, number)
        return response
