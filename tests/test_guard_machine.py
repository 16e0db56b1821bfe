"""Chance against the guard: every door, many callers, two servers, deaths, clock jumps, replays, tampered secrets.

The sandbox's own record says what arrived; a model of a few lines says what may arrive (support_guard_machine.py).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from support import examples
from support_guard_machine import (
    FAULTS,
    KEYS,
    POLICIES,
    PRINCIPALS,
    REQUESTS,
    Asked,
    Model,
    ProcessDied,
    What,
    World,
)

from cams_mcp.approval.card import DECIDE, card_key, proof
from cams_mcp.confirmation import Answered, Awaiting, Caller, Preview, Question, Reply
from cams_mcp.errors import AmbiguousWrite, CamsMcpError, NotConfirmed, NotNow, Recorded
from cams_mcp.guard import waiting
from cams_mcp.models import Result
from cams_mcp.tools.result import ToolResult

pytestmark = pytest.mark.slow

YES = Reply("accept", {"confirm": True})
NO = (
    Reply("decline"),
    Reply("cancel"),
    Reply("accept", {}),
    Reply("accept", {"confirm": "yes"}),
    Reply("failed"),
    None,
)
KINDS = ("nothing", "trips", "cards")
"""What the client of a call can do."""

processes = st.sampled_from(range(len(POLICIES)))
whats = st.tuples(st.sampled_from(range(len(KEYS))), st.sampled_from(range(len(REQUESTS))), st.sampled_from(PRINCIPALS))
kinds = st.sampled_from(KINDS)
earlier = st.sampled_from([0, 0, 0, 1, 2])
faults = st.sampled_from(["", "", "", *FAULTS])


def caller_of(what: What, kind: str) -> Caller:
    return Caller(principal=what[2], client="tester 1.0", round_trips=kind == "trips", cards=kind == "cards")


class GuardMachine(RuleBasedStateMachine):
    secrets = Bundle("secrets")
    """(secret, channel, write) of every preview and every question; made up where a call returned none."""
    asked = Bundle("asked")
    """Writes that were asked about. Their ids are in `ids`: what is drawn must not depend on who wins a race."""

    @initialize()
    def start(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(waiting, "POLL_SECONDS", 0.005)
        self.world = World()
        self.model = Model(self.world)
        self.ids: dict[What, list[str]] = {}

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.end()
            self.patch.undo()

    # What a call comes to

    def door(self, process: int, kind: str) -> str:
        """The first door of a call that opens."""
        if kind == "trips":
            return "elicitation"
        if process == 1 and self.world.processes[1].opens:
            return "page"
        if kind == "cards":
            return "card"
        return "token" if process == 0 else "approve"

    def first_door(self, process: int, kind: str) -> str:
        """The same, whether it opens or not."""
        return "page" if process == 1 and kind != "trips" else self.door(process, kind)

    def send(self, what: What, fault: str, outcome: Any, **spending: Any) -> None:
        """A call came to sending."""
        if isinstance(outcome, NotNow):
            assert self.model.questions[what].holders
            return  # a server that holds the list was faster
        expected = self.model.spend(what, fault, **spending)
        if expected == "outcome":
            expected = self.model.tell(what)
            assert isinstance(outcome, Recorded if expected == "refused" else Result | AmbiguousWrite)
            return
        kinds_of = {
            "nothing": NotConfirmed,
            "dies": ProcessDied,
            "sent": Result,
            "unknown": AmbiguousWrite,
            "refused": CamsMcpError,
        }
        assert isinstance(outcome, kinds_of[expected]), (expected, outcome)
        assert expected != "nothing" or "Nothing was sent" in str(outcome)

    def settle(self, fault: str = "") -> None:
        """Let the servers send what they may."""
        self.model.rest(fault, self.world.settle())
        self.world.fault = ""

    # Calls

    @rule(target=asked, process=processes, what=whats, kind=kinds, opens=st.booleans(), fault=faults)
    def call(self, process: int, what: What, kind: str, fault: str, *, opens: bool) -> What:
        """A call without anything: it puts or joins a question, or sends what was approved. Its secret is lost."""
        self.do_call(process, what, kind, fault, opens=opens)
        return what

    @rule(target=secrets, process=processes, what=whats, kind=st.sampled_from(["nothing", "trips"]))
    def get_secret(self, process: int, what: What, kind: str) -> Any:
        """The same, for the token of a preview, or the state of a question."""
        return self.do_call(process, what, kind, "", opens=True)

    def do_call(
        self, process: int, what: What, kind: str, fault: str, *, opens: bool, **how: Any
    ) -> tuple[str, str, What]:
        self.world.processes[process].opens = opens
        self.world.fault = fault
        outcome = self.world.processes[process].submit(what, caller_of(what, kind), **how)
        replaces = how["answered"].state if "answered" in how else ""
        asked = self.model.ask(what, self.first_door(process, kind), replaces=replaces)
        secret = self.check_call(process, what, kind, fault, outcome, asked)
        if (found := self.world.find(what)) is not None:
            self.ids.setdefault(what, []).append(found.id)
        self.settle(fault)
        return secret or "made up", "elicitation" if kind == "trips" else "token", what

    def check_call(self, process: int, what: What, kind: str, fault: str, outcome: Any, asked: Asked | str) -> str:
        """Compare what a call returned with the model; gives the secret that it returned."""
        match asked:
            case Asked():
                asked.holders.add(process)
                return self.check_question(asked, process, kind, outcome)
            case "declined":
                assert "declined this write" in str(outcome)
            case "full":
                assert "5 writes are already waiting" in str(outcome)
            case _:
                self.send(what, fault, outcome)
        return ""

    def check_question(self, asked: Asked, process: int, kind: str, outcome: Any) -> str:
        door = self.door(process, kind)
        if door == "token" and asked.door != "token":
            door = "approve"  # a person has been asked already
        if door == "card" and self.first_door(process, kind) == "card" and not asked.at_card:
            door = "approve"  # it waits at a better door
        asked.at_card = asked.at_card or door == "card"
        if door not in ("token", "elicitation"):
            assert isinstance(outcome, Awaiting)
            assert outcome.door == door
            return ""
        assert isinstance(outcome, Preview if door == "token" else Question), outcome
        secret = outcome.token if isinstance(outcome, Preview) else outcome.state
        self.model.add_secret(asked, secret, door)
        return secret

    @rule(target=asked, process=processes, principal=st.sampled_from(PRINCIPALS))
    def call_with_everything(self, process: int, principal: str) -> Any:
        """More lists than may wait at a time, some of them in two orders."""
        whats = [(0, request, principal) for request in range(len(REQUESTS))]
        for what in whats:
            self.do_call(process, what, "nothing", "", opens=True)
        return multiple(*whats)

    @rule(
        given=secrets,
        process=processes,
        tamper=st.sampled_from([*["nothing"] * 6, "key", "request", "principal", "way", "reply"]),
        other=st.integers(1, 100),
        fault=faults,
    )
    def come_back(self, given: Any, process: int, tamper: str, other: int, fault: str) -> None:
        """Call with a secret: perhaps again, late, by another, for another request, to another server."""
        secret, way, what = given
        what = self.another(what, tamper, other)
        reply = NO[other % len(NO)] if tamper == "reply" else YES
        if tamper == "way":
            way = "token" if way == "elicitation" else "elicitation"
        if way == "elicitation" and reply is None:
            # A client that calls back without an answer is asked again.
            self.do_call(process, what, "trips", fault, opens=True, answered=Answered(secret, None))
            return
        caller = caller_of(what, "trips" if way == "elicitation" else "nothing")
        how: dict[str, Any] = {"token": secret} if way == "token" else {"answered": Answered(secret, reply)}
        self.world.fault = fault
        outcome = self.world.processes[process].submit(what, caller, **how)
        q = self.model.questions.get(what)
        if way == "token" and process == 1:
            assert "no confirmation_token is accepted" in str(outcome)
        elif way == "elicitation" and q is not None and q.state in ("approved", "spent"):
            self.send(what, fault, outcome)
        elif way == "token" or reply is YES:
            self.send(what, fault, outcome, secret=secret, channel=way)
        else:
            assert "Nothing was sent" in str(outcome)
            self.say_no(self.model.holder(secret), reply, "elicitation")
        self.settle(fault)

    def another(self, what: What, part: str, other: int) -> What:
        """The same write with another access key, request or principal."""
        key, request, principal = what
        if part == "key":
            return 1 - key, request, principal
        if part == "request":
            return key, (request + other) % len(REQUESTS), principal
        if part == "principal":
            return key, request, PRINCIPALS[(PRINCIPALS.index(principal) + other) % len(PRINCIPALS)]
        return what

    def say_no(self, q: Asked | None, reply: Reply | None, door: str) -> None:
        """The model: somebody answered a question, and not with a yes."""
        if reply is not None and reply.action == "decline":
            self.model.decide(q, yes=False)
        elif q is not None and q.state == "waiting" and not q.joined and q.door == door:
            self.model.end(q)

    @rule(given=secrets)
    def come_back_twice_at_once(self, given: Any) -> None:
        """Two servers race to spend one secret."""
        secret, way, what = given
        caller = caller_of(what, "trips" if way == "elicitation" else "nothing")
        how: dict[str, Any] = {"token": secret} if way == "token" else {"answered": Answered(secret, YES)}
        outcomes: list[Any] = []

        async def one(process: int) -> None:
            outcomes.append(await self.world.processes[process].submit_here(what, caller, how))

        async def race() -> None:
            async with anyio.create_task_group() as group:
                for process in range(len(POLICIES)):
                    group.start_soon(one, process)

        self.world.portal.call(race)
        if self.model.spend(what, "", secret=secret, channel=way) == "outcome":
            self.model.tell(what)
        self.settle()

    @rule(
        process=processes,
        what=whats,
        reply=st.just(YES) | st.sampled_from(NO),
        terminal=st.booleans(),
        elsewhere=st.sampled_from([None, None, True, False]),
        ends=st.sampled_from(["", "", "", "dies", "called off"]),
        fault=faults,
    )
    def call_that_asks(
        self,
        process: int,
        what: What,
        reply: Reply | None,
        fault: str,
        ends: str,
        *,
        terminal: bool,
        elsewhere: bool | None,
    ) -> None:
        """A question during the call, in the client or on a terminal, that may be decided elsewhere meanwhile."""
        world, server = self.world, self.world.processes[process]
        server.opens = True

        async def run() -> Any:
            async def ask(question: Question) -> Reply:
                if elsewhere is not None:
                    world.outside.decide(world.waiting()[binding].id, approve=elsewhere, channel="approve")
                if ends == "dies":
                    server.store.is_dead = True
                    raise ProcessDied
                if ends == "called off":
                    scope.cancel()
                    await anyio.lowlevel.checkpoint()
                return reply or Reply("ended")

            caller = Caller(principal=what[2], client="tester 1.0", ask=ask, ask_channel=channel)
            with anyio.CancelScope() as scope:
                return await server.submit_here(what, caller, {})

        if reply is not None and reply.action == "failed":
            elsewhere = None  # what then comes first is chance
        channel, binding = "terminal" if terminal else "elicitation", world.binding(what)
        holders = self.model.questions[what].holders if what in self.model.questions else set[int]()
        if fault.startswith("dies") and holders - {process}:
            fault = ""  # either server may send it, so either may die
        world.fault = fault
        outcome = world.portal.call(run)
        asked = self.model.ask(what, channel)
        if isinstance(asked, str):
            self.check_call(process, what, "", fault, outcome, asked)
        else:
            if elsewhere is not None:
                self.model.decide(asked, yes=elsewhere)
            self.check_reply(process, asked, reply, ends, fault, outcome, terminal=terminal)
        self.settle(fault)

    def check_reply(
        self, process: int, asked: Asked, reply: Reply | None, ends: str, fault: str, outcome: Any, *, terminal: bool
    ) -> None:
        """What becomes of a question that was asked during the call."""
        if ends == "called off":
            self.say_no(asked, None, "terminal" if terminal else "elicitation")
        if ends == "dies":
            self.model.forget({process})
        if ends:
            assert outcome is None if ends == "called off" else isinstance(outcome, ProcessDied)
        elif reply is not None and reply.action == "failed":
            asked.holders.add(process)
            assert isinstance(outcome, Awaiting)
            assert outcome.door == ("page" if process == 1 and not terminal else "approve")
        elif reply is YES or asked.state == "approved":
            self.model.decide(asked, yes=True)
            self.send(asked.what, fault, outcome)
        else:
            assert "Nothing was sent" in str(outcome)
            self.say_no(asked, reply, "terminal" if terminal else "elicitation")

    # Decisions

    @rule(
        what=asked,
        earlier=earlier,
        door=st.sampled_from(["approve", "page"]),
        yes=st.booleans(),
        fault=faults,
        alone=st.sampled_from([False, False, False, True]),
    )
    def decide(self, what: What, earlier: int, door: str, fault: str, *, yes: bool, alone: bool) -> None:
        """A decision on a terminal or on the page, perhaps late or for the second time, perhaps with no server left."""
        number = self.id_of(what, earlier)
        if alone:
            self.restart_all()
        q = self.question(number, what)
        self.world.fault = fault
        if door == "approve":
            self.world.outside.decide(number, approve=yes, channel="approve", by="ada@laptop")
        else:
            desk, decision = self.world.processes[1].desk, "approve" if yes else "decline"
            outcome = self.run(desk.decide, number, decision, "page", "ada@laptop", "local")
            if what[2] != "local" or q is None:
                assert isinstance(outcome, NotConfirmed)
                q = None
        self.model.decide(q, yes=yes)
        self.settle(fault)

    @rule(
        what=asked,
        earlier=earlier,
        process=processes,
        decision=st.sampled_from(["approve", "decline"]),
        tamper=st.sampled_from([*["nothing"] * 3, "principal", "key", "decision", "id", "secret"]),
        principal=st.sampled_from(PRINCIPALS),
        fault=faults,
    )
    def decide_on_card(
        self, what: What, earlier: int, process: int, decision: str, tamper: str, principal: str, fault: str
    ) -> None:
        """A decision on a card: perhaps of another principal, or with a proof that is for something else."""
        number = self.id_of(what, earlier)
        q = self.question(number, what)
        caller = Caller(principal=principal if tamper == "principal" else what[2], client="tester 1.0", cards=True)
        secret = self.world.outside.secret() if tamper != "secret" else b"guessed"
        key = card_key(secret, "mallory" if tamper == "key" else caller.principal)
        proved = ["decide", number, decision]
        if tamper == "id":
            proved[1] = "AAAAAAAA"
        if tamper == "decision":
            proved[2] = "decline" if decision == "approve" else "approve"
        given = {"approval_id": number, "decision": decision, "proof": proof(key, *proved)}
        self.world.fault = fault
        outcome = self.run(self.world.processes[process].cards.call, DECIDE, given, caller)
        if tamper in ("nothing", "principal") and caller.principal == what[2] and q is not None and q.at_card:
            assert isinstance(outcome, ToolResult)
            self.model.decide(q, yes=decision == "approve")
        else:
            assert isinstance(outcome, NotConfirmed)
        self.settle(fault)

    @rule(what=asked, earlier=earlier, one=st.booleans(), other=st.booleans())
    def decide_at_two_doors_at_once(self, what: What, earlier: int, *, one: bool, other: bool) -> None:
        number = self.id_of(what, earlier)
        q = self.question(number, what)
        found: list[Any] = []

        async def decide(process: int, *, yes: bool) -> None:
            desk, decision = self.world.processes[process].desk, "approve" if yes else "decline"
            try:
                found.append(await desk.decide(number, decision, "page" if process else "card"))
            except CamsMcpError as error:
                found.append(error)

        async def race() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(partial(decide, 0, yes=one))
                group.start_soon(partial(decide, 1, yes=other))

        self.world.portal.call(race)
        if q is None:
            assert all(isinstance(each, NotConfirmed) for each in found)
        else:
            # The second sees what the first decided, and perhaps already what came of it.
            assert len({each.state == "declined" for each in found}) == 1
            self.model.decide(q, yes=found[0].state != "declined")
        self.settle()

    def id_of(self, what: What, earlier: int) -> str:
        """The last id of a write, or an earlier one."""
        return (["AAAAAAAA", *self.ids.get(what, [])])[-1 - earlier :][0]

    def question(self, number: str, what: What) -> Asked | None:
        """The question of the model with this id; None if it is over."""
        found = self.world.find(what)
        return self.model.questions[what] if found is not None and found.id == number else None

    def run(self, step: Any, *arguments: Any) -> Any:
        try:
            return self.world.portal.call(step, *arguments)
        except CamsMcpError as error:
            return error

    # What happens to the servers

    @rule(process=processes)
    def restart(self, process: int) -> None:
        self.world.restart(process)
        self.model.forget({process})

    def restart_all(self) -> None:
        for process in range(len(POLICIES)):
            self.restart(process)

    @rule(seconds=st.sampled_from([1.0, 30.0, 119.0, 120.0, 599.0, 600.0, 90_000.0, -1.0, -600.0, -90_000.0]))
    def jump(self, seconds: float) -> None:
        self.world.clock += seconds
        self.model.expire()
        self.settle()

    @invariant()
    def everything_that_arrived_was_approved_once_and_is_recorded(self) -> None:
        if hasattr(self, "world"):
            self.model.check()


TestGuard = GuardMachine.TestCase
TestGuard.settings = settings(
    max_examples=examples(100),
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
