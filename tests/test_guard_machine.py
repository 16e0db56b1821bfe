"""Chance against the guard: many callers, processes, restarts, clock jumps, replays, tampered and swapped tokens.

The sandbox's own record says what arrived; a model of a few lines says what may arrive.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from support import AUDIENCE, TARGET, client_of, examples, people, writes_that_arrived

from cams_mcp.api.credentials import AccessKey, ExplicitKey
from cams_mcp.confirmation import Answered, Caller, Preview, Question, Reply
from cams_mcp.errors import CamsMcpError
from cams_mcp.guard.guard import APPROVAL_SECONDS, Guard
from cams_mcp.guard.policy import Policy
from cams_mcp.models import Response
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER, AddCustomAudienceUserRequest
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, SandboxTransport
from cams_mcp.store import BaseStore, Store

pytestmark = pytest.mark.slow

ASK_SECONDS = Policy().ask_seconds
LISTS = [people(3), people(3)[::-1], people(4), people(3, start=100), [*people(2), {"phone": "+12025550123"}]]
REQUESTS = [
    ADD_CUSTOM_AUDIENCE_USER.request.model_validate(TARGET | {"users": users, "custom_audience_id": audience})
    for users in LISTS
    for audience in (AUDIENCE, "6000019000001")
]
PRINCIPALS = ("local", "alice", "bob")
PROCESSES = (0, 1)
YES = Reply("accept", {"confirm": True})
NO = (
    Reply("decline"),
    Reply("cancel"),
    Reply("accept", {}),
    Reply("accept", {"confirm": "yes"}),
    Reply("failed"),
    None,
)

requests = st.sampled_from(range(len(REQUESTS)))
principals = st.sampled_from(PRINCIPALS)
processes = st.sampled_from(PROCESSES)


class ProcessDied(BaseException):
    """In place of kill -9: nothing after it runs in the process that dies. (test_crashes.py kills real ones.)"""


class Fragile(SandboxTransport):
    """Fails on request, before or after the sandbox executes a write."""

    fault: str = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.headers["x-acs-action"] != "AddCustomAudienceUser" or not self.fault:
            return await super().handle_async_request(request)
        fault, self.fault = self.fault, ""
        if fault == "unreachable":
            raise httpx.ConnectError("no route")
        response = await super().handle_async_request(request)
        if fault == "reset":
            raise httpx.ReadError("reset")
        return httpx.Response(200, content=response.content[:20])


@dataclass
class Given:
    """An approval as the model knows it."""

    token: str
    channel: str
    request: int
    principal: str
    key: int
    issued: float
    lists_sent: int
    open: bool = True

    def is_fresh(self, now: float) -> bool:
        """A preview is good for ten minutes, a question as long as it may stay unanswered."""
        return self.issued <= now < self.issued + (APPROVAL_SECONDS if self.channel == "token" else ASK_SECONDS)


class GuardMachine(RuleBasedStateMachine):
    tokens = Bundle("tokens")

    @initialize()
    def start(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.clock = 1_800_000_000.0
        self.keys = [SANDBOX_KEY, AccessKey("other-id", SANDBOX_KEY.secret)]
        self.sandboxes = [Sandbox(key=key) for key in self.keys]
        self.transports = [Fragile(sandbox) for sandbox in self.sandboxes]
        self.stores: list[BaseStore] = [self.open_store() for _ in PROCESSES]
        self.given: list[Given] = []
        self.sent: list[tuple[int, int]] = []
        """(key, request) of every write the model says has arrived."""
        self.entered: dict[Any, int] = {}
        """How often each list entered the ledger without being refused, as far as approvals look at it."""

    def teardown(self) -> None:
        for store in getattr(self, "stores", []):
            store.close()
        shutil.rmtree(getattr(self, "directory", "/nonexistent"), ignore_errors=True)

    def open_store(self) -> BaseStore:
        return Store(self.directory, now=lambda: self.clock)

    def submit(
        self,
        process: int,
        key: int,
        request: int,
        caller: Caller,
        transport: SandboxTransport | None = None,
        **how: Any,
    ) -> Any:
        """One call to one process; gives what it returned or raised."""

        async def run() -> Any:
            credentials = ExplicitKey(self.keys[key])
            transport_ = transport or self.transports[key]
            async with client_of(self.sandboxes[key], credentials=credentials, transport=transport_) as service:
                guard = Guard(service, self.stores[process])
                return await guard.submit(ADD_CUSTOM_AUDIENCE_USER, REQUESTS[request], caller, **how)

        try:
            return anyio.run(run)
        except CamsMcpError as error:
            return error

    def list_of(self, request: int) -> tuple[str, int]:
        model: AddCustomAudienceUserRequest = REQUESTS[request]
        return model.custom_audience_id, model.contents()

    def arrived(self, key: int, request: int, outcome: Any) -> None:
        """The model: this write was allowed out. Whether it reached the sandbox, its record says below."""
        if isinstance(outcome, Response) or len(writes_that_arrived(self.sandboxes[key])) > sum(
            1 for sent_key, _ in self.sent if sent_key == key
        ):
            self.sent.append((key, request))
        if isinstance(outcome, Response) or "may have been applied" in str(outcome):
            self.entered[self.list_of(request)] = self.entered.get(self.list_of(request), 0) + 1

    @rule(target=tokens, process=processes, key=processes, request=requests, principal=principals, two=st.booleans())
    def ask(self, process: int, key: int, request: int, principal: str, *, two: bool) -> Given:
        caller = Caller(principal=principal, round_trips=not two)
        outcome = self.submit(process, key, request, caller)
        assert isinstance(outcome, Preview if two else Question)
        token = outcome.token if isinstance(outcome, Preview) else outcome.state
        self.forget_what_expired()
        sent = self.entered.get(self.list_of(request), 0)
        given = Given(token, "token" if two else "elicitation", request, principal, key, self.clock, sent)
        self.given.append(given)
        return given

    def forget_what_expired(self) -> None:
        """An approval that was once seen expired stays so, whatever the clock does afterwards."""
        for given in self.given:
            given.open = given.open and given.is_fresh(self.clock)

    @rule(
        given=tokens,
        process=processes,
        tamper=st.sampled_from([*["nothing"] * 6, "key", "request", "principal", "way", "reply"]),
        other=st.integers(1, 100),
        fault=st.sampled_from(["", "", "", "unreachable", "reset", "cut"]),
    )
    def confirm(self, given: Given, process: int, tamper: str, other: int, fault: str) -> None:
        """Spend an approval: perhaps again, late, by another, for another request, from another process."""
        key, request, principal, way, reply = given.key, given.request, given.principal, given.channel, YES
        match tamper:
            case "key":
                key = 1 - key
            case "request":
                request = (request + other) % len(REQUESTS)
            case "principal":
                principal = PRINCIPALS[(PRINCIPALS.index(principal) + other) % len(PRINCIPALS)]
            case "way":
                way = "token" if way == "elicitation" else "elicitation"
            case "reply":
                reply = NO[other % len(NO)]
        caller = Caller(principal=principal, round_trips=way == "elicitation")
        how: dict[str, Any] = {"token": given.token} if way == "token" else {"answered": Answered(given.token, reply)}
        good = (
            given.open
            and way == given.channel
            and (way == "token" or reply is YES)
            and (key, request, principal) == (given.key, given.request, given.principal)
            and given.is_fresh(self.clock)
            and self.entered.get(self.list_of(request), 0) == given.lists_sent
        )
        given.open = False
        self.transports[key].fault = fault
        before = len(writes_that_arrived(self.sandboxes[key]))
        outcome = self.submit(process, key, request, caller, **how)
        self.transports[key].fault = ""
        after = len(writes_that_arrived(self.sandboxes[key]))
        if good:
            # "unreachable" is tried again: the write was certainly not executed.
            assert after == before + 1
            assert isinstance(outcome, Response) == (fault in ("", "unreachable"))
            self.arrived(key, request, outcome)
        else:
            assert after == before
            # A client that calls back without an answer is asked again.
            asked_again = way == "elicitation" and reply is None and isinstance(outcome, Question)
            assert asked_again or "Nothing was sent" in str(outcome)

    @rule(given=tokens)
    def spend_at_once(self, given: Given) -> None:
        """Two processes race to spend one approval."""
        answered = Answered(given.token, YES)
        how: dict[str, Any] = {"token": given.token} if given.channel == "token" else {"answered": answered}
        before = len(writes_that_arrived(self.sandboxes[given.key]))
        caller = Caller(principal=given.principal, round_trips=True)
        outcomes: list[Any] = []

        async def one(guard: Guard) -> None:
            try:
                outcomes.append(await guard.submit(ADD_CUSTOM_AUDIENCE_USER, REQUESTS[given.request], caller, **how))
            except CamsMcpError as error:
                outcomes.append(error)

        async def run() -> None:
            async with (
                client_of(self.sandboxes[given.key], credentials=ExplicitKey(self.keys[given.key])) as service,
                anyio.create_task_group() as group,
            ):
                for store in self.stores:
                    group.start_soon(one, Guard(service, store))

        anyio.run(run)
        given.open = False
        won = [outcome for outcome in outcomes if isinstance(outcome, Response)]
        assert len(won) <= 1
        assert len(writes_that_arrived(self.sandboxes[given.key])) == before + len(won)
        for outcome in won:
            self.arrived(given.key, given.request, outcome)

    @rule(process=processes, key=processes, request=requests, reply=st.just(YES) | st.sampled_from(NO))
    def ask_and_answer(self, process: int, key: int, request: int, reply: Reply | None) -> None:
        async def answer(text: str) -> Reply:
            return reply or Reply("ended")

        before = len(writes_that_arrived(self.sandboxes[key]))
        outcome = self.submit(process, key, request, Caller(ask=answer))
        self.forget_what_expired()
        assert len(writes_that_arrived(self.sandboxes[key])) == before + (reply is YES)
        assert isinstance(outcome, Response) == (reply is YES)
        if reply is YES:
            self.arrived(key, request, outcome)

    @rule(process=processes, key=processes, request=requests, moment=st.sampled_from(["asked", "sending", "sent"]))
    def die(self, process: int, key: int, request: int, moment: str) -> None:
        """A process dies: while the person thinks, or before or after the sandbox has executed the write."""
        sandbox = self.sandboxes[key]

        class Dying(SandboxTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.headers["x-acs-action"] != "AddCustomAudienceUser":
                    return await super().handle_async_request(request)
                if moment == "sent":
                    await super().handle_async_request(request)
                raise ProcessDied

        async def answer(text: str) -> Reply:
            if moment == "asked":
                raise ProcessDied
            return YES

        with pytest.raises(ProcessDied):
            self.submit(process, key, request, Caller(ask=answer), transport=Dying(sandbox))
        self.restart(process)
        self.forget_what_expired()
        if moment == "sent":
            self.sent.append((key, request))
        if moment != "asked":
            self.entered[self.list_of(request)] = self.entered.get(self.list_of(request), 0) + 1

    @rule(process=processes)
    def restart(self, process: int) -> None:
        self.stores[process].close()
        self.stores[process] = self.open_store()

    @rule(seconds=st.sampled_from([1.0, 30.0, 119.0, 120.0, 599.0, 600.0, 90_000.0, -1.0, -600.0, -90_000.0]))
    def jump(self, seconds: float) -> None:
        self.clock += seconds

    @invariant()
    def everything_that_arrived_was_approved_once_and_is_recorded(self) -> None:
        if not hasattr(self, "sandboxes"):
            return
        for key, sandbox in enumerate(self.sandboxes):
            expected = [dict(REQUESTS[request].parameters()) for sent_key, request in self.sent if sent_key == key]
            assert [dict(call.parameters) for call in writes_that_arrived(sandbox)] == expected
        trail = self.stores[0].audit()
        approved = [entry["id"] for entry in trail if entry["event"] == "approved"]
        ended = [entry for entry in trail if entry["event"] in ("sent", "failed", "unknown")]
        assert len(approved) >= len(self.sent)
        assert len(ended) <= len(approved)
        numbers = [tuple(map(int, str(entry["id"]).split("-"))) for entry in trail]
        assert numbers == sorted(set(numbers))


TestGuard = GuardMachine.TestCase
TestGuard.settings = settings(
    max_examples=examples(100),
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
