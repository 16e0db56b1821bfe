"""`cams-mcp approve` beside real servers: what waits there is listed, decided on a terminal, and sent once."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import TARGET, people, serving, writes_that_arrived
from support_cli import environment, run, run_here, run_on_terminal
from support_process import Program
from support_redis import RedisServer

from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, sandbox_app

KEY = ("--access-key-id", SANDBOX_KEY.id, "--access-key-secret", SANDBOX_KEY.secret)
WRITE = {"name": "add_custom_audience_user", "arguments": TARGET | {"users": people(120)}}
MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])


@pytest.fixture
def url(sandbox: Sandbox) -> Iterator[str]:
    with serving(sandbox_app(sandbox)) as url:
        yield url


def server(home: Path, url: str, *more: str, confirm: str = "person", env: Mapping[str, str] | None = None) -> Program:
    state = () if "--store" in more else ("--state-dir", str(home / "state"))
    return Program("--endpoint", url, *KEY, *state, "--confirm", confirm, *more, env=environment(home, env))


def call(program: Program) -> dict[str, Any]:
    return program.ask("tools/call", WRITE)["result"]


def approve(home: Path, answer: str, *arguments: str, state: tuple[str, ...] = ()) -> tuple[int, str, str]:
    where = state or ("--state-dir", str(home / "state"))
    return run_on_terminal(home, "approve", *arguments, *where, until="]: ", answer=answer)


def events(home: Path) -> list[tuple[str, str, str]]:
    trail = run_here(home, "audit", "--json", "--state-dir", str(home / "state")).stdout
    entries = [json.loads(line) for line in trail.splitlines()]
    return [(entry["event"], entry["channel"], entry.get("by", "")) for entry in entries]


@MODES
def test_a_write_approved_on_a_terminal_is_sent_by_the_server_that_holds_it(
    tmp_path: Path, sandbox: Sandbox, url: str, mode: str
) -> None:
    with server(tmp_path, url) as program:
        program.connect(mode)
        waiting = call(program)["structuredContent"]
        status, output, shown = approve(tmp_path, "y\n", waiting["approval_id"])
        later = call(program)["structuredContent"]

    assert waiting["status"] == "awaiting_approval"
    assert f"approve --state-dir {tmp_path / 'state'} {waiting['approval_id']}`" in waiting["next"]
    assert status == 0
    assert "Add 120 people" in shown
    assert "cannot be undone" in shown
    assert "and sent. CAMS accepted it." in output
    assert later["status"] == "sent"
    assert "Nothing was sent again" in later["next"]
    assert len(writes_that_arrived(sandbox)) == 1
    (_, _, nobody), (_, _, person), (_, channel, _) = events(tmp_path)
    assert nobody == ""
    assert re.fullmatch(r"\S+@\S+", person)
    assert channel == "approve"
    assert [event for event, _, _ in events(tmp_path)] == ["asked", "approved", "sent"]


@MODES
def test_a_write_declined_on_a_terminal_is_not_asked_about_again(
    tmp_path: Path, sandbox: Sandbox, url: str, mode: str
) -> None:
    with server(tmp_path, url) as program:
        program.connect(mode)
        waiting = call(program)["structuredContent"]
        status, output, _ = approve(tmp_path, "n\n", waiting["approval_id"])
        later = call(program)

    assert status == 0
    assert output.startswith("Declined with cams-mcp approve by ")
    assert later["isError"]
    assert "a person declined this write" in later["content"][0]["text"]
    assert not writes_that_arrived(sandbox)


def test_without_an_id_it_goes_through_everything_that_waits(tmp_path: Path, sandbox: Sandbox, url: str) -> None:
    with server(tmp_path, url) as program:
        program.connect()
        call(program)
        _, output, shown = approve(tmp_path, "y\n")

    assert "Add 120 people" in output
    assert 'Requested by "test 1".' in output
    assert "Your answer is recorded as made by" in shown
    assert len(writes_that_arrived(sandbox)) == 1


def test_a_server_killed_between_decision_and_sending_leaves_the_sending_to_the_next_identical_call(
    tmp_path: Path, sandbox: Sandbox, url: str
) -> None:
    with server(tmp_path, url) as program:
        program.connect()
        waiting = call(program)["structuredContent"]
        program.signal(signal.SIGKILL)
        program.status()
    _, output, _ = approve(tmp_path, "y\n", waiting["approval_id"])
    assert not writes_that_arrived(sandbox)
    with server(tmp_path, url) as program:
        program.connect()
        results = [call(program)["structuredContent"] for _ in range(2)]

    assert "Not sent yet." in output
    assert "ask the assistant to make the same call again before" in output
    assert [result["status"] for result in results] == ["sent", "sent"]
    assert len(writes_that_arrived(sandbox)) == 1
    assert [event for event, _, _ in events(tmp_path)] == ["asked", "approved", "sent"]


def test_a_pipe_lists_what_waits_and_decides_nothing(tmp_path: Path, sandbox: Sandbox, url: str) -> None:
    with server(tmp_path, url) as program:
        program.connect()
        waiting = call(program)["structuredContent"]
        listed = run(tmp_path, "approve", "--state-dir", str(tmp_path / "state"), stdin="y\ny\n")
        chosen = run(tmp_path, "approve", waiting["approval_id"], "--state-dir", str(tmp_path / "state"), stdin="y\n")

    assert waiting["approval_id"] in listed.stdout
    for done in (listed, chosen):
        assert done.returncode == 3
        assert "asks on a terminal only" in done.stderr
    assert not writes_that_arrived(sandbox)
    assert [event for event, _, _ in events(tmp_path)] == ["asked"]


def test_nothing_waiting_is_said_and_an_unknown_id_names_what_waits(tmp_path: Path, sandbox: Sandbox, url: str) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    unused = run_here(tmp_path, "approve", *state)
    with server(tmp_path, url) as program:
        program.connect()
        program.ask("tools/call", WRITE | {"arguments": WRITE["arguments"] | {"custom_audience_id": "6000019999999"}})
        empty = run_here(tmp_path, "approve", *state)
        waiting = call(program)["structuredContent"]
        wrong = run_here(tmp_path, "approve", "AAAAAAAA", *state)

    assert unused.returncode == 1
    assert "No cams-mcp server has used the state directory" in unused.stderr
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "Nothing is waiting.\n")
    assert wrong.returncode == 1
    assert f"Waiting: {waiting['approval_id']}." in wrong.stderr


def test_a_decided_write_says_what_became_of_it(tmp_path: Path, sandbox: Sandbox, url: str) -> None:
    with server(tmp_path, url) as program:
        program.connect()
        waiting = call(program)["structuredContent"]
        approve(tmp_path, "y\n", waiting["approval_id"])
        again = run_here(tmp_path, "approve", waiting["approval_id"].lower(), "--state-dir", str(tmp_path / "state"))

    assert again.returncode == 0
    assert "and sent. CAMS accepted it." in again.stdout


def test_the_question_is_in_chinese_where_the_person_wants_it(tmp_path: Path, sandbox: Sandbox, url: str) -> None:
    with server(tmp_path, url) as program:
        program.connect()
        call(program)
        status, output, shown = approve(tmp_path, "y\n", "--language", "zh")

    assert status == 0
    assert "是否向 Meta 自定义受众" in output
    assert "是否批准？" in shown
    assert "CAMS 已受理" in output


def test_a_dismissed_prompt_leaves_the_write_waiting(tmp_path: Path, sandbox: Sandbox, url: str) -> None:
    with server(tmp_path, url) as program:
        program.connect()
        waiting = call(program)["structuredContent"]
        _, _, shown = approve(tmp_path, "\x04")
        listed = run_here(tmp_path, "approve", "--state-dir", str(tmp_path / "state"))

    assert "Nothing was decided. The write is still waiting." in shown
    assert waiting["approval_id"] in listed.stdout
    assert not writes_that_arrived(sandbox)


def test_it_decides_in_a_redis_that_the_server_uses(
    tmp_path: Path, sandbox: Sandbox, url: str, redis: RedisServer
) -> None:
    with server(tmp_path, url, "--store", redis.url) as program:
        program.connect()
        waiting = call(program)["structuredContent"]
        _, output, _ = approve(tmp_path, "y\n", waiting["approval_id"], state=("--store", redis.url))
        later = call(program)["structuredContent"]

    assert redis.url not in json.dumps(waiting)
    assert "and sent. CAMS accepted it." in output
    assert later["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1


@MODES
def test_a_preview_in_two_steps_names_the_command_too(tmp_path: Path, sandbox: Sandbox, url: str, mode: str) -> None:
    with server(tmp_path, url, confirm="token") as program:
        program.connect(mode)
        preview = call(program)["structuredContent"]
        _, output, _ = approve(tmp_path, "y\n")
        with_token = WRITE["arguments"] | {"confirmation_token": preview["confirmation_token"]}
        late = program.ask("tools/call", WRITE | {"arguments": with_token})["result"]

    assert f"approve --state-dir {tmp_path / 'state'} " in preview["preview"]
    assert "and sent. CAMS accepted it." in output
    assert late["structuredContent"]["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1


VISIT = """#!{python}
import pathlib, sys, urllib.request
urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(sys.argv[1]).read()
pathlib.Path({note!r}).write_text(sys.argv[1])
"""


def browser(home: Path) -> dict[str, str]:
    """A browser that loads a page once and notes its address."""
    script = home / "browser"
    script.write_text(VISIT.format(python=sys.executable, note=str(home / "opened")), encoding="utf-8")
    script.chmod(0o700)
    return {"BROWSER": f"{script} %s"}


def page_server(home: Path, url: str, *more: str) -> Program:
    return server(home, url, *more, confirm="page", env=browser(home))


@MODES
def test_at_sigterm_a_call_that_waits_for_the_page_returns_and_its_question_stays_open(
    tmp_path: Path, sandbox: Sandbox, url: str, mode: str
) -> None:
    with page_server(tmp_path, url) as program:
        program.connect(mode)
        number = program.start("tools/call", WRITE | {"_meta": {"progressToken": 1}} if mode == "legacy" else WRITE)
        if mode == "legacy":
            assert "Waiting for a person" in json.loads(program.line())["params"]["message"]
        else:
            wait_for(tmp_path / "opened")
        program.signal(signal.SIGTERM)
        answer = json.loads(program.line())
        status = program.status()
        listed = run_here(tmp_path, "approve", "--state-dir", str(tmp_path / "state"))

    assert answer["id"] == number
    assert answer["result"]["structuredContent"]["status"] == "awaiting_approval"
    assert status == 0
    assert answer["result"]["structuredContent"]["approval_id"] in listed.stdout
    assert not writes_that_arrived(sandbox)


def wait_for(path: Path) -> None:
    """Until another process has made a file."""
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_address_of_the_page_is_in_no_message_log_or_trail(tmp_path: Path, sandbox: Sandbox, url: str) -> None:
    with page_server(tmp_path, url, "--approval-wait", "0", "--log-level", "debug") as program:
        program.connect()
        result = call(program)
        wait_for(tmp_path / "opened")
        address = (tmp_path / "opened").read_text(encoding="utf-8").strip()
        program.end_input()
        program.status()
        said = program.errors + program.rest().decode() + json.dumps(result)

    secret = address.rpartition("/")[2]
    assert len(secret) >= 22
    assert secret not in said
    assert "127.0.0.1" not in json.dumps(result)
    files = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert secret.encode() not in files


@pytest.mark.parametrize("answer", ["\n", "\x04"], ids=["enter", "ctrl-d"])
def test_enter_decides_nothing(tmp_path: Path, sandbox: Sandbox, url: str, answer: str) -> None:
    with server(tmp_path, url) as program:
        program.connect()
        call(program)
        _, _, shown = approve(tmp_path, answer)

    assert "The write is still waiting." in shown
    assert [event for event, _, _ in events(tmp_path)] == ["asked"]


def test_contradicting_stores_are_an_error_and_no_traceback(tmp_path: Path) -> None:
    done = run_here(tmp_path, "approve", "--state-dir", str(tmp_path), env={"CAMS_MCP_STORE": "redis://localhost:1/0"})

    assert done.returncode == 1
    assert "--store and --state-dir exclude each other" in done.stderr


@pytest.mark.parametrize(
    "env",
    [
        {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"},
        {"KUBERNETES_SERVICE_HOST": "192.0.2.3"},
        {"BROWSER": "w3m %s"},
        {},
    ],
    ids=["ssh", "kubernetes", "text-browser", "no-display"],
)
def test_where_no_person_sits_auto_takes_the_next_door(
    tmp_path: Path, sandbox: Sandbox, url: str, env: dict[str, str]
) -> None:
    with server(tmp_path, url, confirm="auto", env=browser(tmp_path) | env) as program:
        program.connect()
        result = call(program)["structuredContent"]

    assert result["status"] == "confirmation_required"
    assert not (tmp_path / "opened").exists()
