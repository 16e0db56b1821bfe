"""Real server processes on one state directory: killed at every step of a write, restarted, racing."""

from __future__ import annotations

import itertools
import sqlite3
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.server.lowlevel import Server
from support import TARGET, Person, people, serving, text_of, yes
from support_http import LISTENING
from support_process import SHARED_PATIENCE_SECONDS, Program

import cams_mcp
from cams_mcp.app import open_toolbox
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, sandbox_app
from cams_mcp.server.server import create_server
from cams_mcp.settings import Settings
from cams_mcp.store import FILE_NAME, Store
from cams_mcp.tools.definitions import load_catalog

WRITE = "add_custom_audience_user"
PEOPLE = TARGET | {"users": people(120)}
REORDERED = TARGET | {"users": people(120)[::-1]}

STEPS = [f"{step}:{when}" for step in ("ask", "decide", "begin", "call", "finish") for when in ("before", "after")]
"""The steps of a write, in their order. Only where the server asks in mid-call is the decision a step of its own."""

SECRET = {"CAMS_MCP_ACCESS_KEY_SECRET": SANDBOX_KEY.secret}
START = itertools.count(1)

REPLAYABLE = [("auto", "elicitation"), ("auto", "token"), ("legacy", "token")]
"""(era, way) where the client holds something that it could send twice."""

IN_MID_CALL = ("legacy", "elicitation")
"""Where the server asks in mid-call."""


class World:
    """A sandbox on loopback, a state directory, and what the trail held whenever a write arrived."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.sandbox = Sandbox()
        self.trail_on_arrival: list[list[str]] = []
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if dict(scope.get("headers", ())).get(b"x-acs-action") == b"AddCustomAudienceUser":
            self.trail_on_arrival.append(self.events())
        await sandbox_app(self.sandbox)(scope, receive, send)

    @property
    def options(self) -> list[str]:
        return ["--endpoint", self.url, "--access-key-id", SANDBOX_KEY.id, "--state-dir", str(self.state)]

    def process(self, *, crash_at: str | None = None) -> StdioServerParameters:
        """A server in a process of its own."""
        program = [str(Path(__file__).with_name("crashing_server.py"))] if crash_at else ["-m", "cams_mcp"]
        env = dict(SECRET)
        if crash_at:
            env |= {"CRASH_AT": crash_at, "PYTHONPATH": str(Path(cams_mcp.__file__).parents[1])}
        return StdioServerParameters(command=sys.executable, args=[*program, *self.options], env=env)

    @asynccontextmanager
    async def server(self, **other: Any) -> AsyncGenerator[Server[Any]]:
        """A server with the same options in this process: for the other processes it is one more."""
        options = {
            "endpoint": self.url,
            "access_key_id": SANDBOX_KEY.id,
            "access_key_secret": SANDBOX_KEY.secret,
            "state_dir": self.state,
        }
        async with open_toolbox(Settings(**(options | other))) as toolbox:
            yield create_server(load_catalog(), toolbox)

    @property
    def arrived(self) -> list[str]:
        """The request ids of the writes that the sandbox received."""
        return [call.request_id for call in self.sandbox.calls if call.action == "AddCustomAudienceUser"]

    def events(self) -> list[str]:
        with closing(Store(self.state)) as store:
            return [entry["event"] for entry in store.audit()]

    def ledger(self) -> list[tuple[str, str | None]]:
        """(outcome, request id) of every write, in order."""
        if not (self.state / FILE_NAME).exists():
            return []
        with closing(sqlite3.connect(self.state / FILE_NAME)) as raw:
            return raw.execute("SELECT outcome, request_id FROM writes ORDER BY id").fetchall()

    def check(self) -> None:
        """What must hold whatever happened: each request that arrived was approved once, before, and is on record."""
        for number, trail in enumerate(self.trail_on_arrival, 1):
            assert trail.count("approved") >= number
        assert len(self.arrived) == len(self.trail_on_arrival)
        assert self.events().count("approved") == len(self.ledger()) >= len(self.arrived)
        events = self.events()
        assert events.count("approved") == sum(events.count(event) for event in ("sent", "failed", "unknown"))
        for outcome, request_id in self.ledger():
            assert (outcome, request_id is None) in (("sent", False), ("unknown", True))
            assert request_id is None or request_id in self.arrived


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with serving(world) as world.url:
        yield world
        world.check()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, list[str]]]:
    """Two server processes on one state directory, for tests with lists of their own; and their URLs."""
    world = World(tmp_path_factory.mktemp("shared"))
    with serving(world) as world.url:
        serve = ("serve", "--transport", "http", "--port", "0", *world.options)
        how: dict[str, Any] = {"env": SECRET, "patience": SHARED_PATIENCE_SECONDS}
        with Program(*serve, **how) as first, Program(*serve, **how) as second:
            yield world, [program.error_line(LISTENING).removeprefix(LISTENING) for program in (first, second)]
        world.check()


def fresh(number: int) -> dict[str, Any]:
    """Arguments with so many people whom no other test sends."""
    return TARGET | {"users": people(number, next(START) * 1000)}


def client(
    server: StdioServerParameters | Server[Any] | str, mode: str, way: str, person: Person | None = None
) -> Client:
    return Client(server, mode=mode, elicitation_callback=(person or yes()) if way == "elicitation" else None)


async def ask(connected: Client, way: str, arguments: dict[str, Any] = PEOPLE) -> tuple[str, str]:
    """The first round of a write; gives the question or preview, and the approval that a yes spends."""
    if way == "token":
        content = (await connected.call_tool(WRITE, arguments)).structured_content
        return content["preview"], content["confirmation_token"]
    result = await connected.session.call_tool(WRITE, arguments, allow_input_required=True)
    assert isinstance(result, types.InputRequiredResult)
    (question,) = result.input_requests.values()
    return question.params.message, result.request_state


async def spend(connected: Client, way: str, approval: str, arguments: dict[str, Any] = PEOPLE) -> types.CallToolResult:
    """The second round, with a yes."""
    if way == "token":
        return await connected.call_tool(WRITE, arguments | {"confirmation_token": approval})
    answer = types.ElicitResult(action="accept", content={"confirm": True})
    return await connected.call_tool(WRITE, arguments, input_responses={"confirm": answer}, request_state=approval)


async def write_until_it_dies(world: World, step: str, mode: str, way: str) -> str | None:
    """A write that the person confirms, on a server that dies; gives the approval, as far as the client got it."""
    approvals: list[str] = []

    async def write() -> None:
        if (mode, way) in REPLAYABLE:
            approvals.append((await ask(connected, way))[1])
            await spend(connected, way, approvals[0])
        else:
            await connected.call_tool(WRITE, PEOPLE)

    async with client(world.process(crash_at=step), mode, way) as connected:
        with pytest.raises(MCPError, match=r"(?i)closed"):
            await write()
    return approvals[0] if approvals else None


KILLED = [
    (step, mode, way)
    for step in STEPS
    for mode, way in (("auto", "elicitation"), ("auto", "token"), IN_MID_CALL)
    if (mode, way) == IN_MID_CALL or not step.startswith("decide")
]


@pytest.mark.parametrize(("step", "mode", "way"), KILLED)
async def test_a_server_that_is_killed_sends_nothing_unapproved_unrecorded_or_twice(
    world: World, step: str, way: str, mode: str
) -> None:
    begun = STEPS.index(step) >= STEPS.index("begin:after")
    sent = STEPS.index(step) >= STEPS.index("call:after")
    ended = step == "finish:after"

    approval = await write_until_it_dies(world, step, mode, way)

    assert len(world.arrived) == sent
    assert world.ledger() == ([("sent", world.arrived[0])] if ended else [("unknown", None)] * begun)
    # What was approved and not sent yet outlives the crash, and is good once.
    is_approved = approval is not None or ((mode, way) == IN_MID_CALL and step in ("decide:after", "begin:before"))
    person = Person("cancel")
    async with world.server() as server, client(server, mode, way, person) as connected:
        results = [await spend(connected, way, approval) for _ in range(2)] if approval else []
        results.append(await connected.call_tool(WRITE, PEOPLE))
        was_asked = list(person.asked)
        reordered = await connected.call_tool(WRITE, REORDERED)
    assert len(world.arrived) == (sent or (is_approved and not begun))
    if ended:
        assert {recorded(result)["request_id"] for result in results} == {world.arrived[0]}
    elif begun:
        assert all("its outcome is unknown: it may have been applied" in text_of(result) for result in results)
    elif is_approved:
        first, *others = results
        assert first.structured_content["status"] == "sent"
        assert [recorded(result) for result in others] == [first.structured_content] * len(others)
    elif way == "token":
        assert "the same list" not in results[0].structured_content["preview"]
    else:
        assert "the same list" not in was_asked[0]
    assert len(was_asked) == (way == "elicitation" and not begun and not is_approved)
    text = reordered.structured_content["preview"] if way == "token" else person.asked[-1]
    told = "it is unknown whether CAMS applied it" if begun and not ended else "the same list was already sent"
    assert (told in text) is (begun or is_approved)


def recorded(result: types.CallToolResult) -> dict[str, Any]:
    """What an identical call had returned; fails unless this one says that it sent nothing."""
    assert not result.is_error, text_of(result)
    content = dict(result.structured_content)
    assert "This is its recorded result. Nothing was sent again." in content.pop("next")
    return content


@pytest.mark.parametrize(("mode", "way"), REPLAYABLE)
async def test_an_approval_is_good_in_another_process_after_a_restart(world: World, mode: str, way: str) -> None:
    async with client(world.process(), mode, way) as first:
        _, approval = await ask(first, way)
    async with world.server() as server, client(server, mode, way) as second:
        result = await spend(second, way, approval)

    assert result.structured_content["status"] == "sent"
    assert world.ledger() == [("sent", world.arrived[0])]


@pytest.mark.parametrize(("mode", "way"), REPLAYABLE)
async def test_an_approval_is_good_in_another_process_at_the_same_time_and_only_once(
    shared: tuple[World, list[str]], mode: str, way: str
) -> None:
    world, (url, other) = shared
    before, arguments = len(world.arrived), fresh(120)
    async with client(url, mode, way) as first, client(other, mode, way) as second:
        _, approval = await ask(first, way, arguments)
        results = [await spend(connected, way, approval, arguments) for connected in (second, first, second)]

    sent, *again = results
    assert sent.structured_content["status"] == "sent"
    assert [recorded(result) for result in again] == [sent.structured_content] * 2
    assert len(world.arrived) == before + 1


@pytest.mark.parametrize("where", ["endpoint", "access key", "state directory"])
@pytest.mark.parametrize(("mode", "way"), REPLAYABLE)
async def test_an_approval_is_void_on_a_server_with_another_configuration(
    world: World, mode: str, way: str, where: str
) -> None:
    with serving(world) as other_url:
        other: dict[str, Any] = {
            "endpoint": {"endpoint": other_url},
            "access key": {"access_key_id": "another-id"},
            "state directory": {"state_dir": world.directory / "other"},
        }[where]
        async with (
            world.server() as one,
            world.server(**other) as another,
            client(one, mode, way) as first,
            client(another, mode, way) as second,
        ):
            for asking, sending in ((first, second), (second, first)):
                _, approval = await ask(asking, way)
                result = await spend(sending, way, approval)

                assert result.is_error
                assert text_of(result).startswith("Nothing was sent")
    assert world.arrived == []


@pytest.mark.parametrize(("mode", "way"), REPLAYABLE)
async def test_an_approval_is_void_for_another_list_in_another_process(
    shared: tuple[World, list[str]], mode: str, way: str
) -> None:
    world, (url, other) = shared
    before, arguments = len(world.arrived), fresh(120)
    async with client(url, mode, way) as first, client(other, mode, way) as second:
        _, approval = await ask(first, way, arguments)
        swapped = await spend(second, way, approval, TARGET | {"users": arguments["users"][:119] + fresh(1)["users"]})
        restored = await spend(first, way, approval, arguments)

    assert swapped.is_error
    assert restored.is_error
    assert len(world.arrived) == before


async def both_at_once(
    servers: list[Client], way: str, approvals: list[str], arguments: list[dict[str, Any]]
) -> list[types.CallToolResult]:
    results: list[types.CallToolResult] = []

    async def fire(connected: Client, approval: str, given: dict[str, Any]) -> None:
        results.append(await spend(connected, way, approval, given))

    async with anyio.create_task_group() as group:
        for each in zip(servers, approvals, arguments, strict=True):
            group.start_soon(fire, *each)
    return results


@pytest.mark.parametrize("approvals", ["one approval", "an approval each", "an order each"])
@pytest.mark.parametrize(("mode", "way"), REPLAYABLE)
async def test_of_two_servers_that_race_to_send_one_list_exactly_one_wins(
    shared: tuple[World, list[str]], mode: str, way: str, approvals: str
) -> None:
    world, urls = shared
    before = len(world.arrived)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(client(url, mode, way)) for url in urls]
        for round_number in range(10):
            one = fresh(3)
            other = one | {"users": one["users"][::-1]} if approvals == "an order each" else one
            _, first = await ask(servers[0], way, one)
            second = first if approvals == "one approval" else (await ask(servers[1], way, other))[1]

            results = await both_at_once(servers, way, [first, second], [one, other])

            lost, won = sorted(results, key=lambda result: "next" not in (result.structured_content or {"next": ""}))
            assert won.structured_content["status"] == "sent"
            if approvals == "an order each":
                assert text_of(lost).startswith("Nothing was sent: the same list was sent")
            else:
                assert recorded(lost) == won.structured_content
            assert len(world.arrived) == before + round_number + 1
    assert world.ledger() == [("sent", request_id) for request_id in world.arrived]
