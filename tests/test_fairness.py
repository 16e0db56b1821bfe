from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ERAS, client_of, text_of
from support_http import ALICE, BOB, Clock, bearer, http_server, people_of, program

from cams_mcp.api.throttle import LONGEST_WAIT_SECONDS, Pace, Throttle
from cams_mcp.confirmation import Caller
from cams_mcp.errors import NotNow
from cams_mcp.http.auth import TokenFile
from cams_mcp.http.limits import MOST_CALLERS, LimitedTools
from cams_mcp.operations.list_instance import LIST_INSTANCE, ListInstanceRequest
from cams_mcp.sandbox import Sandbox
from cams_mcp.sandbox.faults import Fault, Faults

EACH_ERA = pytest.mark.parametrize("mode", ERAS)


class Held:
    """Tools whose calls end when they may; `failing` ones fail."""

    def __init__(self) -> None:
        self.running = 0
        self.may_end = anyio.Event()
        self.failing = False

    async def call(self, name: str, arguments: Mapping[str, Any], caller: Caller, **more: Any) -> Any:
        self.running += 1
        try:
            await self.may_end.wait()
            if self.failing:
                raise ValueError
        finally:
            self.running -= 1


def tools(held: Held, clock: Clock | None = None, *, at_once: int = 100, per_minute: int = 60_000) -> LimitedTools:
    return LimitedTools(held, at_once=at_once, per_minute=per_minute, now=clock or Clock())


def open_tools() -> Held:
    held = Held()
    held.may_end.set()
    return held


# Calls of one caller


async def test_a_caller_over_the_limit_at_once_is_told_to_wait_and_others_are_served() -> None:
    held = Held()
    fair = tools(held, at_once=2)
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(fair.call, "t", {}, Caller("alice"))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(NotNow, match=r"limit of 2 concurrent calls.*--calls-at-once.*Wait"):
            await fair.call("t", {}, Caller("alice"))
        group.start_soon(fair.call, "t", {}, Caller("bob"))
        await anyio.wait_all_tasks_blocked()
        assert held.running == 3
        held.may_end.set()

    await fair.call("t", {}, Caller("alice"))


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_a_call_that_ends_badly_makes_room_for_another(end: str) -> None:
    held = Held()
    held.failing = end == "failed"
    fair = tools(held, at_once=1)
    if end == "failed":
        held.may_end.set()
        with pytest.raises(ValueError):  # noqa: PT011
            await fair.call("t", {}, Caller("alice"))
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(fair.call, "t", {}, Caller("alice"))
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    held.failing = False
    held.may_end.set()
    await fair.call("t", {}, Caller("alice"))


async def test_a_caller_that_calls_too_often_is_told_when_to_try_again() -> None:
    clock = Clock()
    fair = tools(open_tools(), clock, per_minute=60)
    # Ten seconds' worth at once after a rest.
    for _ in range(10):
        await fair.call("t", {}, Caller("alice"))
    with pytest.raises(NotNow, match=r"rate limit of 60 calls per minute.*Try again in 1 s") as refused:
        await fair.call("t", {}, Caller("alice"))
    assert refused.value.retry_after == pytest.approx(1)
    await fair.call("t", {}, Caller("bob"))

    clock.now += refused.value.retry_after
    await fair.call("t", {}, Caller("alice"))
    with pytest.raises(NotNow):
        await fair.call("t", {}, Caller("alice"))


async def test_refused_calls_do_not_count() -> None:
    clock = Clock()
    fair = tools(open_tools(), clock, per_minute=6)
    await fair.call("t", {}, Caller("alice"))
    for _ in range(100):
        with pytest.raises(NotNow):
            await fair.call("t", {}, Caller("alice"))
    clock.now += 10
    await fair.call("t", {}, Caller("alice"))


async def test_callers_that_rest_are_forgotten_and_those_over_a_limit_are_not() -> None:
    clock = Clock()
    fair = tools(open_tools(), clock, per_minute=6)
    await fair.call("t", {}, Caller("alice"))
    for number in range(MOST_CALLERS * 3):
        clock.now += 0.001
        await fair.call("t", {}, Caller(f"caller {number}"))
    with pytest.raises(NotNow):
        await fair.call("t", {}, Caller("alice"))
    clock.now += 60
    await fair.call("t", {}, Caller("one more"))

    assert len(fair._usage_by_principal) < 10  # noqa: SLF001 - memory has no other face


@given(
    per_second=st.floats(0.01, 100),
    burst=st.floats(1, 50),
    steps=st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_a_pace_is_never_exceeded(per_second: float, burst: float, steps: list[float]) -> None:
    pace, clock, taken = Pace(per_second, burst), Clock(0), 0
    for step in steps:
        clock.now += step
        if not pace.wait(clock.now):
            pace.take(clock.now)
            taken += 1
        assert taken <= burst + clock.now * per_second + 1e-6


@given(per_second=st.floats(0.01, 100), burst=st.floats(1, 50), turns=st.integers(1, 100))
def test_whoever_waits_as_told_gets_a_turn(per_second: float, burst: float, turns: int) -> None:
    pace, clock = Pace(per_second, burst), Clock(0)
    for _ in range(turns):
        clock.now += pace.wait(clock.now)
        assert pace.wait(clock.now) <= 1e-6
        pace.take(clock.now)


# Calls to CAMS, of all callers


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    throttle = Throttle(3)
    running, most = 0, 0

    async def call() -> None:
        nonlocal running, most
        async with throttle.slot():
            running += 1
            most = max(most, running)
            await anyio.lowlevel.checkpoint()
            running -= 1

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(call)

    assert most == 3
    assert running == 0


async def test_requests_keep_the_pace_and_wait_their_turn() -> None:
    clock = Clock()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds, 6))

    throttle = Throttle(100, 2, now=clock, sleep=sleep)
    for _ in range(5):
        async with throttle.slot():
            pass

    assert waits == [0.5, 1.0, 1.5]


async def test_a_wait_that_would_be_too_long_is_refused_with_the_time() -> None:
    async def sleep(seconds: float) -> None:
        pass

    throttle = Throttle(1000, 1, now=Clock(), sleep=sleep)
    for _ in range(int(LONGEST_WAIT_SECONDS) + 1):
        async with throttle.slot():
            pass
    with pytest.raises(NotNow, match=r"Nothing was sent: this server has reached its limit.*Try again in 1 s"):
        async with throttle.slot():
            pass


async def test_pace_and_queue_together_hold_a_call_no_longer_than_the_longest_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cams_mcp.api.throttle.LONGEST_WAIT_SECONDS", 0.2)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await anyio.sleep_forever()

    throttle = Throttle(1, 10, now=Clock(), sleep=sleep)
    for _ in range(10):
        async with throttle.slot():
            pass
    with anyio.fail_after(20), pytest.raises(NotNow, match="Nothing was sent"):
        async with throttle.slot():
            pass

    assert len(waits) == 1


async def test_a_failed_or_cancelled_request_gives_its_turn_back() -> None:
    throttle = Throttle(1)
    with pytest.raises(ValueError):  # noqa: PT011
        async with throttle.slot():
            raise ValueError
    with anyio.CancelScope() as scope:
        async with throttle.slot():
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    async with throttle.slot():
        pass


async def test_each_attempt_takes_a_turn_and_waiting_between_them_takes_none() -> None:
    entered: list[str] = []

    class Turn:
        async def __aenter__(self) -> None:
            entered.append("in")

        async def __aexit__(self, *error: object) -> None:
            entered.append("out")

    async def sleep(seconds: float) -> None:
        entered.append("sleep")

    failing = Sandbox(Faults([Fault.parse("error")]))
    async with client_of(failing, slot=Turn, sleep=sleep) as client:
        with pytest.raises(Exception, match="tried 3 times"):
            await client.call(LIST_INSTANCE, ListInstanceRequest())

    assert entered == ["in", "out", "sleep", "in", "out", "sleep", "in", "out"]


# The whole server


@EACH_ERA
async def test_a_client_over_its_limit_gets_a_tool_error_with_words_and_others_go_on(
    sandbox: Sandbox, tmp_path: Path, mode: str
) -> None:
    path = people_of(tmp_path / "tokens")
    limits = {"at_once": 1, "per_minute": 1, "now": Clock()}
    settings = {"around": lambda tools: LimitedTools(tools, **limits), "auth_token_file": path}
    async with http_server(sandbox, TokenFile(path), **settings) as url:
        async with bearer(url, ALICE, mode) as alice:
            results = [await alice.call_tool("list_instance", {}) for _ in range(2)]
        async with bearer(url, BOB, mode) as bob:
            other = await bob.call_tool("list_instance", {})

    assert not results[0].is_error
    assert results[1].is_error
    assert "Try again in 60 s" in text_of(results[1])
    assert not other.is_error


@EACH_ERA
async def test_limits_of_callers_are_options(tmp_path: Path, mode: str) -> None:
    options = ("--auth-token-file", people_of(tmp_path / "tokens"), "--calls-per-minute", "6")
    with program(*options) as (_, url):
        async with bearer(url, ALICE, mode) as alice:
            assert not (await alice.call_tool("list_instance", {})).is_error
            refused = await alice.call_tool("list_instance", {})
        async with bearer(url, BOB, mode) as bob:
            assert not (await bob.call_tool("list_instance", {})).is_error

    assert refused.is_error
    assert re.search(r"6 calls per minute .*Try again in \d+ s", text_of(refused))


async def test_limits_of_the_way_to_cams_are_options() -> None:
    with program("--cams-per-second", "0.01") as (_, url):
        async with bearer(url, "none") as client:
            assert not (await client.call_tool("list_instance", {})).is_error
            refused = await client.call_tool("list_instance", {})

    assert refused.is_error
    assert "this server has reached its limit" in text_of(refused)
