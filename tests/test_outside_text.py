"""Text from outside on the command line, in prompts and in resources: nothing crashes, and every line can be seen."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support import AUDIENCE, PAGE, TARGET, mcp_server, people
from support_cli import run, run_here
from support_raw import LEGACY, MODERN, raw_client

from cams_mcp.errors import InvalidArguments
from cams_mcp.operations import OPERATIONS
from cams_mcp.sandbox import Sandbox
from cams_mcp.server.prompts import get_prompt
from cams_mcp.store import Store

TOOLS = [operation.name for operation in OPERATIONS]
HOSTILE = "a\r\nsent\x1b[2J\u2028\u202e\u3164\u2800\ufe0f\ud800\U000e0041" + "\u0301" * 50 + "x" * 10_000
WRITE = TARGET | {"users": people(1)}


@pytest.mark.parametrize(
    "arguments",
    [
        json.dumps(WRITE | {"users": '[{"email": "jane\ud800@example.com"}]'}),
        json.dumps(WRITE | {"users": r'[{"email": "jane\ud800@example.com"}]'}),
        json.dumps(WRITE | {"page_id": "1\ud800"}),
        json.dumps(WRITE | {"\ud800": 1}),
        json.dumps(WRITE | {"confirmation_token": "\ud800"}),
        json.dumps(WRITE | {"estimated_num_total": float("nan")}),
        "[" * 100_000,
        '{"page_id": ' + "9" * 5000 + "}",
        "@/dev/null\udcff",
        b'{"page_id": "\xff"}'.decode("utf-8", "surrogateescape"),
    ],
    ids=range(10),
)
def test_a_call_with_text_that_cannot_be_sent_is_refused_with_words(tmp_path: Path, arguments: str) -> None:
    if len(arguments) > 50_000:
        (tmp_path / "arguments.json").write_text(arguments, encoding="utf-8")
        arguments = f"@{tmp_path}/arguments.json"
    result = run_here(tmp_path, "call", "add_custom_audience_user", arguments, "--sandbox")

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    assert "example.com" not in result.stderr.replace("name@example.com", "")


@pytest.mark.skipif(sys.platform == "win32", reason="environment variables are text there")
@pytest.mark.parametrize(
    "name", ["REGION", "ENDPOINT", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "SECURITY_TOKEN", "STORE", "ALLOW_AUDIENCE"]
)
def test_an_environment_variable_of_bytes_that_are_no_text_is_a_wrong_setting(tmp_path: Path, name: str) -> None:
    keys = {"CAMS_MCP_ACCESS_KEY_ID": "made-up-id", "CAMS_MCP_ACCESS_KEY_SECRET": "made-up-secret"}
    result = run_here(tmp_path, "call", "list_instance", env=keys | {f"CAMS_MCP_{name}": os.fsdecode(b"cn\xff")})

    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="files have names of text elsewhere")
@pytest.mark.parametrize("more", [["--dry-run"], [], ["--yes"]], ids=["dry-run", "preview", "sent"])
def test_a_file_whose_name_is_no_text_can_be_uploaded(tmp_path: Path, more: list[str]) -> None:
    path = os.fsdecode(bytes(tmp_path) + b"/\xff\n people.csv")
    Path(path).write_text("email\njane@example.com\n", encoding="utf-8")
    ids = ("--space", TARGET["cust_space_id"], "--page", PAGE["page_id"], "--ad-account", TARGET["ad_account_id"])
    target = () if "--dry-run" in more else (*ids, "--audience", AUDIENCE)
    result = run_here(tmp_path, "upload", path, *more, *target, "--sandbox")

    assert result.returncode == (3 if not more else 0), result.stderr
    assert "Traceback" not in result.stderr
    if not more:
        assert 'The file "\ufffd people.csv" has 1 rows' in result.stderr


def test_nothing_on_record_can_break_the_lines_of_uploads(tmp_path: Path) -> None:
    store = Store(tmp_path)
    text = HOSTILE.replace("\ud800", "")
    job, owner = store.journal.start(text, {"custom_audience_id": text}, "binding", 5, 1)
    store.journal.end(job, owner, "stopped", text)
    store.close()

    for more, encoding in (([], "utf-8"), (["--json"], "utf-8"), ([], "ascii")):
        environment = {"PYTHONIOENCODING": encoding}
        result = run(tmp_path, "uploads", "--state-dir", str(tmp_path), *more, env=environment)
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) == 1
        assert result.stdout.rstrip("\n").isprintable()
        assert "\u3164" not in result.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_result_is_json_whatever_the_terminal_can_show(tmp_path: Path, encoding: str) -> None:
    arguments = json.dumps(PAGE | {"page": {"size": 100}})
    result = run(tmp_path, "call", "list_custom_audience", arguments, "--sandbox", env={"PYTHONIOENCODING": encoding})

    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["data"]) == 100


@pytest.mark.parametrize(
    "value", ["a\ud800", "a\0", "a\nb", "a\u3164b", "a\u2800b", "a\u202eb", "a\ufe0f", "a\U000e0041", "x" * 501]
)
def test_a_prompt_takes_no_argument_that_a_person_would_not_see(value: str) -> None:
    with pytest.raises(InvalidArguments, match="visible characters") as caught:
        get_prompt("grow_audience", {"page_id": value}, TOOLS)

    assert value not in str(caught.value)


REFERENCE = {"type": "ref/prompt", "name": "grow_audience"}


@pytest.mark.parametrize("version", [LEGACY, MODERN])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {"uri": "cams://\ud800"}),
        ("prompts/get", {"name": "\ud800"}),
        ("prompts/get", {"name": "grow_audience", "arguments": {"\ud800": "x"}}),
        ("prompts/get", {"name": "grow_audience", "arguments": {"page_id": "\ud800"}}),
        ("completion/complete", {"ref": REFERENCE, "argument": {"name": "\ud800", "value": ""}}),
        ("completion/complete", {"ref": REFERENCE, "argument": {"name": "cust_space_id", "value": "\ud800"}}),
        ("tools/call", {"name": "\ud800", "arguments": {}}),
        ("tools/call", {"name": "list_instance", "arguments": {"instance_name": "\ud800", "\ud800": "\ud800"}}),
    ],
)
async def test_a_request_with_half_a_surrogate_pair_has_an_answer_that_can_be_sent(
    sandbox: Sandbox, version: str, method: str, params: dict[str, Any]
) -> None:
    async with mcp_server(sandbox) as server, raw_client(server, version, {}) as client:
        await client.request(method, params)
        answer = await client.receive()

    shown = json.dumps(answer, ensure_ascii=False)
    assert shown.encode()
    assert "cams-mcp itself failed" not in shown
