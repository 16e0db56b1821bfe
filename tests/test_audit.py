from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from click.testing import CliRunner, Result
from mcp import Client, StdioServerParameters
from support import AUDIENCE, ERAS, TARGET, Person, mcp_client, people, serving, yes

from cams_mcp.app import open_toolbox
from cams_mcp.cli import cli
from cams_mcp.guard.policy import Policy
from cams_mcp.http import http_app
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.sandbox import Sandbox
from cams_mcp.sandbox.faults import Fault, Faults
from cams_mcp.server.server import create_server
from cams_mcp.settings import Settings
from cams_mcp.store import FILE_NAME, Store, Write
from cams_mcp.tools.definitions import load_catalog

WRITE = "add_custom_audience_user"
TESTER = types.Implementation(name="Tester", version="7.2")

HISTORY = [
    ("asked", "elicitation", 3),
    ("approved", "elicitation", 3),
    ("sent", "elicitation", 3),
    ("asked", "elicitation", 4),
    ("declined", "elicitation", 4),
    ("blocked", "elicitation", 5),
    ("asked", "elicitation", 1),
    ("approved", "elicitation", 1),
    ("failed", "elicitation", 1),
    ("asked", "elicitation", 2),
    ("approved", "elicitation", 2),
    ("unknown", "elicitation", 2),
    ("asked", "token", 6),
    ("approved", "token", 6),
    ("sent", "token", 6),
    ("approved", "off", 1200),
    ("sent", "off", 1200),
]
"""(event, channel, users) of what `make_history` does."""


def users(number: int) -> list[dict[str, str]]:
    """People that differ from those of another number; each has an e-mail, the first one twice, and a phone."""
    made = [user | {"phone": f"+1202555{index:04}"} for index, user in enumerate(people(number, number * 10))]
    return [*made[:-1], made[0]]


async def make_history(state: Path, mode: str = "auto") -> Sandbox:
    """Writes of every kind through the real guard; gives the sandbox that accepted some."""
    sandbox = Sandbox()
    store = Store(state)

    async def write(number: int, where: Sandbox = sandbox, person: Person | None = None, **more: Any) -> None:
        callback = {"elicitation_callback": person} if person else {}
        async with mcp_client(where, mode=mode, store=store, client_info=TESTER, **callback, **more) as client:
            result = await client.call_tool(WRITE, TARGET | {"users": users(number)})
            if not person and not result.is_error and "confirmation_token" in result.structured_content:
                token = result.structured_content["confirmation_token"]
                await client.call_tool(WRITE, TARGET | {"users": users(number), "confirmation_token": token})

    await write(3, person=yes())
    await write(4, person=Person("decline"))
    await write(5, person=yes(), policy=Policy(per_call=4))
    await write(1, Sandbox(Faults([Fault.parse("denied")])), yes())
    await write(2, Sandbox(Faults([Fault.parse("malformed")])), yes())
    await write(6)
    await write(1200, confirm="off")
    store.close()
    return sandbox


def audit(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli, ["audit", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def lines(*arguments: str | Path) -> list[str]:
    result = audit(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.split("\n")[:-1]


def objects(*arguments: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(*arguments, "--json")]


def put(state: Path, time: float, **changes: Any) -> None:
    """Put an entry into the trail, at a time of its own."""
    fields: dict[str, Any] = {
        "operation": "AddCustomAudienceUser",
        "principal": "local",
        "client": "Tester 7.2",
        "binding": "b" * 64,
        "list_digest": "l" * 64,
        "target": {"custom_audience_id": AUDIENCE},
        "counts": {"users": 1},
        "effect": ADD_CUSTOM_AUDIENCE_USER.effect,
    }
    with closing(Store(state, lambda: time)) as store:
        store.record("blocked", Write(**fields | changes), "token", "a limit")


# What is shown


@pytest.mark.parametrize("mode", ERAS)
async def test_every_event_is_shown_with_who_how_what_and_how_much(tmp_path: Path, mode: str) -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    sandbox = await make_history(tmp_path, mode)
    after = dt.datetime.now(dt.UTC)
    arrived = [call.request_id for call in sandbox.calls if call.action == "AddCustomAudienceUser"]

    shown = objects("--state-dir", tmp_path)

    assert [(entry["event"], entry["channel"], entry["counts"]["users"]) for entry in shown] == HISTORY
    for entry in shown:
        count = entry["counts"]["users"]
        assert before <= dt.datetime.fromisoformat(entry["time"]) <= after
        assert entry["operation"] == "AddCustomAudienceUser"
        assert (entry["principal"], entry["client"]) == ("local", "Tester 7.2")
        assert entry["target"] == TARGET
        assert entry["counts"] == {"users": count, "emails": count, "phones": count, "duplicates": int(count > 1)}
        assert len(entry["digest"]) == 64
    assert [entry["request_id"] for entry in shown if entry["event"] == "sent"] == arrived
    reasons = {entry["event"]: entry["reason"] for entry in shown if "reason" in entry}
    assert reasons.keys() == {"declined", "blocked", "failed", "unknown"}
    assert reasons["failed"] == "Forbidden.RAM"
    assert all("request_id" in entry for entry in shown if entry["event"] in ("failed", "unknown"))


@pytest.mark.parametrize("mode", ERAS)
async def test_each_event_is_one_line_that_says_the_same(tmp_path: Path, mode: str) -> None:
    await make_history(tmp_path, mode)

    shown = lines("--state-dir", tmp_path)
    entries = objects("--state-dir", tmp_path)

    assert len(shown) == len(HISTORY)
    for line, entry in zip(shown, entries, strict=True):
        parts = line.split("  ")
        assert parts[0] == entry["time"]
        assert parts[1].strip() == entry["event"]
        assert f"audience {AUDIENCE}" in line
        number = entry["counts"]["users"]
        assert f"{number:,} {'user' if number == 1 else 'users'}  by" in line
        assert f"by local (Tester 7.2, {entry['channel']})" in line
        assert f"digest {entry['digest'][:12]}" in line
        assert ("request id" in line) is ("request_id" in entry)
        assert entry.get("request_id", "") in line
        assert line.endswith(entry.get("reason", ""))


def test_a_write_that_this_version_does_not_know_is_shown_by_its_target(tmp_path: Path) -> None:
    put(tmp_path, 1_800_000_000.0, operation="RetiredWrite")

    (line,) = lines("--state-dir", tmp_path)
    assert f"RetiredWrite  custom_audience_id {AUDIENCE}" in line


async def test_events_of_one_write_have_one_digest_and_other_writes_others(tmp_path: Path) -> None:
    await make_history(tmp_path)

    digests: dict[str, set[int]] = {}
    for entry in objects("--state-dir", tmp_path):
        digests.setdefault(entry["digest"], set()).add(entry["counts"]["users"])

    assert sorted(map(sorted, digests.values())) == [[1], [2], [3], [4], [5], [6], [1200]]


async def test_no_address_is_shown(tmp_path: Path) -> None:
    await make_history(tmp_path)

    for shown in (audit("--state-dir", tmp_path).output, audit("--state-dir", tmp_path, "--json").output):
        assert "@" not in shown
        assert "customer0" not in shown
        assert "1202555" not in shown


# Who is on record


@asynccontextmanager
async def connected(transport: str, state: Path, mode: str, **client: Any) -> AsyncGenerator[Client]:
    if transport == "stdio":
        arguments = ["-m", "cams_mcp", "serve", "--sandbox", "--state-dir", str(state)]
        async with Client(StdioServerParameters(command=sys.executable, args=arguments), mode=mode, **client) as made:
            yield made
        return
    async with open_toolbox(Settings(sandbox=True, state_dir=state)) as toolbox:
        server = create_server(load_catalog(), toolbox)
        if transport == "memory":
            async with Client(server, mode=mode, **client) as made:
                yield made
        else:
            with serving(http_app(server, catalog=load_catalog())) as url:
                async with Client(f"{url}/mcp", mode=mode, **client) as made:
                    yield made


@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
@pytest.mark.parametrize("mode", ERAS)
async def test_the_trail_has_the_clients_name_and_version(tmp_path: Path, mode: str, transport: str) -> None:
    async with connected(transport, tmp_path, mode, client_info=TESTER) as client:
        await client.call_tool(WRITE, TARGET | {"users": users(2)})

    assert [(entry["event"], entry["client"]) for entry in objects("--state-dir", tmp_path)] == [
        ("asked", "Tester 7.2")
    ]


HOSTILE = "Tester\r\n2026-01-01T00:00:00Z  sent\x1b[2J\u2028\u0085\u202eeman\x00" + "x" * 10_000


@pytest.mark.parametrize("transport", ["memory", "stdio"])
@pytest.mark.parametrize("mode", ERAS)
async def test_a_clients_name_cannot_forge_lines(tmp_path: Path, mode: str, transport: str) -> None:
    hostile = types.Implementation(name=HOSTILE, version="1\n2")
    async with connected(transport, tmp_path, mode, client_info=hostile) as client:
        await client.call_tool(WRITE, TARGET | {"users": users(2)})

    for shown in (audit("--state-dir", tmp_path).output, audit("--state-dir", tmp_path, "--json").output):
        assert len(shown.splitlines()) == 1
        assert shown.rstrip("\n").isprintable()
        assert len(shown) < 1000


@pytest.mark.parametrize(
    "changes",
    [
        {"principal": HOSTILE},
        {"client": HOSTILE},
        {"target": {"custom_audience_id": HOSTILE}},
        {"operation": HOSTILE},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_nothing_on_record_can_break_lines(tmp_path: Path, changes: dict[str, Any]) -> None:
    put(tmp_path, 0, **changes)

    for shown in (audit("--state-dir", tmp_path).output, audit("--state-dir", tmp_path, "--json").output):
        assert len(shown.splitlines()) == 1
        assert shown.rstrip("\n").isprintable()


@pytest.mark.parametrize("option", [[], ["--json"]], ids=["text", "json"])
def test_a_name_that_the_terminal_cannot_show_is_shown_in_another_way(tmp_path: Path, option: list[str]) -> None:
    put(tmp_path, 0, client="\u5ba2\u6237\u7aef 1.0")
    shown = subprocess.run(
        [sys.executable, "-m", "cams_mcp", "audit", "--state-dir", tmp_path, *option],
        env=os.environ | {"PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        timeout=60,
        check=True,
    )

    assert b"\\u5ba2\\u6237\\u7aef 1.0" in shown.stdout
    assert shown.stderr == b""


# --since

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("since", "number"),
    [
        ("2026-01-31", 3),
        ("2026-01-31T12:00", 3),
        ("2026-01-31 12:00:00", 3),
        ("2026-01-31T12:00Z", 3),
        ("2026-01-31T12:00:01", 2),
        ("2026-01-31T13:00", 2),
        ("2026-01-31T13:00:01", 1),
        ("2026-01-31T14:00+01:00", 2),
        ("2026-01-31T20:00:01+08:00", 2),
        ("2026-02-01", 1),
        ("2026-02-02", 0),
        ("0001-01-01", 3),
        ("9999-12-31T23:59:59", 0),
        ("0001-01-01T00:00+23:59", 3),
        ("9999-12-31T23:59:59-23:59", 0),
    ],
)
def test_since_a_time_is_in_utc_unless_it_says_otherwise_and_includes_its_moment(
    tmp_path: Path, since: str, number: int
) -> None:
    for hours in (0, 1, 12):
        put(tmp_path, NOON + hours * 3600)

    assert len(objects("--state-dir", tmp_path, "--since", since)) == number


@pytest.mark.parametrize(
    ("since", "number"),
    [("0m", 0), ("30m", 1), ("90m", 2), ("1h", 1), ("2h", 2), ("47h", 2), ("1d", 2), ("3d", 3), ("999999d", 4)],
)
def test_since_a_while_ago_counts_from_now(tmp_path: Path, since: str, number: int) -> None:
    now = dt.datetime.now(dt.UTC).timestamp()
    for minutes in (1_000_000, 48 * 60 + 5, 65, 5):
        put(tmp_path, now - minutes * 60)

    assert len(objects("--state-dir", tmp_path, "--since", since)) == number


@pytest.mark.parametrize(
    "since",
    ["", "yesterday", "7", "7w", "-1d", "1.5h", "1h30m", "9999999d", "2026-13-01", "2026-02-30", "2026-01-31T25:00"],
)
def test_a_since_that_is_no_time_is_refused_with_what_would_be_right(tmp_path: Path, since: str) -> None:
    put(tmp_path, NOON)
    result = audit("--state-dir", tmp_path, "--since", since)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "--since" in result.stderr
    assert "YYYY-MM-DD" in result.stderr


# Where there is none


@pytest.mark.parametrize("option", [[], ["--json"]], ids=["text", "json"])
def test_where_nothing_ever_was_the_trail_is_empty_and_nothing_is_made(tmp_path: Path, option: list[str]) -> None:
    result = audit("--state-dir", tmp_path / "missing", *option)

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == ("" if option else "No entries.\n")
    assert not (tmp_path / "missing").exists()


def test_a_record_that_cannot_be_read_is_an_error_and_not_an_empty_trail(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"This is no database. " * 500)
    result = audit("--state-dir", tmp_path)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "--state-dir" in result.stderr


def test_the_state_directory_may_come_from_the_environment(tmp_path: Path) -> None:
    put(tmp_path, NOON)
    result = CliRunner().invoke(cli, ["audit", "--json"], env={"CAMS_MCP_STATE_DIR": str(tmp_path)})

    assert result.stdout.count("\n") == 1


def test_entries_come_oldest_first_even_if_the_clock_went_back(tmp_path: Path) -> None:
    for number, time in enumerate((NOON, NOON - 3600, NOON + 3600)):
        put(tmp_path, time, counts={"users": number})

    assert [entry["counts"]["users"] for entry in objects("--state-dir", tmp_path)] == [0, 1, 2]
    assert [entry["counts"]["users"] for entry in objects("--state-dir", tmp_path, "--since", "2026-01-31T12:00")] == [
        0,
        2,
    ]
