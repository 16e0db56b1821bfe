"""A store that others hold: who waits, for how long, and who does not."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
from mcp import Client
from store_worker import a_write, asked
from support import ERAS, VALID_ARGUMENTS, mcp_server, text_of, writes_that_arrived, yes
from support_cli import run_here
from support_process import Program
from support_redis import MISSING, REDIS, RedisServer
from test_store import WRITE, events

from cams_mcp.deadlines import OUTCOME_SECONDS, STEP_SECONDS, until
from cams_mcp.errors import StoreError
from cams_mcp.sandbox import Sandbox, SandboxTransport
from cams_mcp.store import FILE_NAME, Ending, Store
from cams_mcp.store.redis import RedisStore
from cams_mcp.threads import STEPS_AT_ONCE, in_thread, persist

pytestmark = pytest.mark.slow

WAITING = 45
"""More than anyio's 40 default threads."""

SOON = 4 * STEP_SECONDS
"""Far less than waiting one after the other would take, and enough for a loaded machine."""

needs_redis = pytest.mark.skipif(REDIS is None, reason=MISSING)


@contextmanager
def locked(directory: Path) -> Generator[sqlite3.Connection]:
    """A store that another program holds."""
    with closing(Store(directory)) as store:
        store.record("blocked", a_write(), "token", "so that there is a file")
    with closing(sqlite3.connect(directory / FILE_NAME, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield other


def is_soon(begun: float) -> bool:
    return time.monotonic() - begun < SOON


# Calls of a server whose store is locked


def start_writes(server: Program, number: int = WAITING) -> set[int]:
    call = {"name": WRITE, "arguments": VALID_ARGUMENTS[WRITE]}
    return {server.start("tools/call", call) for _ in range(number)}


READS = {
    "tools": ("tools/list", {}),
    "a tool": ("tools/call", {"name": "list_instance", "arguments": {}}),
    "resources": ("resources/list", {}),
    "a resource": ("resources/read", {"uri": "cams://accounts"}),
    "prompts": ("prompts/list", {}),
}


@pytest.mark.parametrize("mode", ERAS)
def test_reads_overtake_writes_that_wait_for_a_locked_store(tmp_path: Path, mode: str) -> None:
    with locked(tmp_path), Program("--sandbox", "--state-dir", str(tmp_path)) as server:
        server.connect(mode)
        writes = start_writes(server)
        reads = {server.start(method, params): name for name, (method, params) in READS.items()}

        answered = [json.loads(server.line()) for _ in reads]

    assert {answer["id"] for answer in answered} == set(reads)
    assert not writes & {answer["id"] for answer in answered}
    assert all("result" in answer and not answer["result"].get("isError") for answer in answered)


@pytest.mark.parametrize("mode", ERAS)
def test_writes_on_a_locked_store_fail_soon_however_many_wait(tmp_path: Path, mode: str) -> None:
    with locked(tmp_path), Program("--sandbox", "--state-dir", str(tmp_path)) as server:
        server.connect(mode)
        begun = time.monotonic()
        writes = start_writes(server)

        answers = [json.loads(server.line()) for _ in writes]
        assert is_soon(begun)

    assert {answer["id"] for answer in answers} == writes
    for answer in answers:
        assert answer["result"]["isError"]
        assert "is busy" in answer["result"]["content"][0]["text"]
        assert "Try again in a moment." in answer["result"]["content"][0]["text"]


def test_a_server_ends_soon_although_writes_wait_for_a_locked_store(tmp_path: Path) -> None:
    with locked(tmp_path), Program("--sandbox", "--state-dir", str(tmp_path)) as server:
        server.connect()
        start_writes(server)
        begun = time.monotonic()
        server.end_input()

        assert server.status() == 0
        assert is_soon(begun)


def test_a_write_goes_out_once_the_store_is_free_again(tmp_path: Path) -> None:
    with Program("--sandbox", "--state-dir", str(tmp_path), "--confirm", "off") as server:
        with locked(tmp_path):
            server.connect()
            assert server.ask("tools/call", {"name": WRITE, "arguments": VALID_ARGUMENTS[WRITE]})["result"]["isError"]

        answer = server.ask("tools/call", {"name": WRITE, "arguments": VALID_ARGUMENTS[WRITE]})

    assert answer["result"]["structuredContent"]["status"] == "sent"


class LocksOnArrival(httpx.AsyncBaseTransport):
    """The way to a sandbox; whatever arrives finds the store locked, for longer than most steps wait."""

    def __init__(self, sandbox: Sandbox, other: sqlite3.Connection) -> None:
        self._inner = SandboxTransport(sandbox)
        self._other = other

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if request.headers["x-acs-action"] == "AddCustomAudienceUser":
            self._other.execute("BEGIN EXCLUSIVE")
            threading.Timer(STEP_SECONDS + 0.5, self._other.execute, ["ROLLBACK"]).start()
        return response


@pytest.mark.parametrize("mode", ERAS)
async def test_the_outcome_of_a_write_is_worth_a_longer_wait(tmp_path: Path, mode: str) -> None:
    sandbox = Sandbox()
    with locked(tmp_path) as other, closing(Store(tmp_path)) as store:
        other.execute("ROLLBACK")
        async with (
            mcp_server(sandbox, store=store, transport=LocksOnArrival(sandbox, other)) as server,
            Client(server, mode=mode, elicitation_callback=yes()) as client,
        ):
            result = await client.call_tool(WRITE, VALID_ARGUMENTS[WRITE])
        told = events(store)

    assert not result.is_error, text_of(result)
    assert len(writes_that_arrived(sandbox)) == 1
    assert told[-2:] == ["approved", "sent"]


# Steps in threads


async def test_waiting_steps_leave_the_default_threads_free(tmp_path: Path) -> None:
    default = anyio.to_thread.current_default_thread_limiter()
    most = 0
    with locked(tmp_path), closing(Store(tmp_path)) as store:

        async def write() -> None:
            with pytest.raises(StoreError, match="is busy"):
                await in_thread(lambda: store.record("blocked", a_write(), "token"))

        async with anyio.create_task_group() as tasks:
            for _ in range(WAITING):
                tasks.start_soon(write)
            for _ in range(20):
                await anyio.to_thread.run_sync(time.monotonic)
                most = max(most, default.borrowed_tokens)

    assert most == 0


class Slots:
    """Takes all the threads that steps may have, until they are given back."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._taken = threading.Semaphore(0)

    def _hold(self) -> None:
        self._taken.release()
        assert self._free.wait(20)

    async def take(self, tasks: anyio.abc.TaskGroup) -> None:
        for _ in range(STEPS_AT_ONCE):
            tasks.start_soon(in_thread, self._hold)
        for _ in range(STEPS_AT_ONCE):
            assert await anyio.to_thread.run_sync(self._taken.acquire, True, 20)  # noqa: FBT003 - its signature

    def give_back(self) -> None:
        self._free.set()


async def test_a_step_that_waits_for_a_thread_can_be_cancelled() -> None:
    slots, ran = Slots(), []
    async with anyio.create_task_group() as holders:
        await slots.take(holders)
        with anyio.move_on_after(0.01) as scope:
            await in_thread(lambda: ran.append("step"))
        slots.give_back()

    assert scope.cancelled_caught
    assert ran == []


async def test_a_step_that_gets_no_thread_in_time_says_that_the_store_is_busy() -> None:
    slots = Slots()
    async with anyio.create_task_group() as holders:
        await slots.take(holders)
        with pytest.raises(StoreError, match="is busy"):
            await in_thread(lambda: None, seconds=0.01)
        slots.give_back()


async def test_a_step_that_started_runs_to_its_end_though_its_call_is_cancelled() -> None:
    started, may_end, ended = threading.Event(), threading.Event(), []

    def step() -> None:
        started.set()
        assert may_end.wait(20)
        ended.append("step")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_thread, step)
        assert await anyio.to_thread.run_sync(started.wait, 20)
        tasks.cancel_scope.cancel()
        may_end.set()

    assert ended == ["step"]


async def test_a_step_that_started_in_time_gives_its_result_however_long_it_takes() -> None:
    late = threading.Event()

    def step() -> str:
        late.wait(0.2)
        return "result"

    assert await in_thread(step, seconds=0.01) == "result"
    await anyio.lowlevel.checkpoint()  # nothing of the timeout is left behind


async def test_an_outcome_is_recorded_by_a_call_that_is_cancelled() -> None:
    recorded: list[str] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await persist(lambda: recorded.append("outcome"))

    assert recorded == ["outcome"]


def test_each_event_loop_has_steps_of_its_own() -> None:
    assert [anyio.run(in_thread, lambda: "step") for _ in range(2)] == ["step", "step"]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: anyio.run(in_thread, lambda: "step"), range(4))) == ["step"] * 4


# Threads and programs without an event loop


def test_all_threads_of_a_locked_store_give_up_by_the_same_deadline(tmp_path: Path) -> None:
    with locked(tmp_path), closing(Store(tmp_path)) as store, ThreadPoolExecutor(WAITING) as pool:
        begun = time.monotonic()
        for attempt in [pool.submit(store.record, "blocked", a_write(), "token") for _ in range(WAITING)]:
            with pytest.raises(StoreError, match="is busy"):
                attempt.result()
        assert is_soon(begun)


def test_steps_of_one_deadline_share_it(tmp_path: Path) -> None:
    with locked(tmp_path), closing(Store(tmp_path)) as store, until(time.monotonic() + STEP_SECONDS):
        begun = time.monotonic()
        for _ in range(10):
            with pytest.raises(StoreError, match="is busy"):
                store.record("blocked", a_write(), "token")
        assert is_soon(begun)


def test_a_reader_outside_of_the_server_makes_a_step_wait_before_its_work_only(tmp_path: Path) -> None:
    worked: list[float] = []

    def clock() -> float:
        worked.append(0.0)
        return 0.0

    with locked(tmp_path) as reader, closing(Store(tmp_path, clock)) as store:
        reader.execute("ROLLBACK")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM audit").fetchone()
        with pytest.raises(StoreError, match="is busy"):
            store.record("blocked", a_write(), "token")

    assert worked == []


@pytest.mark.parametrize("command", [["audit"], ["uploads"]])
def test_a_command_that_reads_a_locked_store_says_that_it_is_busy(tmp_path: Path, command: list[str]) -> None:
    with locked(tmp_path / "state"):
        begun = time.monotonic()
        ended = run_here(tmp_path, *command, "--state-dir", str(tmp_path / "state"))

    assert ended.returncode == 1
    assert "is busy" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert is_soon(begun)


# Redis that does not answer


@contextmanager
def answering(reply: Callable[[socket.socket], None]) -> Generator[str]:
    """Something on loopback that is no Redis."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    reply(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(20)


def slow(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while connection.recv(10_000):
            time.sleep(0.2)
            connection.sendall(b"+OK\r\n")


def test_answers_that_come_slowly_do_not_lengthen_the_step() -> None:
    with answering(slow) as url, closing(RedisStore(url)) as store:
        begun = time.monotonic()
        with until(begun + 0.5), pytest.raises(StoreError, match="TimeoutError from Redis"):
            asked(store, a_write())
        assert is_soon(begun)


async def test_steps_over_a_silent_redis_fail_soon_however_many_wait() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        store = RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

        async def write() -> None:
            with pytest.raises(StoreError):
                await in_thread(lambda: store.record("blocked", a_write(), "token"))

        with closing(store), anyio.fail_after(SOON):
            async with anyio.create_task_group() as tasks:
                for _ in range(WAITING):
                    tasks.start_soon(write)


@contextmanager
def paused(server: RedisServer) -> Generator[Callable[[], None]]:
    with server.connect() as client:
        process: Any = client.info()["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        yield lambda: os.kill(process, signal.SIGCONT)
    finally:
        os.kill(process, signal.SIGCONT)


@needs_redis
def test_a_paused_redis_is_given_up_soon_and_used_again_later(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, closing(RedisStore(server.url)) as store:
        store.record("blocked", a_write(), "token", "before")
        begun = time.monotonic()
        with paused(server), pytest.raises(StoreError, match="TimeoutError from Redis"):
            store.begin_unasked(a_write())
        assert is_soon(begun)

        assert store.begin_unasked(a_write())


@needs_redis
def test_the_outcome_of_a_write_waits_for_a_paused_redis(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, closing(RedisStore(server.url)) as store:
        number = store.begin_unasked(a_write())
        with paused(server) as go_on, until(time.monotonic() + OUTCOME_SECONDS):
            threading.Timer(STEP_SECONDS + 0.5, go_on).start()
            store.finish(number, a_write(), "off", Ending(outcome="sent"))

        assert events(store) == ["approved", "sent"]


@needs_redis
def test_a_redis_out_of_connections_holds_writes_back_until_it_has_some(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--maxclients", "2") as server, closing(RedisStore(server.url)) as store:
        with server.connect() as one, server.connect() as two:
            assert one.ping()
            assert two.ping()
            with pytest.raises(StoreError, match="sends no writes without it"):
                store.begin_unasked(a_write())

        assert store.begin_unasked(a_write())
