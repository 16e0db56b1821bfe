"""`cams-mcp upload` and `cams-mcp uploads` as a person or a pipeline runs them."""

from __future__ import annotations

import gc
import json
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from support import AUDIENCE, TARGET, serving, writes_that_arrived
from support_cli import PROGRAM, SECONDS, environment, run_here, run_on_terminal
from support_uploads import batches_of, email, write_people

from cams_mcp.cli import cli
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, sandbox_app

IDS = (
    *("--space", TARGET["cust_space_id"], "--page", TARGET["page_id"]),
    *("--ad-account", TARGET["ad_account_id"], "--audience", AUDIENCE),
)
KEYS = {"CAMS_MCP_ACCESS_KEY_ID": SANDBOX_KEY.id, "CAMS_MCP_ACCESS_KEY_SECRET": SANDBOX_KEY.secret}


class Gate:
    """A sandbox on loopback, which may refuse from the n-th batch on."""

    def __init__(self) -> None:
        self.sandbox = Sandbox()
        self.url = ""
        self.refuse_from = 0
        self._batches = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._batches += dict(scope.get("headers", ())).get(b"x-acs-action") == b"AddCustomAudienceUser"
        if self.refuse_from and self._batches >= self.refuse_from:
            answer = httpx.Response(403, json={"Code": "Forbidden.RAM", "Message": "no", "RequestId": "1"})
            headers = [(b"content-type", b"application/json")]
            await receive()
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": answer.content})
        else:
            await sandbox_app(self.sandbox)(scope, receive, send)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    with serving(gate) as gate.url:
        yield gate


def upload(home: Path, gate: Gate, *arguments: str, ids: tuple[str, ...] = IDS) -> subprocess.CompletedProcess[str]:
    return run_here(home, "upload", *arguments, *ids, "--endpoint", gate.url, env=KEYS)


def facts(text: str) -> dict[str, str]:
    """The lines of a summary."""
    return dict(line.split(maxsplit=1) for line in text.splitlines())


def on_terminal(home: Path, gate: Gate, answer: str, *more: str) -> tuple[int, str, str]:
    keys = ("--access-key-id", SANDBOX_KEY.id, "--access-key-secret", SANDBOX_KEY.secret)
    arguments = ("upload", str(home / "people.csv"), *IDS, "--endpoint", gate.url, *keys, *more)
    return run_on_terminal(home, *arguments, until="Send it?", answer=answer)


def test_a_dry_run_tells_what_the_file_holds_and_sends_nothing(tmp_path: Path, gate: Gate) -> None:
    write_people(tmp_path / "people.csv", 120)
    result = upload(tmp_path, gate, str(tmp_path / "people.csv"), "--dry-run", ids=())

    assert result.returncode == 0, result.stderr
    assert facts(result.stdout)["people"] == "120"
    assert facts(result.stdout)["calls"] == "1"
    assert not gate.sandbox.calls
    assert email(0) not in result.stdout + result.stderr
    assert not (tmp_path / "people.csv.invalid.csv").exists()


def test_with_yes_the_file_is_sent_and_standard_output_is_the_summary_alone(tmp_path: Path, gate: Gate) -> None:
    wanted = write_people(tmp_path / "people.csv", 120)
    result = upload(tmp_path, gate, str(tmp_path / "people.csv"), "--yes")

    assert result.returncode == 0, result.stderr
    summary = facts(result.stdout)
    assert (summary["state"], summary["people"], summary["sent"]) == ("done", "120", "120")
    assert set(summary) <= {
        *("upload_id", "state", "people", "sent", "not_sent", "may_have_been_sent", "calls", "skipped_rows", "success"),
        *("code", "message", "request_id", "reason", "next", "hint", "status"),
    }
    assert gate.sandbox.people(AUDIENCE) == wanted
    assert "\x1b" not in result.stdout


def test_without_a_terminal_nothing_is_sent_and_the_status_is_3(tmp_path: Path, gate: Gate) -> None:
    write_people(tmp_path / "people.csv", 120)
    result = upload(tmp_path, gate, str(tmp_path / "people.csv"))

    assert (result.returncode, result.stdout) == (3, "")
    assert "Add 120 people to the Meta custom audience" in result.stderr
    assert "--yes" in result.stderr
    assert not writes_that_arrived(gate.sandbox)


def test_the_same_list_is_not_sent_twice_with_yes(tmp_path: Path, gate: Gate) -> None:
    write_people(tmp_path / "people.csv", 120)
    statuses = [upload(tmp_path, gate, str(tmp_path / "people.csv"), "--yes").returncode for _ in range(2)]

    assert statuses == [0, 3]
    assert len(writes_that_arrived(gate.sandbox)) == 1


@pytest.mark.parametrize(("answer", "status", "sent"), [("y\n", 0, True), ("n\n", 3, False), ("\n", 3, False)])
def test_the_question_is_put_on_the_terminal(tmp_path: Path, gate: Gate, answer: str, status: int, sent: bool) -> None:
    write_people(tmp_path / "people.csv", 120)
    returned, output, shown = on_terminal(tmp_path, gate, answer)

    assert 'Add 120 people to the Meta custom audience "VIP-Q1-1"?' in shown
    assert 'The file "people.csv" has 120 rows.' in shown
    assert returned == status
    assert bool(writes_that_arrived(gate.sandbox)) == sent
    assert (facts(output)["state"] == "done") if sent else output == ""


def test_ctrl_c_at_the_question_sends_nothing(tmp_path: Path, gate: Gate) -> None:
    write_people(tmp_path / "people.csv", 120)
    returned, _, shown = on_terminal(tmp_path, gate, "\x03")

    assert returned in (3, 130)
    assert "Traceback" not in shown
    assert not writes_that_arrived(gate.sandbox)


def test_invalid_rows_are_listed_in_a_file_of_their_own_without_values(tmp_path: Path, gate: Gate) -> None:
    rows = ["email", *(email(index) for index in range(120)), "nobody-at-all", "", "x@"]
    (tmp_path / "people.csv").write_text("\n".join(rows), encoding="utf-8")
    result = upload(tmp_path, gate, str(tmp_path / "people.csv"), "--yes")

    report = tmp_path / "people.csv.invalid.csv"
    assert result.returncode == 0, result.stderr
    assert report.read_text().splitlines() == [
        "line,reason",
        "122,the e-mail address is invalid",
        "124,the e-mail address is invalid",
    ]
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert "people.csv.invalid.csv" in result.stderr.replace("\n", "")
    assert "nobody-at-all" not in result.stdout + result.stderr
    assert facts(result.stdout)["skipped_rows"] == "2"


def test_a_report_that_is_there_already_becomes_private_and_new(tmp_path: Path, gate: Gate) -> None:
    (tmp_path / "people.csv").write_text("email\nx@\n", encoding="utf-8")
    report = tmp_path / "report.csv"
    report.write_text("old " * 100)
    report.chmod(0o644)
    upload(tmp_path, gate, str(tmp_path / "people.csv"), "--dry-run", "--invalid-rows", str(report), ids=())

    assert report.read_text().splitlines() == ["line,reason", "2,the e-mail address is invalid"]
    assert stat.S_IMODE(report.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["the file", "a link", "no folder", "a folder"])
def test_a_report_that_cannot_be_is_said_and_nothing_is_overwritten(tmp_path: Path, gate: Gate, kind: str) -> None:
    text = "email\nx@\na@example.com\n"
    (tmp_path / "people.csv").write_text(text, encoding="utf-8")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to("precious")
    report = {"the file": "people.csv", "a link": "link", "no folder": "no/where", "a folder": "."}[kind]
    arguments = (str(tmp_path / "people.csv"), "--yes", "--invalid-rows", str(tmp_path / report))
    result = upload(tmp_path, gate, *arguments)

    assert result.returncode == 1
    assert "--invalid-rows" in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "people.csv").read_text() == text
    assert (tmp_path / "precious").read_text() == "precious"
    assert not writes_that_arrived(gate.sandbox)


@pytest.mark.parametrize(
    ("text", "more", "words"),
    [
        ("email\n", (), "no people are left to send"),
        ("name\nx\n", (), "no e-mail or phone column"),
        ("email\nx@\n", ("--on-invalid", "refuse"), "the first at line 2"),
        ("email\na@example.com\n", ("--default-region", "XX"), "default_region"),
        ("email\na@example.com\n", ("--suppression", "missing.csv"), "cannot be opened"),
        ("email\na@example.com\n", ("--resume", "nothing"), "no upload has this id"),
    ],
)
def test_a_file_that_cannot_be_sent_is_said_in_one_message(
    tmp_path: Path, gate: Gate, text: str, more: tuple[str, ...], words: str
) -> None:
    (tmp_path / "people.csv").write_text(text, encoding="utf-8")
    result = upload(tmp_path, gate, str(tmp_path / "people.csv"), "--yes", *more)

    assert result.returncode in (1, 3)
    assert result.stdout == ""
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not writes_that_arrived(gate.sandbox)


def test_the_ids_are_asked_for_unless_it_is_a_dry_run(tmp_path: Path, gate: Gate) -> None:
    write_people(tmp_path / "people.csv", 120)
    result = upload(tmp_path, gate, str(tmp_path / "people.csv"), "--yes", ids=IDS[:4])

    assert result.returncode != 0
    assert "custom_audience_id" in result.stderr
    assert not gate.sandbox.calls


@pytest.mark.parametrize("name", ["../people.csv", "inner/../../people.csv", "./link.csv", "名单 a.csv"])
def test_the_person_at_the_terminal_may_name_any_plain_file(tmp_path: Path, gate: Gate, name: str) -> None:
    home = tmp_path / "home"
    (home / "inner").mkdir(parents=True)
    wanted = write_people(tmp_path / "people.csv", 120)
    write_people(home / "名单 a.csv", 120)
    (home / "link.csv").symlink_to("../people.csv")
    result = upload(tmp_path, gate, str(home / name), "--yes")

    assert result.returncode == 0, result.stderr
    assert gate.sandbox.people(AUDIENCE) == wanted


def test_a_stop_tells_what_was_sent_and_going_on_sends_the_rest(tmp_path: Path, gate: Gate) -> None:
    wanted = write_people(tmp_path / "people.csv", 120)
    file = str(tmp_path / "people.csv")
    gate.refuse_from = 3
    stopped = upload(tmp_path, gate, file, "--yes", "--batch-bytes", "2000")
    listed = run_here(tmp_path, "uploads")
    (known,) = [json.loads(line) for line in run_here(tmp_path, "uploads", "--json").stdout.splitlines()]
    gate.refuse_from = 0
    done = upload(tmp_path, gate, file, "--yes", "--resume", known["id"])
    (after,) = [json.loads(line) for line in run_here(tmp_path, "uploads", "--json").stdout.splitlines()]

    assert stopped.returncode == 4
    summary = facts(stopped.stdout)
    assert summary["state"] == "stopped"
    assert int(summary["sent"]) == known["sent"] == sum(size for size, _, _ in batches_of(gate.sandbox)[:2])
    assert "Forbidden.RAM" in summary["reason"]
    assert {name: known[name] for name in ("state", "people", "may_have_been_sent", "file", "audience")} == {
        "state": "stopped",
        "people": 120,
        "may_have_been_sent": 0,
        "file": str((tmp_path / "people.csv").resolve()),
        "audience": AUDIENCE,
    }
    assert known["not_sent"] == 120 - known["sent"]
    assert known["id"] in listed.stdout
    assert f"{known['sent']} of 120 sent" in listed.stdout
    assert "@" not in listed.stdout
    assert done.returncode == 0, done.stderr
    assert (after["id"], after["state"], after["sent"]) == (known["id"], "done", 120)
    assert gate.sandbox.people(AUDIENCE) == wanted
    assert sum(size for size, _, _ in batches_of(gate.sandbox)) == 120


def test_nothing_sent_at_all_is_a_failure_of_status_1(tmp_path: Path, gate: Gate) -> None:
    write_people(tmp_path / "people.csv", 120)
    gate.refuse_from = 1
    result = upload(tmp_path, gate, str(tmp_path / "people.csv"), "--yes")

    assert result.returncode == 1
    assert facts(result.stdout)["sent"] == "0"


def test_ctrl_c_in_mid_upload_stops_and_tells_how_to_go_on(tmp_path: Path) -> None:
    write_people(tmp_path / "people.csv", 300)
    sandbox = Sandbox()
    process: subprocess.Popen[str]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        is_batch = dict(scope.get("headers", ())).get(b"x-acs-action") == b"AddCustomAudienceUser"
        if is_batch and len(writes_that_arrived(sandbox)) == 2:
            process.send_signal(signal.SIGINT)
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await sandbox_app(sandbox)(scope, receive, send)

    with serving(app) as url:
        process = subprocess.Popen(
            [
                *PROGRAM,
                "upload",
                str(tmp_path / "people.csv"),
                *IDS,
                "--endpoint",
                url,
                "--yes",
                "--batch-bytes",
                "2000",
            ],
            env=environment(tmp_path, KEYS),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                _, errors = process.communicate(timeout=SECONDS)
            finally:
                process.kill()
        (job,) = [json.loads(line) for line in run_here(tmp_path, "uploads", "--json").stdout.splitlines()]

    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert (job["state"], len(writes_that_arrived(sandbox))) == ("stopped", 2)
    assert job["may_have_been_sent"] > 0
    assert job["sent"] + job["may_have_been_sent"] + job["not_sent"] == 300


def test_without_uploads_the_list_is_empty_and_makes_no_file(tmp_path: Path) -> None:
    result = run_here(tmp_path, "uploads")
    assert (result.returncode, result.stdout) == (0, "")
    assert "No uploads." in result.stderr
    assert run_here(tmp_path, "uploads", "--json").stdout == ""
    assert not list(tmp_path.rglob("*.sqlite3"))


def test_garbage_is_collected_during_an_upload(tmp_path: Path) -> None:
    """Every call leaves a batch of a megabyte in a cycle of references; the command line starts without a collector."""
    write_people(tmp_path / "people.csv", 120)
    gc.disable()
    try:
        result = CliRunner().invoke(cli, ["upload", str(tmp_path / "people.csv"), "--dry-run", "--sandbox"])
        assert result.exit_code == 0
        assert gc.isenabled()
    finally:
        gc.enable()


def test_two_hundred_thousand_people_go_through_a_real_sandbox_whole(tmp_path: Path, gate: Gate) -> None:
    number = 200_000
    wanted = write_people(tmp_path / "people.csv", number)
    result = upload(tmp_path, gate, str(tmp_path / "people.csv"), "--yes")

    assert result.returncode == 0, result.stderr
    assert gate.sandbox.people(AUDIENCE) == wanted
    batches = batches_of(gate.sandbox)
    assert [size for size, _, _ in batches] == [10_000] * 20
    assert [last for _, last, _ in batches] == [False] * 19 + [True]


def test_upload_folders_are_not_for_other_machines(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {'a' * 64} cams:read cams:write\n", encoding="utf-8")
    tokens.chmod(0o600)

    done = run_here(
        tmp_path,
        *("serve", "--sandbox", "--transport", "http", "--host", "0.0.0.0", "--port", "0"),
        *("--auth-token-file", str(tokens), "--upload-dir", str(tmp_path)),
    )

    assert done.returncode == 1
    assert "--upload-dir works over stdio and on loopback only" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("option", "variable"), [(("--read-only",), {}), ((), {"CAMS_MCP_READ_ONLY": "1"})])
@pytest.mark.parametrize("resumes", [False, True])
def test_read_only_beats_yes(
    tmp_path: Path, gate: Gate, option: tuple[str, ...], variable: dict[str, str], *, resumes: bool
) -> None:
    write_people(tmp_path / "people.csv", 20)
    more: tuple[str, ...] = ()
    if resumes:
        gate.refuse_from = 2
        upload(tmp_path, gate, str(tmp_path / "people.csv"), "--yes", "--batch-bytes", "1000")
        gate.refuse_from = 0
        (job,) = run_here(tmp_path, "uploads", "--json").stdout.splitlines()
        more = ("--resume", json.loads(job)["id"])
    before = batches_of(gate.sandbox)
    done = run_here(
        tmp_path,
        *("upload", str(tmp_path / "people.csv"), "--yes", *more, *IDS, "--endpoint", gate.url, *option),
        env=KEYS | variable,
    )

    assert done.returncode == 3
    assert "Nothing was sent: this server is read-only (--read-only)." in done.stderr
    assert batches_of(gate.sandbox) == before


def test_read_only_allows_a_dry_run(tmp_path: Path, gate: Gate) -> None:
    write_people(tmp_path / "people.csv", 20)
    done = upload(tmp_path, gate, str(tmp_path / "people.csv"), "--dry-run", "--read-only", ids=())

    assert done.returncode == 0
    assert not gate.sandbox.calls
