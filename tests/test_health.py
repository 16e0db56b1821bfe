from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import mcp_types as types
import pytest
from mcp import Client
from starlette.applications import Starlette
from support import ERAS, TARGET, people, serving
from support_http import AUDIENCE, ISSUER, Clock, KeyServer, SigningKey, get, people_of, post, program
from support_process import Program

from cams_mcp.confirmation import Caller, Reply
from cams_mcp.errors import NotNow, StoreError
from cams_mcp.http import Draining, Health
from cams_mcp.http.health import CACHE_SECONDS
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, sandbox_app

EACH_ERA = pytest.mark.parametrize("mode", ERAS)


def test_a_fresh_server_is_alive_and_ready_without_a_token_and_by_any_host(tmp_path: Path) -> None:
    with program("--auth-token-file", people_of(tmp_path / "tokens")) as (_, url):
        for host in ("127.0.0.1", "10.0.0.7:8000", "pod.example.com"):
            alive, ready = get(url, "/healthz", host=host), get(url, "/readyz", host=host)

            assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
            assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
            assert ready.headers["cache-control"] == "no-store"


def bare(folder: Path) -> dict[str, str]:
    """An environment in which no access key is found, fast."""
    return {
        "HOME": str(folder),
        "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "",
    }


def test_a_server_without_credentials_is_alive_but_not_ready(tmp_path: Path) -> None:
    options = ("--no-sandbox", "--state-dir", tmp_path / "state")
    with program(*options, env=bare(tmp_path)) as (_, url):
        alive, ready = get(url, "/healthz"), get(url, "/readyz")

    assert alive.status_code == 200
    assert (ready.status_code, ready.json()) == (503, {"status": "not ready", "failed": ["credentials"]})


@pytest.mark.parametrize(("more", "status"), [((), 503), (("--read-only",), 200)], ids=["writes", "read-only"])
def test_a_server_that_cannot_keep_its_record_is_not_ready_unless_it_only_reads(
    tmp_path: Path, more: tuple[str, ...], status: int
) -> None:
    blocked = tmp_path / "state"
    blocked.symlink_to(tmp_path / "loop")
    (tmp_path / "loop").symlink_to(blocked)
    with program("--state-dir", blocked / "deeper", *more) as (_, url):
        ready = get(url, "/readyz")

    assert ready.status_code == status
    assert str(tmp_path) not in ready.text
    assert ("store" in ready.text) == (status == 503)


def test_a_server_without_keys_for_its_tokens_is_not_ready() -> None:
    keys = KeyServer(SigningKey().public())
    with serving(keys) as keys_url:
        options = ("--auth-issuer", ISSUER, "--auth-audience", AUDIENCE, "--auth-jwks-url", keys_url)
        with program(*options) as (_, url):
            assert get(url, "/readyz").status_code == 200
            assert get(url, "/readyz").status_code == 200
        assert keys.asked == 1
        keys.status = 500
        with program(*options) as (_, url):
            ready = get(url, "/readyz")

    assert (ready.status_code, ready.json()["failed"]) == (503, ["keys"])


def test_no_probe_calls_cams(tmp_path: Path) -> None:
    calls: list[str] = []

    async def cams(scope: dict[str, object], receive: object, send: object) -> None:
        calls.append(str(scope["type"]))

    key = ("--access-key-id", "example", "--access-key-secret", "example", "--state-dir", tmp_path)
    with serving(cams, lifespan="off") as endpoint, program("--no-sandbox", "--endpoint", endpoint, *key) as (_, url):
        assert get(url, "/readyz").status_code == 200
        assert get(url, "/healthz").status_code == 200

    assert calls == []


def test_checks_are_run_at_most_every_few_seconds_and_say_no_more_than_their_name() -> None:
    clock = Clock()
    runs: list[str] = []

    async def store() -> None:
        runs.append("store")
        if len(runs) == 2:
            raise StoreError("secret of the store")

    health = Health({"store": store}, now=clock)
    with serving(Starlette(routes=health.routes())) as base:
        for _ in range(5):
            assert get(base, "/readyz").status_code == 200
        assert runs == ["store"]
        clock.now += CACHE_SECONDS
        failed = get(base, "/readyz")
        assert failed.status_code == 503
        assert "secret" not in failed.text
        assert get(base, "/readyz").status_code == 503
        clock.now += CACHE_SECONDS
        assert get(base, "/readyz").status_code == 200
    assert len(runs) == 3


def test_health_takes_reads_only() -> None:
    with serving(Starlette(routes=Health({}).routes())) as base:
        assert post(f"{base}/healthz", "legacy").status_code == 405


# Stopping


class Slow:
    """Tools whose calls end when told to."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.go_on = anyio.Event()
        self.stopped = 0

    async def call(self, *arguments: object, **more: object) -> str:
        self.begun.set()
        await self.go_on.wait()
        return "done"

    def stop_waiting(self) -> bool:
        self.stopped += 1
        return False


async def test_a_server_that_stops_begins_no_new_write_and_lets_running_calls_end() -> None:
    slow = Slow()
    work = Draining(slow, frozenset({"write"}))
    results: list[object] = []

    async def call() -> None:
        results.append(await work.call("write", {}, Caller()))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await slow.begun.wait()
        assert work.is_running
        assert slow.stopped == 0
        work.stop()
        assert work.is_stopping
        assert slow.stopped == 0, "a signal handler cancels nothing: it runs outside of the event loop"
        work.cancel_questions()
        assert slow.stopped == 1, "calls that wait for a person return"
        with pytest.raises(NotNow, match=r"shutting down and accepts no new writes. Try again in 30 s"):
            await work.call("write", {}, Caller())
        slow.go_on.set()
        assert await work.call("read", {}, Caller()) == "done"

    assert results == ["done"]
    assert not work.is_running


@pytest.mark.parametrize(("tool", "words"), [("write", "may have been applied"), ("read", "Try again")])
async def test_a_call_that_is_cut_off_says_so(tool: str, words: str) -> None:
    slow = Slow()
    work = Draining(slow, frozenset({"write"}))
    errors: list[str] = []

    async def call() -> None:
        try:
            await work.call(tool, {}, Caller())
        except NotNow as error:
            errors.append(str(error))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await slow.begun.wait()
        work.cancel_calls()

    assert words in errors[0]
    assert not work.is_running


async def test_a_call_that_fails_is_no_longer_running() -> None:
    class Failing:
        async def call(self, *arguments: object, **more: object) -> str:
            raise ValueError

    work = Draining(Failing(), frozenset())
    with pytest.raises(ValueError):  # noqa: PT011
        await work.call("read", {}, Caller())
    assert not work.is_running


class Asking:
    """Tools whose calls ask when told to, and do what the person says."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.may_ask = anyio.Event()

    async def call(self, name: str, arguments: object, caller: Caller, **more: object) -> str:
        self.begun.set()
        await self.may_ask.wait()
        assert caller.ask is not None
        return (await caller.ask("?")).action

    def stop_waiting(self) -> bool:
        return False


@pytest.mark.parametrize("stops", ["before the question", "during the question", "never"])
async def test_only_a_server_that_stops_ends_a_question_and_says_that_nothing_was_sent(stops: str) -> None:
    tools = Asking()
    work = Draining(tools, frozenset({"write"}))
    asked, may_answer = anyio.Event(), anyio.Event()
    ends: list[str] = []

    async def ask(_: str) -> Reply:
        asked.set()
        await may_answer.wait()
        return Reply("accept")

    async def call() -> None:
        try:
            ends.append(str(await work.call("write", {}, Caller(ask=ask))))
        except NotNow as error:
            ends.append(str(error))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await tools.begun.wait()
            if stops == "before the question":
                work.stop()
            tools.may_ask.set()
            if stops != "before the question":
                await asked.wait()
            if stops == "during the question":
                work.stop()
                work.cancel_questions()
            if stops == "never":
                may_answer.set()

    (end,) = ends
    assert end == "accept" if stops == "never" else "Nothing was sent: the server is shutting down" in end
    assert not work.is_running


def test_a_server_that_stops_is_not_ready_but_alive() -> None:
    work = Draining(Slow(), frozenset())
    health = Health({}, is_stopping=lambda: work.is_stopping)
    with serving(Starlette(routes=health.routes())) as base:
        assert get(base, "/readyz").status_code == 200
        work.stop()
        ready = get(base, "/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "stopping"})
        assert get(base, "/healthz").status_code == 200


class HeldCams:
    """CAMS that tells when a call has come and answers when it may."""

    def __init__(self) -> None:
        self.sandbox = Sandbox()
        self.come = threading.Event()
        self.may_answer = threading.Event()
        self._app = sandbox_app(self.sandbox)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.come.set()
        await anyio.to_thread.run_sync(self.may_answer.wait, 20)
        await self._app(scope, receive, send)


@contextmanager
def held_program(folder: Path, *options: str) -> Generator[tuple[HeldCams, Program, str]]:
    cams = HeldCams()
    key = ("--access-key-id", SANDBOX_KEY.id, "--access-key-secret", SANDBOX_KEY.secret, "--state-dir", folder)
    with (
        serving(cams, lifespan="off") as endpoint,
        program("--no-sandbox", "--endpoint", endpoint, *key, *options) as (started, url),
    ):
        try:
            yield cams, started, url
        finally:
            cams.may_answer.set()


def wait_until_refused(url: str) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", httpx.URL(url).port)).close()
        except ConnectionError:
            return


@EACH_ERA
async def test_a_running_call_gets_its_result_after_the_signal(tmp_path: Path, mode: str) -> None:
    results: list[bool | None] = []
    with held_program(tmp_path) as (cams, started, url):
        async with Client(url, mode=mode) as client:
            # Else the client asks for it after the call, to check the result.
            await client.list_tools()

            async def call() -> None:
                results.append((await client.call_tool("list_instance", {})).is_error)

            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await anyio.to_thread.run_sync(cams.come.wait)
                started.signal(signal.SIGTERM)
                await anyio.to_thread.run_sync(wait_until_refused, url)
                cams.may_answer.set()
        status = await anyio.to_thread.run_sync(started.status)

    assert results == [False]
    assert status == 0
    assert "Traceback" not in started.errors


@EACH_ERA
@pytest.mark.parametrize(
    ("grace", "signals"), [("0.1", 1), ("600", 2)], ids=["the grace time is over", "a second signal comes"]
)
async def test_a_call_that_does_not_end_does_not_hold_the_server(
    tmp_path: Path, mode: str, grace: str, signals: int
) -> None:
    with held_program(tmp_path, "--grace", grace) as (cams, started, url):
        async with anyio.create_task_group() as group:

            async def call() -> None:
                # The call is cut off; how its client says so is not the point.
                with suppress(Exception):
                    async with Client(url, mode=mode) as client:
                        await client.call_tool("list_instance", {})

            group.start_soon(call)
            await anyio.to_thread.run_sync(cams.come.wait)
            for _ in range(signals):
                started.signal(signal.SIGTERM)
                await anyio.to_thread.run_sync(wait_until_refused, url)
            status = await anyio.to_thread.run_sync(started.status)
            group.cancel_scope.cancel()

    assert status == 0


@pytest.mark.parametrize("grace", ["0.1", "600"])
async def test_a_question_left_open_does_not_hold_the_server(grace: str) -> None:
    asked = anyio.Event()

    async def stay_silent(context: object, params: object) -> types.ElicitResult:
        asked.set()
        await anyio.sleep_forever()
        raise AssertionError

    with program("--grace", grace) as (started, url):
        async with anyio.create_task_group() as group:

            async def call() -> None:
                with suppress(Exception):
                    async with Client(url, mode="legacy", elicitation_callback=stay_silent) as client:
                        await client.call_tool("add_custom_audience_user", TARGET | {"users": people(2)})

            group.start_soon(call)
            await asked.wait()
            started.signal(signal.SIGTERM)
            status = await anyio.to_thread.run_sync(started.status)
            group.cancel_scope.cancel()

    assert status == 0
