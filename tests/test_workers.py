"""`--workers`: several real processes behind one port."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from support import ERAS, VALID_ARGUMENTS, text_of, yes
from support_http import LISTENING, get, post
from support_process import Program
from support_redis import RedisServer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

WRITE = "add_custom_audience_user"
SERVE = ("serve", "--transport", "http", "--port", "0", "--sandbox", "--workers", "2", "--log-level", "info")


class Workers:
    """A running server of two workers.

    Attributes:
        url: its endpoint.
        pids: of its workers, as its log tells.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pids = [self.next_pid() for _ in range(2)]
        self.url = program.error_line(LISTENING).removeprefix(LISTENING)

    def next_pid(self) -> int:
        """Wait until the log tells of one more worker."""
        while True:
            if begun := re.search(r"worker (\d+) started", self.program.error_line("")):
                return int(begun[1])

    def replace_all(self) -> None:
        """Kill every worker, and wait until others have taken their places."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        self.pids = [self.next_pid() for _ in self.pids]


@contextmanager
def workers_with(*arguments: str, **environment: str) -> Generator[Workers]:
    with Program(*SERVE, *arguments, env=environment) as program:
        yield Workers(program)


@pytest.fixture
def workers(tmp_path: Path) -> Generator[Workers]:
    with workers_with("--state-dir", str(tmp_path)) as started:
        yield started


@pytest.mark.parametrize("mode", ERAS)
async def test_reads_and_writes_work_over_one_port(workers: Workers, mode: str) -> None:
    person = yes()
    async with Client(workers.url, mode=mode, elicitation_callback=person) as client:
        listed = await client.call_tool("list_instance", {})
        result = await client.call_tool(WRITE, VALID_ARGUMENTS[WRITE])
        if mode == "legacy":
            # Such a client's answer could come to another worker than the one that asks: it takes two steps.
            token = result.structured_content["confirmation_token"]
            result = await client.call_tool(WRITE, VALID_ARGUMENTS[WRITE] | {"confirmation_token": token})

    assert not listed.is_error
    assert not result.is_error, text_of(result)
    assert len(person.asked) == (0 if mode == "legacy" else 1)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
@pytest.mark.parametrize("mode", ERAS)
async def test_what_one_worker_asked_another_takes_the_answer_to(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, mode: str
) -> None:
    if kind == "sqlite":
        given: dict[str, str] = {"CAMS_MCP_STATE_DIR": str(tmp_path)}
    else:
        server: RedisServer = request.getfixturevalue("redis")
        given = {"CAMS_MCP_STORE": server.url}
    with workers_with(**given) as workers:

        async def answer(context: object, params: Any) -> types.ElicitResult:
            workers.replace_all()
            return types.ElicitResult(action="accept", content={"confirm": True})

        async with Client(workers.url, mode=mode, elicitation_callback=answer) as client:
            first = workers.pids
            result = await client.call_tool(WRITE, VALID_ARGUMENTS[WRITE])
            if mode == "legacy":
                workers.replace_all()
                token = result.structured_content["confirmation_token"]
                result = await client.call_tool(WRITE, VALID_ARGUMENTS[WRITE] | {"confirmation_token": token})

    assert not set(first) & set(workers.pids)
    assert not result.is_error, text_of(result)
    assert result.structured_content["status"] == "sent"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_workers_and_is_no_failure(workers: Workers, number: int) -> None:
    assert get(workers.url, "/healthz").status_code == 200
    workers.program.signal(number)

    # Standard error ends when the last process that holds it does.
    assert workers.program.status() == 0
    for pid in workers.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_do_not_outlive_the_one_that_watches_over_them(workers: Workers) -> None:
    assert get(workers.url, "/healthz").status_code == 200
    workers.program.signal(signal.SIGKILL)

    assert workers.program.status() == -signal.SIGKILL


def test_a_worker_that_dies_is_told_in_the_log_and_replaced(workers: Workers) -> None:
    dead = workers.pids[0]
    os.kill(dead, signal.SIGKILL)

    assert workers.next_pid() not in workers.pids
    assert f"worker {dead} exited with status -9; starting a replacement" in workers.program.errors
    assert post(workers.url).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "environment", "problem"),
    [
        ((), {}, "With --workers, all workers must share one store"),
        (("--legacy-sessions", "on"), {}, "requires a single worker"),
        (("--state-dir", "{here}", "--cams-at-once", "1"), {}, "--cams-at-once must be at least the number of workers"),
        (
            ("--state-dir", "{here}"),
            {"OTEL_TRACES_EXPORTER": "nonsense"},
            "OTEL_TRACES_EXPORTER names an unsupported exporter",
        ),
        (("--state-dir", "{here}", "--auth-token-file", "{here}/none"), {}, "token file"),
    ],
)
def test_what_cannot_work_ends_the_program_with_a_reason(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], problem: str
) -> None:
    given = [argument.format(here=tmp_path) for argument in arguments]
    with Program(*SERVE, *given, env=environment) as program:
        assert program.status() == 1
        assert "Error: " in program.errors
        assert problem in program.errors
        assert "Traceback" not in program.errors
