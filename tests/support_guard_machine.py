"""What the state machine over the guard works with: processes that can die, a sandbox that can fail, and a model."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import httpx
from anyio.abc import TaskStatus
from support import AUDIENCE, TARGET, client_of, people, writes_that_arrived
from support_approval import FakePage

from cams_mcp.api.client import CamsClient
from cams_mcp.api.credentials import AccessKey, ExplicitKey
from cams_mcp.approval.desk import Desk
from cams_mcp.confirmation import Caller
from cams_mcp.errors import CamsMcpError
from cams_mcp.guard.attempt import build_write
from cams_mcp.guard.guard import APPROVAL_SECONDS, Guard
from cams_mcp.guard.policy import Policy
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER, AddCustomAudienceUserRequest
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, SandboxTransport
from cams_mcp.store import Pending, Store
from cams_mcp.store.pending import DECLINED_SECONDS, MOST_KEYS, MOST_WAITING
from cams_mcp.tools.cards import Cards

LISTS = [people(3), people(3)[::-1], people(4), people(3, start=100), [*people(2), {"phone": "+12025550123"}]]
REQUESTS: list[AddCustomAudienceUserRequest] = [
    ADD_CUSTOM_AUDIENCE_USER.request.model_validate(TARGET | {"users": users, "custom_audience_id": audience})
    for users in LISTS
    for audience in (AUDIENCE, "6000019000001")
]
KEYS = [SANDBOX_KEY, AccessKey("other-id", SANDBOX_KEY.secret)]
PRINCIPALS = ("local", "alice", "bob")
POLICIES = [Policy(confirm="auto", wait_seconds=0), Policy(confirm="person", wait_seconds=0)]
"""Of the two servers that share the store. The second one has an approval page."""

ASK_SECONDS = Policy().ask_seconds
SENDING = ("", "unreachable")
"""Faults after which a write is sent all the same."""

FAULTS = (*SENDING, "refused", "reset", "cut", "dies before begin", "dies after begin", "dies sending", "dies sent")

What = tuple[int, int, str]
"""A write: the numbers of its access key and its request, and its principal."""


class ProcessDied(BaseException):
    """In place of kill -9: the process that dies writes nothing to the store any more. (test_crashes.py kills real
    ones.)
    """


class World:
    """Two servers that share a store, and the sandboxes of two access keys."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.clock = 1_800_000_000.0
        self.fault = ""
        self.sandboxes = [Sandbox(key=key) for key in KEYS]
        self.outside = Store(self.directory, now=lambda: self.clock)
        """`cams-mcp approve`, and whoever looks."""
        self._portals = anyio.from_thread.start_blocking_portal()
        self.portal = self._portals.__enter__()
        self.processes = [Process(self, number) for number in range(len(POLICIES))]
        self._bindings: dict[What, str] = {}

    def end(self) -> None:
        for process in self.processes:
            process.kill()
        self._portals.__exit__(None, None, None)
        self.outside.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def take(self, *faults: str) -> str:
        """The fault, if it is one of these. It happens once."""
        found = self.fault if self.fault in faults else ""
        if found != "refused":
            self.fault = "" if found else self.fault
        return found

    def restart(self, number: int) -> None:
        self.processes[number].kill()
        self.processes[number] = Process(self, number)

    def find(self, what: What) -> Pending | None:
        """The question about a write in the store."""
        return self.waiting().get(self.binding(what))

    def binding(self, what: What) -> str:
        """The digest that names a write in the store."""
        if what not in self._bindings:
            self._bindings[what] = self.processes[0].binding(what)
        return self._bindings[what]

    def waiting(self) -> dict[str, Pending]:
        return {pending.binding: pending for pending in self.outside.pending()}

    def settle(self) -> set[int]:
        """Let the servers do what follows from a decision. Restarts those that die of it; gives their numbers."""
        dead: set[int] = set()
        deadline = time.monotonic() + 10
        while True:
            waiting = self.waiting()
            open_ = {binding for binding, pending in waiting.items() if pending.state == "waiting"}
            sending = any(pending.state == "spent" and pending.outcome is None for pending in waiting.values())
            is_resting = not sending and all(process.held <= open_ for process in self.processes)
            # Last, because a server that dies no longer holds anything.
            dying = {process.number for process in self.processes if process.is_dead}
            if is_resting and not dying:
                return dead
            for number in dying:
                self.restart(number)
            dead |= dying
            assert time.monotonic() < deadline, "the servers do not come to rest"
            for process in self.processes:
                process.poke()


class Mortal(Store):
    """The store as a process sees it until it dies."""

    def __init__(self, world: World) -> None:
        super().__init__(world.directory, now=lambda: world.clock)
        self._world = world
        self.is_dead = False

    def die_of(self, fault: str) -> None:
        if self._world.take(fault):
            self.is_dead = True
            raise ProcessDied

    def begin(self, *args: Any, **more: Any) -> Any:
        self.die_of("dies before begin")
        begun = super().begin(*args, **more)
        if isinstance(begun, tuple):
            self.die_of("dies after begin")
        return begun

    def _run(self, work: Callable[[Any], Any]) -> Any:
        if self.is_dead:
            raise ProcessDied
        return super()._run(work)


class Fragile(SandboxTransport):
    """The way to a sandbox, on which writes fail or processes die."""

    def __init__(self, world: World, sandbox: Sandbox, store: Mortal) -> None:
        super().__init__(sandbox)
        self._world = world
        self._store = store

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.headers["x-acs-action"] != "AddCustomAudienceUser":
            return await super().handle_async_request(request)
        if self._world.take("unreachable", "refused"):
            raise httpx.ConnectError("no route")
        self._store.die_of("dies sending")
        response = await super().handle_async_request(request)
        self._store.die_of("dies sent")
        if self._world.take("reset"):
            raise httpx.ReadError("reset")
        return httpx.Response(200, content=response.content[:20]) if self._world.take("cut") else response


class Process:
    """A server: a guard per access key, and the lists that they hold."""

    def __init__(self, world: World, number: int) -> None:
        self.number = number
        self.opens = True
        """Whether a browser starts."""
        self._world = world
        self._guards: list[Guard] = []
        self._services: list[CamsClient] = []
        self._task, _ = world.portal.start_task(self._run)

    async def _run(self, *, task_status: TaskStatus[None]) -> None:
        world, policy = self._world, POLICIES[self.number]
        self.store = Mortal(world)
        self.desk = Desk(self.store, self._poke)
        self.cards = Cards(self.desk, self.store, "en")
        self._end = anyio.Event()
        page = self if policy.confirm == "person" else None
        try:
            async with AsyncExitStack() as services, anyio.create_task_group() as group:
                for key, sandbox in zip(KEYS, world.sandboxes, strict=True):
                    transport = Fragile(world, sandbox, self.store)
                    service = client_of(sandbox, credentials=ExplicitKey(key), transport=transport)
                    await services.enter_async_context(service)
                    self._services.append(service)
                    more: dict[str, Any] = {"page": page, "command": "cams-mcp approve", "group": group}
                    self._guards.append(Guard(service, self.store, policy, **more))
                task_status.started()
                await self._end.wait()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            _, others = errors.split(ProcessDied)
            if others is not None:
                raise others from None
        finally:
            self._guards = []
            self.store.close()

    async def show(self) -> bool:
        return await FakePage(opens=self.opens).show()

    @property
    def is_dead(self) -> bool:
        return self._task.done() or self.store.is_dead

    @property
    def held(self) -> set[str]:
        """The digests of the writes whose lists it holds."""
        return {binding for guard in list(self._guards) for binding in guard.held._held}  # noqa: SLF001

    def kill(self) -> None:
        if not self._task.done():
            self._world.portal.call(self._end.set)
        self._task.result(10)

    def poke(self) -> None:
        self._world.portal.call(self._poke)

    def _poke(self) -> None:
        for guard in self._guards:
            guard.watch.poke()

    def submit(self, what: What, caller: Caller, **how: Any) -> Any:
        """One call; gives what it returned or raised."""
        return self._world.portal.call(self.submit_here, what, caller, how)

    def binding(self, what: What) -> str:
        key, request, principal = what
        build = build_write, self._services[key], self.store, ADD_CUSTOM_AUDIENCE_USER, REQUESTS[request]
        write, _ = self._world.portal.call(*build, Caller(principal=principal))
        return write.binding

    async def submit_here(self, what: What, caller: Caller, how: dict[str, Any]) -> Any:
        key, request, _ = what
        try:
            return await self._guards[key].submit(ADD_CUSTOM_AUDIENCE_USER, REQUESTS[request], caller, **how)
        except (CamsMcpError, ProcessDied) as error:
            return error


def list_of(what: What) -> tuple[str, int]:
    """Target and contents, in any order."""
    return REQUESTS[what[1]].custom_audience_id, REQUESTS[what[1]].contents()


@dataclass
class Asked:
    """A question as the model knows it."""

    what: What
    door: str
    asked: float
    seen: int
    state: str = "waiting"
    until: float = 0.0
    barred: float = 0.0
    joined: bool = False
    at_card: bool = False
    holders: set[int] = field(default_factory=set[int])
    """The servers that have the list."""
    refused: bool = False
    secrets: dict[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])
    """Channel and end of what else approves it."""


@dataclass
class Model:
    """What may arrive, and what must be on record. Methods follow the rules of the store, in memory and one thread."""

    world: World
    questions: dict[What, Asked] = field(default_factory=dict[What, Asked])
    entered: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    """How often each list entered the ledger without being refused."""
    sent: list[What] = field(default_factory=list[What])
    approved: int = 0
    begun: int = 0

    @property
    def now(self) -> float:
        return self.world.clock

    def expire(self) -> None:
        """What was once seen expired stays so, whatever the clock does afterwards."""
        self.questions = {what: q for what, q in self.questions.items() if q.asked <= self.now < q.until}

    def is_declined(self, what: What) -> bool:
        return any(q.state == "declined" or q.barred > self.now for q in self.same(what))

    def same(self, what: What) -> list[Asked]:
        """The questions of a principal about one list, whatever its order."""
        return [q for q in self.questions.values() if q.what[2] == what[2] and list_of(q.what) == list_of(what)]

    def ask(self, what: What, door: str, *, replaces: str = "") -> Asked | str:
        """The question that is put or joined, or else what the call comes to: outcome, declined, send or full."""
        q, barred, holders = self.questions.get(what), 0.0, set[int]()
        if q is not None and q.state == "spent":
            return "outcome"
        if door != "terminal" and self.is_declined(what):
            return "declined"
        if q is not None and q.state == "declined":
            q, barred = None, q.until
        elif q is not None and self.entered[list_of(what)] > q.seen:
            q, holders = None, q.holders
        if q is not None and q.state == "approved":
            return "send"
        if q is not None and replaces not in q.secrets:
            q.joined = True
            return q
        others = [each for each in self.questions.values() if each.what != what and self.counts(each, what[2])]
        if len(others) >= MOST_WAITING and not self.give_way(others, door):
            return "full"
        if q is None:
            seen, until = self.entered[list_of(what)], self.now + APPROVAL_SECONDS
            at_card = door == "card"
            q = Asked(what, door, self.now, seen, until=until, barred=barred, holders=holders, at_card=at_card)
        q.secrets.pop(replaces, None)
        self.questions[what] = q
        return q

    def counts(self, q: Asked, principal: str) -> bool:
        """Whether a question takes one of the places of a principal."""
        is_stale = bool(q.secrets) and all(until <= self.now for _, until in q.secrets.values())
        return q.state == "waiting" and q.what[2] == principal and not is_stale

    def give_way(self, others: list[Asked], door: str) -> bool:
        """Whether the oldest preview gave way to a new one."""
        previews = [each for each in others if each.door == "token"]
        if door != "token" or not previews:
            return False
        oldest = min(each.asked for each in previews)
        # Of several that are as old, the world says which one is gone.
        gone = [each for each in previews if each.asked == oldest and self.world.find(each.what) is None]
        assert len(gone) == 1
        del self.questions[gone[0].what]
        return True

    def add_secret(self, q: Asked, secret: str, channel: str) -> None:
        lives = APPROVAL_SECONDS if channel == "token" else ASK_SECONDS
        q.secrets = dict([*q.secrets.items()][-(MOST_KEYS - 1) :]) | {secret: (channel, self.now + lives)}

    def decide(self, q: Asked | None, *, yes: bool) -> None:
        if q is None or q.state != "waiting":
            return
        if yes:
            q.state, q.secrets = "approved", {}
            self.approved += 1
            return
        for each in self.same(q.what):
            if each.state in ("waiting", "approved"):
                each.state, each.secrets, each.until = "declined", {}, self.now + DECLINED_SECONDS

    def end(self, q: Asked) -> None:
        """The question ended without an answer."""
        if q.barred > self.now:
            q.state, q.secrets, q.until = "declined", {}, q.barred
        else:
            del self.questions[q.what]

    def holder(self, secret: str) -> Asked | None:
        return next((q for q in self.questions.values() if secret in q.secrets), None)

    def use(self, secret: str, channel: str, what: What) -> bool:
        """Whether a secret approves a write. One that is used for another is void."""
        q = self.holder(secret)
        if q is None:
            return False
        its_channel, until = q.secrets[secret]
        if (its_channel, q.what) == (channel, what) and self.now < until:
            return True
        del q.secrets[secret]
        if not q.secrets:
            del self.questions[q.what]
        return False

    def spend(self, what: What, fault: str, *, secret: str = "", channel: str = "", is_reported: bool = True) -> str:
        """What comes of an attempt to send: nothing, outcome, dies, or see `send`."""
        q = self.questions.get(what)
        if fault == "dies before begin":
            return "dies"
        if q is not None and q.state == "spent":
            return "outcome"
        is_open = q is None or q.state == "waiting"
        if (is_open and not self.use(secret, channel, what)) or (q is not None and q.state == "declined"):
            return "nothing"
        q = self.questions[what]
        if self.entered[list_of(what)] > q.seen:
            del self.questions[what]
            return "nothing"
        self.approved += is_open
        return self.send(q, fault, is_reported=is_reported)

    def send(self, q: Asked, fault: str, *, is_reported: bool) -> str:
        """Enter a write into the ledger and send it. Gives sent, refused or unknown, or that a process dies of it."""
        self.begun += 1
        q.state, q.secrets = "spent", {}
        if fault == "refused":
            q.refused = True
            if is_reported:
                del self.questions[q.what]
            return "refused"
        self.entered[list_of(q.what)] += 1
        if fault not in ("dies after begin", "dies sending"):
            self.sent.append(q.what)
        return "dies" if fault.startswith("dies") else "sent" if fault in SENDING else "unknown"

    def rest(self, fault: str, dead: set[int]) -> None:
        """The servers have sent what was approved and what they hold. Some died of it."""
        for q in list(self.questions.values()):
            if q.state != "approved" or not q.holders:
                continue
            if self.spend(q.what, fault, is_reported=False) == "dies" and q.state == "approved" and q.holders - dead:
                self.spend(q.what, "", is_reported=False)
        self.forget(dead)

    def forget(self, dead: set[int]) -> None:
        for q in self.questions.values():
            q.holders -= dead

    def tell(self, what: What) -> str:
        """The outcome for an identical call. One that was refused may be asked about again."""
        if self.questions[what].refused:
            del self.questions[what]
            return "refused"
        return "outcome"

    def check(self) -> None:
        """Compare with what the sandboxes and the store have on record."""
        for key, sandbox in enumerate(self.world.sandboxes):
            expected = [REQUESTS[request].parameters() for sent_key, request, _ in self.sent if sent_key == key]
            assert [dict(call.parameters) for call in writes_that_arrived(sandbox)] == expected
        trail = self.world.outside.audit()
        events = Counter(entry["event"] for entry in trail)
        assert events["approved"] == self.approved
        assert events["sent"] + events["failed"] + events["unknown"] == self.begun
        numbers = [int(entry["id"]) for entry in trail]
        assert numbers == sorted(set(numbers))
        waiting = self.world.waiting().values()
        assert Counter(pending.state for pending in waiting) == Counter(q.state for q in self.questions.values())
        stored = b"".join(path.read_bytes() for path in self.world.directory.iterdir() if path.is_file())
        assert b"customer0" not in stored
        assert b"2025550123" not in stored
