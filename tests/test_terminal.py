"""The question on a real terminal: only what is typed after it answers it, and every end of it ends the program."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import AUDIENCE, TARGET, people, serving, writes_that_arrived
from support_cli import run_here, run_on_terminal
from support_uploads import write_people

from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, sandbox_app

KEY = ("--access-key-id", SANDBOX_KEY.id, "--access-key-secret", SANDBOX_KEY.secret)
Command = Callable[[Path], list[str]]


def call(home: Path) -> list[str]:
    return ["call", "add_custom_audience_user", json.dumps(TARGET | {"users": people(120)})]


def upload(home: Path) -> list[str]:
    write_people(home / "people.csv", 120)
    ids = {"space": "cust_space_id", "page": "page_id", "ad-account": "ad_account_id"}
    given = [word for name, field in ids.items() for word in (f"--{name}", TARGET[field])]
    return ["upload", str(home / "people.csv"), *given, "--audience", AUDIENCE]


EACH_COMMAND = pytest.mark.parametrize("command", [call, upload])


@pytest.fixture
def url(sandbox: Sandbox) -> Iterator[str]:
    with serving(sandbox_app(sandbox)) as url:
        yield url


def events(home: Path) -> list[str]:
    trail = run_here(home, "audit", "--json").stdout
    return [json.loads(line)["event"] for line in trail.splitlines()]


@EACH_COMMAND
def test_a_yes_typed_before_the_question_is_no_answer(
    tmp_path: Path, sandbox: Sandbox, url: str, command: Command
) -> None:
    status, _, shown = run_on_terminal(
        tmp_path, *command(tmp_path), "--endpoint", url, *KEY, until="[y/N]", ahead="y\ny\ny", answer="\n"
    )

    assert status != 0
    assert "the user declined" in shown
    assert not writes_that_arrived(sandbox)
    assert events(tmp_path) == ["asked", "declined"]


@EACH_COMMAND
def test_a_question_that_is_not_answered_in_time_ends_the_program(
    tmp_path: Path, sandbox: Sandbox, url: str, command: Command
) -> None:
    status, output, shown = run_on_terminal(
        tmp_path, *command(tmp_path), "--endpoint", url, *KEY, "--ask-timeout", "1", until="[y/N]", answer=""
    )

    assert status == (3 if command is upload else 1)
    assert output == ""
    assert "did not answer within 1 s" in shown
    assert not writes_that_arrived(sandbox)
    assert events(tmp_path) == ["asked", "declined"]


@EACH_COMMAND
@pytest.mark.parametrize("key", ["\x03", "\x04", "y\x04\x04"], ids=["ctrl-c", "ctrl-d", "ctrl-d-after-a-letter"])
def test_a_question_that_is_dismissed_sends_nothing_and_is_recorded(
    tmp_path: Path, sandbox: Sandbox, url: str, command: Command, key: str
) -> None:
    status, output, shown = run_on_terminal(
        tmp_path, *command(tmp_path), "--endpoint", url, *KEY, until="[y/N]", answer=key
    )

    assert status != 0
    assert output == ""
    assert "Traceback" not in shown
    assert not writes_that_arrived(sandbox)
    assert events(tmp_path) == ["asked", "declined"]


@EACH_COMMAND
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_at_the_question_sends_nothing_and_is_recorded(
    tmp_path: Path, sandbox: Sandbox, url: str, command: Command, number: signal.Signals
) -> None:
    status, _, shown = run_on_terminal(
        tmp_path, *command(tmp_path), "--endpoint", url, *KEY, until="[y/N]", answer="", signalled=number
    )

    assert status != 0
    assert "Traceback" not in shown
    assert not writes_that_arrived(sandbox)
    assert events(tmp_path) == ["asked", "declined"]


@EACH_COMMAND
def test_a_terminal_that_is_closed_at_the_question_sends_nothing_and_is_recorded(
    tmp_path: Path, sandbox: Sandbox, url: str, command: Command
) -> None:
    status, _, _ = run_on_terminal(
        tmp_path, *command(tmp_path), "--endpoint", url, *KEY, until="[y/N]", answer="", hang_up=True
    )

    assert status != 0
    assert not writes_that_arrived(sandbox)
    assert events(tmp_path) == ["asked", "declined"]


@EACH_COMMAND
@pytest.mark.parametrize("answer", ["y\n", " YES \n"])
def test_a_yes_typed_after_the_question_sends(
    tmp_path: Path, sandbox: Sandbox, url: str, command: Command, answer: str
) -> None:
    status, _, shown = run_on_terminal(
        tmp_path, *command(tmp_path), "--endpoint", url, *KEY, until="[y/N]", answer=answer
    )

    assert status == 0, shown
    assert len(sandbox.people(AUDIENCE)) == 120
    assert events(tmp_path)[:2] == ["asked", "approved"]


def test_an_answer_that_is_neither_yes_nor_no_is_asked_for_again(tmp_path: Path, sandbox: Sandbox, url: str) -> None:
    status, _, shown = run_on_terminal(
        tmp_path, *call(tmp_path), "--endpoint", url, *KEY, "--ask-timeout", "2", until="[y/N]", answer="perhaps\ny\n"
    )

    assert status != 0
    assert "Please answer y or n." in shown
    assert shown.count("[y/N]") == 2
    assert not writes_that_arrived(sandbox)
