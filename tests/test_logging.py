from __future__ import annotations

import io
import json
import logging
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import ERAS, TARGET, VALID_ARGUMENTS, yes
from support_http import ALICE, SERVE, bearer, frame, people_of, post
from support_process import Program

from cams_mcp.cli import cli
from cams_mcp.logs import LineFormatter, announce, request_id, set_up_logging

EACH_ERA = pytest.mark.parametrize("mode", ERAS)
SECRET = "jane.doe@private.example.com"
PHONE = "+12025550123"


def started(*options: str | Path) -> Program:
    return Program(*SERVE, *map(str, options))


def address_in(program: Program) -> str:
    line = json.loads(program.error_line('{"time"'))
    while not line["message"].startswith("Listening on "):
        line = json.loads(program.error_line('{"time"'))
    return line["message"].removeprefix("Listening on ")


def stop(program: Program) -> list[dict[str, Any]]:
    program.signal(signal.SIGTERM)
    assert program.status() == 0
    return [json.loads(line) for line in program.errors.splitlines()]


@EACH_ERA
def test_every_line_is_one_object_and_names_its_request(mode: str) -> None:
    with started("--log-format", "json", "--log-level", "info") as program:
        url = address_in(program)
        first = post(url, mode, x_request_id="my-request-0001")
        second = post(url, mode)
        refused = post(url, mode, host="evil.example.com", x_request_id="my-request-0002")
        lines = stop(program)

    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert first.headers["x-request-id"] == "my-request-0001"
    assert refused.headers["x-request-id"] == "my-request-0002"
    for answer in (first, second, refused):
        mine = [line for line in lines if line.get("request_id") == answer.headers["x-request-id"]]
        assert f"POST /mcp: HTTP {answer.status_code}" in " ".join(line["message"] for line in mine)
    assert any(
        "Invalid Host header" in line["message"] for line in lines if line.get("request_id") == "my-request-0002"
    )


@EACH_ERA
def test_a_line_from_within_a_call_names_the_request_of_the_call(mode: str) -> None:
    with started("--log-format", "json", "--log-level", "info", "--fault", "error:1") as program:
        url = address_in(program)
        opened = post(url, "legacy", x_request_id="opening-request")
        more = {"mcp_session_id": opened.headers["mcp-session-id"]} if mode == "legacy" else {}
        call = frame("tools/call", {"name": "list_instance", "arguments": {}}, mode=mode)
        post(url, mode, body=call, x_request_id="calling-request", **more)
        lines = stop(program)

    retries = [line for line in lines if "ListInstance: attempt" in line["message"]]
    assert retries
    assert {line["request_id"] for line in retries} == {"calling-request"}


@pytest.mark.parametrize(
    "given",
    [
        "",
        "short",
        "x" * 65,
        "has space in it",
        "jane.doe@example.com",
        PHONE,
        "120255501234",
        "1-202-555-0123",
        "1.202.555.0123",
        "a\tbcdefghi",
        "-leading-",
        "a-13800001234",
        "req_1-202-555-0123",
        "x" + "1" * 31,
    ],
)
def test_an_id_that_is_no_sane_token_is_replaced(url: str, given: str) -> None:
    answered = post(url, x_request_id=given).headers["x-request-id"]

    assert answered != given
    assert len(answered) == 32


@pytest.fixture(scope="module")
def url() -> Generator[str]:
    with started("--log-format", "json") as program:
        yield address_in(program)


def test_every_answer_has_an_id(url: str) -> None:
    answers = [post(url), post(url, body=b"{"), post(url, host="evil.example.com"), post(f"{url}/none")]

    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


@EACH_ERA
@pytest.mark.parametrize("form", ["text", "json"])
async def test_no_line_has_arguments_addresses_or_secrets(tmp_path: Path, mode: str, form: str) -> None:
    tokens = people_of(tmp_path / "tokens")
    options = ("--log-format", form, "--log-level", "debug", "--auth-token-file", tokens, "--fault", "error:0.3")
    with started(*options) as program:
        url = address_in(program) if form == "json" else program.error_line("Listening on ").split()[-1]
        write = TARGET | {"users": [{"email": SECRET, "phone": PHONE}]}
        async with bearer(url, ALICE, mode, elicitation_callback=yes()) as client:
            for _ in range(3):
                await client.call_tool("add_custom_audience_user", write)
            await client.call_tool("list_instance", {"instance_name": SECRET, "no_such": SECRET})
        for body in (
            SECRET.encode(),
            json.dumps({"email": SECRET}).encode(),
            frame(SECRET),
            frame("tools/list", {"a": SECRET}),
        ):
            post(url, mode, token=ALICE, body=body, x_request_id=SECRET, user_agent=SECRET)
            post(url, mode, token=SECRET, body=body, host=f"{SECRET}.example.com", origin=f"https://{SECRET}")
        post(f"{url}/{SECRET}?email={SECRET}", mode, token=ALICE)
        program.signal(signal.SIGTERM)
        assert program.status() == 0

    for word in ("private.example.com", "jane.doe", PHONE, ALICE, *VALID_ARGUMENTS["list_chat_group"].values()):
        assert word not in program.errors


def test_what_is_said_at_the_start_and_the_end_are_lines_too(tmp_path: Path) -> None:
    tokens = people_of(tmp_path / "tokens")
    options = ("--log-format", "json", "--confirm", "off", "--host", "0.0.0.0", "--auth-token-file", tokens)
    with started(*options) as program:
        address_in(program)
        lines = stop(program)

    said = " ".join(line["message"] for line in lines)
    assert "WARNING: With --confirm off" in said
    assert "embedded sandbox" in said
    assert "--allowed-host" in said


# The form of a line


def line_of(form: Any, log: str, message: str, *arguments: object, error: BaseException | None = None) -> str:
    exc_info = (type(error), error, error.__traceback__) if error else None
    return LineFormatter(form).format(logging.LogRecord(log, logging.WARNING, "", 0, message, arguments, exc_info))


def failed() -> BaseException:
    try:
        int(SECRET)
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("level", ["debug", "info"])
@pytest.mark.parametrize("library", ["sse_starlette.sse", "mcp.server", "httpcore.http11", "h11", "asyncio", "redis"])
def test_of_libraries_only_warnings_are_logged(library: str, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    log, root = logging.getLogger(library), logging.getLogger()
    before, former = root.handlers[:], root.level
    root.handlers.clear()
    try:
        set_up_logging(level, "text")
        for number in (logging.DEBUG, logging.INFO, logging.WARNING):
            log.log(number, "%s in a chunk", number)
        logging.getLogger("cams_mcp.test").info("ours")
        logging.getLogger("uvicorn.error").info("started")
    finally:
        root.handlers[:] = before
        root.setLevel(former)

    said = [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()]
    assert [line for line in said if "showing debug messages" not in line] == ["30 in a chunk", "ours", "started"]


def test_at_debug_no_line_repeats_a_question_or_the_names_in_an_answer() -> None:
    with started("--log-format", "json", "--log-level", "debug", "--legacy-sessions", "on") as program:
        url = address_in(program)
        opened = post(url, "legacy")
        session = opened.headers["mcp-session-id"]
        call = frame("tools/call", {"name": "list_instance", "arguments": {}}, mode="legacy")
        answer = post(url, "legacy", body=call, mcp_session_id=session)
        lines = stop(program)

    assert "event: message" in answer.text
    assert "list_instance" not in json.dumps(lines)
    assert not any(line["logger"].startswith(("sse_starlette", "mcp")) for line in lines)


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_shows_where_and_of_what_kind_but_not_its_text(form: str) -> None:
    shown = line_of(form, "cams_mcp.x", "it failed", error=failed())

    assert "ValueError" in shown
    assert "in failed" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_libraries_say_is_scrubbed_and_what_we_say_is_not(form: str) -> None:
    assert SECRET not in line_of(form, "uvicorn.error", "bad request: %s", SECRET)
    assert "a long line " * 40 in line_of(form, "cams_mcp.server.server", "a long line " * 40)


def test_a_line_of_json_is_one_line_whatever_is_said() -> None:
    line = line_of("json", "cams_mcp", 'two\nlines "quoted" \u2028 %s', "\x00")

    assert "\n" not in line
    assert json.loads(line)["message"].startswith("two\nlines")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_has_the_id_of_its_request_if_there_is_one(form: str) -> None:
    assert "request_id" not in line_of("json", "cams_mcp", "x")
    assert not line_of("text", "cams_mcp", "x").endswith("]")
    token = request_id.set("the-id")
    try:
        assert "the-id" in line_of(form, "cams_mcp", "x")
    finally:
        request_id.reset(token)


def test_only_the_form_json_changes_what_is_announced(capsys: pytest.CaptureFixture[str]) -> None:
    announce("Listening", "text")
    announce("Listening", "json")
    text, line = capsys.readouterr().err.splitlines()

    assert text == "Listening"
    assert json.loads(line)["message"] == "Listening"


def test_logging_goes_to_standard_error_only(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        set_up_logging("info", "json")
        logging.getLogger("cams_mcp.test").info("hello")
        logging.getLogger("cams_mcp.test").debug("not this")
    finally:
        root.handlers[:] = before
        root.setLevel(level)

    assert [json.loads(line)["message"] for line in errors.getvalue().splitlines()] == ["hello"]


def test_the_form_is_one_of_two() -> None:
    assert CliRunner().invoke(cli, ["serve", "--log-format", "xml"]).exit_code == 2
