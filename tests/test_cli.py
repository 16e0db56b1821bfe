"""The command line as a person and a script meet it."""

from __future__ import annotations

import ast
import json
import logging
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO
from unittest.mock import Mock

import click
import pytest
from click.testing import CliRunner, Result
from mcp import Client, StdioServerParameters
from support import AUDIENCE, PAGE, TARGET, VALID_ARGUMENTS, people, serving
from support_cli import PROGRAM, SECONDS, environment, run, run_on_terminal

import cams_mcp
from cams_mcp import __version__
from cams_mcp.cli import COMMANDS, cli
from cams_mcp.operations import OPERATIONS
from cams_mcp.sandbox import FAULTS, SANDBOX_KEY, Sandbox, sandbox_app
from cams_mcp.tools.definitions import load_catalog

KEY = ["--access-key-id", SANDBOX_KEY.id, "--access-key-secret", SANDBOX_KEY.secret]
WRITE = json.dumps(TARGET | {"users": people(120)})
Invoke = Callable[..., Result]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Invoke]:
    """Runs a command in this process, and puts logging back as it was."""
    monkeypatch.setenv("HOME", str(tmp_path))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run_here(*arguments: str, env: dict[str, str] | None = None, stdin: str = "") -> Result:
        # The commands' logging replaces the root's handlers and closes them.
        root.handlers = []
        try:
            return CliRunner().invoke(cli, arguments, env=env or {}, input=stdin)
        finally:
            root.handlers = handlers
            root.setLevel(level)

    return run_here


@pytest.fixture
def url(sandbox: Sandbox) -> Generator[str]:
    """The sandbox of the test, served."""
    with serving(sandbox_app(sandbox)) as address:
        yield address


def failed_cleanly(result: Result | subprocess.CompletedProcess[str]) -> str:
    """The message, of a run that ended with one message and nothing else."""
    status = result.exit_code if isinstance(result, Result) else result.returncode
    assert status in (1, 2), result
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.count("Error: ") == 1
    return result.stderr.partition("Error: ")[2]


# What is refused, before anything starts


@pytest.mark.parametrize("how", ["flag", "environment"])
@pytest.mark.parametrize("command", ["serve", "call"])
@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--endpoint", "http://cams.example.com", "uses plain http to another machine"),
        ("--endpoint", "https://example.com/path", "is not a host or URL"),
        ("--endpoint", "ftp://example.com", "is not a host or URL"),
        ("--endpoint", "a b", "is not a host or URL"),
        ("--region", "Singapore", "is not a valid region id"),
        ("--fault", "throttle", "requires --sandbox"),
        ("--access-key-id", "some-id", "needs both its id and its secret"),
        ("--access-key-secret", "some-secret", "needs both its id and its secret"),
        ("--users-in", "header", "'header' is not one of"),
        ("--timeout", "0", "0.1<=x<=600"),
        ("--retries", "-1", "0<=x<=10"),
        ("--confirm", "maybe", "'maybe' is not one of"),
        ("--log-level", "loud", "'loud' is not one of"),
    ],
)
def test_a_wrong_setting_gives_one_clear_message(
    invoke: Invoke, command: str, option: str, value: str, says: str, how: str
) -> None:
    tool = ["list_instance"] if command == "call" else []
    if how == "flag":
        result = invoke(command, *tool, option, value)
    else:
        result = invoke(command, *tool, env={f"CAMS_MCP_{option[2:].replace('-', '_').upper()}": value})

    message = failed_cleanly(result)
    assert says in message
    assert "some-secret" not in message


@pytest.mark.parametrize("fault", ["typo", "throttle:2", "latency:1:long", "error:1:200"])
@pytest.mark.parametrize("command", [("serve", "--sandbox"), ("call", "list_instance", "--sandbox"), ("sandbox",)])
def test_a_wrong_fault_gives_one_clear_message(invoke: Invoke, command: tuple[str, ...], fault: str) -> None:
    assert "--fault (CAMS_MCP_FAULT)" in failed_cleanly(invoke(*command, "--fault", fault))


@pytest.mark.parametrize("host", ["0.0.0.0", "example.com", "192.0.2.1", "::"])
@pytest.mark.parametrize("command", [("serve", "--sandbox", "--transport", "http"), ("sandbox",)])
def test_a_host_that_others_can_reach_is_refused(invoke: Invoke, command: tuple[str, ...], host: str) -> None:
    result = invoke(*command, "--host", host, "--port", "0")

    assert result.exit_code == 1
    assert "127.0.0.1" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", [("serve", "--sandbox", "--transport", "http"), ("sandbox",)])
def test_a_port_in_use_is_named(invoke: Invoke, command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke(*command, "--port", str(port))

    assert result.exit_code == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use." in result.stderr
    assert "--port" in result.stderr


@pytest.mark.parametrize("arguments", [("frobnicate",), ("--frobnicate",), ("call",), ("tools", "extra")])
def test_a_command_line_that_makes_no_sense_exits_with_status_2(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)

    assert result.exit_code == 2
    failed_cleanly(result)


# The program


def test_no_command_is_serve(invoke: Invoke) -> None:
    for arguments in ([], ["serve"], ["--sandbox"], ["--log-level", "error"]):
        result = invoke(*arguments)

        assert (result.exit_code, result.stdout) == (0, "")


async def test_options_without_a_command_go_to_serve(tmp_path: Path) -> None:
    server = StdioServerParameters(
        command=PROGRAM[0], args=[*PROGRAM[1:], "--sandbox", "--read-only"], env=environment(tmp_path)
    )
    async with Client(server) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("list_instance", {})

    assert "add_custom_audience_user" not in names
    assert result.structured_content["data"]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command(invoke: Invoke, option: str) -> None:
    result = invoke(option)

    assert (result.exit_code, result.stderr) == (0, "")
    for name, help_text in COMMANDS.items():
        assert name in result.stdout
        assert help_text in " ".join(result.stdout.split())


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    result = run(tmp_path, "--version")

    assert (result.returncode, result.stdout) == (0, f"cams-mcp, version {__version__}\n")


def test_the_console_script_is_the_same_program(tmp_path: Path) -> None:
    script = Path(PROGRAM[0]).with_name("cams-mcp")
    if not script.exists():
        pytest.skip("the package is not installed beside this Python")
    result = subprocess.run(
        [script, "--version"], env=environment(tmp_path), capture_output=True, text=True, timeout=SECONDS, check=False
    )

    assert result.stdout == f"cams-mcp, version {__version__}\n"


def all_options() -> list[tuple[str, click.Option]]:
    context = click.Context(cli)
    found: list[tuple[str, click.Option]] = []
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        found += [(name, param) for param in command.params if isinstance(param, click.Option)]
    return found


SETTLED = ("serve", "call", "tools", "sandbox", "demo")
"""Commands whose options are all settings, but for how `tools` prints."""


def test_every_option_is_an_environment_variable_too() -> None:
    options = [(command, max(option.opts, key=len), option) for command, option in all_options()]
    settings = {long for command, long, _ in options if command in SETTLED} - {"--json"}

    assert {"--endpoint", "--confirm", "--transport", "--host", "--read-only", "--log-level"} <= settings
    for command, long, option in options:
        if long in settings:
            variable = f"CAMS_MCP_{long.removeprefix('--').replace('-', '_').upper()}"
            assert option.envvar == variable, f"{command} {long}"
            assert option.show_envvar, f"{command} {long}"
        assert option.help, f"{command} {long}"


def test_only_tools_has_an_option_that_is_no_setting_among_the_settled_commands() -> None:
    without = {(command, option.name) for command, option in all_options() if command in SETTLED and not option.envvar}

    assert without == {("tools", "as_json")}


OF_OTHER_PROGRAMS = {"--force-reinstall"}


def test_every_option_that_a_text_of_the_program_names_exists() -> None:
    own = {name for _, option in all_options() for name in (*option.opts, *option.secondary_opts)}
    own |= {"--help", "--version"}
    named: dict[str, str] = {}
    for path in Path(cams_mcp.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= dict.fromkeys(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w-])", node.value), path.name)

    assert named
    assert {name: file for name, file in named.items() if name not in own | OF_OTHER_PROGRAMS} == {}


def test_call_takes_the_options_that_serve_takes() -> None:
    options = all_options()
    serve, call = (
        {max(option.opts, key=len) for name, option in options if name == command} for command in ("serve", "call")
    )

    assert {"--endpoint", "--sandbox", "--fault", "--confirm", "--read-only", "--retries"} <= call
    assert {"--transport", "--host", "--port"} <= serve - call
    assert call <= serve


# tools


def test_tools_prints_every_tool_and_argument(invoke: Invoke) -> None:
    result = invoke("tools")

    assert (result.exit_code, result.stderr) == (0, "")
    for tool in load_catalog():
        assert tool.name in result.stdout
        for argument in tool.input_schema["properties"]:
            assert argument in result.stdout
    assert "users[].email" in result.stdout
    assert "page.size" in result.stdout
    assert "cust_space_id" in result.stdout


def test_tools_as_json_is_the_catalog(invoke: Invoke) -> None:
    result = invoke("tools", "--json")

    catalog = [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in load_catalog()]
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == catalog
    assert [tool["name"] for tool in catalog] == [operation.name for operation in OPERATIONS]


def test_tools_read_only_leaves_out_what_writes(invoke: Invoke) -> None:
    assert "add_custom_audience_user" not in invoke("tools", "--read-only").stdout
    names = [tool["name"] for tool in json.loads(invoke("tools", "--json", "--read-only").stdout)]
    assert names == [operation.name for operation in OPERATIONS if not operation.writes]


def test_tools_lists_the_file_tools_with_a_folder_as_serve_does(invoke: Invoke, tmp_path: Path) -> None:
    folder = ("--upload-dir", str(tmp_path))
    every = [tool.name for tool in load_catalog(uploads=True)]
    assert [tool["name"] for tool in json.loads(invoke("tools", "--json", *folder).stdout)] == every

    text = invoke("tools", *folder).stdout
    for tool in load_catalog(uploads=True):
        assert f"{tool.name} (" in text
    assert "--upload-dir" not in text.splitlines()[-1]
    assert invoke("tools", "--read-only", *folder).stdout == invoke("tools", "--read-only").stdout


def test_tools_tells_how_to_get_the_file_tools(invoke: Invoke) -> None:
    hint = "Add --upload-dir FOLDER for the file tools: check_audience_file, upload_audience_file."

    assert invoke("tools").stdout.splitlines()[-1] == hint
    assert "--upload-dir" not in invoke("tools", "--read-only").stdout


# A flag goes before the environment


@pytest.mark.parametrize(
    ("env", "flags", "read_only"),
    [
        ({}, [], False),
        ({"CAMS_MCP_READ_ONLY": "1"}, [], True),
        ({"CAMS_MCP_READ_ONLY": "true"}, ["--no-read-only"], False),
        ({"CAMS_MCP_READ_ONLY": "0"}, ["--read-only"], True),
    ],
)
def test_the_flag_read_only_goes_before_its_variable(
    invoke: Invoke, env: dict[str, str], flags: list[str], read_only: bool
) -> None:
    listed = [tool["name"] for tool in json.loads(invoke("tools", "--json", *flags, env=env).stdout)]

    assert listed == load_catalog(read_only=read_only).names


def test_the_flag_endpoint_goes_before_its_variable(invoke: Invoke, sandbox: Sandbox, url: str) -> None:
    other = Sandbox()
    with serving(sandbox_app(other)) as elsewhere:
        env = {"CAMS_MCP_ENDPOINT": elsewhere, "NO_PROXY": "*"}
        assert invoke("call", "list_instance", *KEY, env=env).exit_code == 0
        assert (len(sandbox.calls), len(other.calls)) == (0, 1)
        assert invoke("call", "list_instance", *KEY, "--endpoint", url, env=env).exit_code == 0

    assert (len(sandbox.calls), len(other.calls)) == (1, 1)


def test_the_flag_for_the_access_key_goes_before_its_variable(invoke: Invoke, url: str) -> None:
    wrong = {"CAMS_MCP_ACCESS_KEY_ID": "nobody", "CAMS_MCP_ACCESS_KEY_SECRET": "no-secret", "NO_PROXY": "*"}

    assert "InvalidAccessKeyId.NotFound" in invoke("call", "list_instance", "--endpoint", url, env=wrong).stderr
    assert invoke("call", "list_instance", "--endpoint", url, *KEY, env=wrong).exit_code == 0


@pytest.mark.parametrize(
    ("env", "flags", "says"),
    [
        ({"CAMS_MCP_FAULT": "denied", "CAMS_MCP_SANDBOX": "1"}, [], "Forbidden.RAM"),
        ({"CAMS_MCP_FAULT": "latency:1:0 denied", "CAMS_MCP_SANDBOX": "1"}, [], "Forbidden.RAM"),
        ({"CAMS_MCP_FAULT": "denied", "CAMS_MCP_SANDBOX": "1"}, ["--fault", "html413"], "(413)"),
        ({"CAMS_MCP_FAULT": "denied", "CAMS_MCP_SANDBOX": "1"}, ["--no-sandbox"], "requires --sandbox"),
        (
            {"CAMS_MCP_FAULT": "error", "CAMS_MCP_RETRIES": "5"},
            ["--sandbox", "--retries", "0"],
            "(HTTP 503, request id",
        ),
        ({"CAMS_MCP_FAULT": "error", "CAMS_MCP_RETRIES": "1"}, ["--sandbox"], "tried 2 times"),
        (
            {"CAMS_MCP_FAULT": "latency:1:9", "CAMS_MCP_TIMEOUT": "30"},
            ["--sandbox", "--retries=0", "--timeout=0.1"],
            "0.1 s",
        ),
    ],
)
def test_flags_go_before_the_variables_of_the_same_name(
    invoke: Invoke, env: dict[str, str], flags: list[str], says: str
) -> None:
    message = failed_cleanly(invoke("call", "list_instance", *flags, env=env))

    assert says in message
    if "--retries" in flags:
        assert "tried" not in message


# call


@pytest.mark.parametrize("tool", [name for name in VALID_ARGUMENTS if name.startswith("list_")])
def test_call_prints_the_result_and_nothing_else(invoke: Invoke, tool: str) -> None:
    result = invoke("call", tool, json.dumps(VALID_ARGUMENTS[tool]), "--sandbox")

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["data"]


def test_call_takes_arguments_from_a_file_or_standard_input(invoke: Invoke, tmp_path: Path) -> None:
    text = json.dumps(PAGE | {"custom_audience_name": "VIP", "page": {"size": 3}})
    (tmp_path / "arguments.json").write_text(text, encoding="utf-8")

    results = [
        invoke("call", "list_custom_audience", text, "--sandbox"),
        invoke("call", "list_custom_audience", f"@{tmp_path / 'arguments.json'}", "--sandbox"),
        invoke("call", "list_custom_audience", "-", "--sandbox", stdin=text),
    ]

    rows = [json.loads(result.stdout)["data"] for result in results]
    assert len(rows[0]) == 3
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize("text", ["{", "[]", "5", "null", "someone@example.com", "@missing-file", "-"])
def test_arguments_that_are_no_json_object_are_refused(invoke: Invoke, text: str) -> None:
    message = failed_cleanly(invoke("call", "list_instance", text, "--sandbox", stdin="{"))

    assert "arguments" in message
    assert "someone@example.com" not in message


def test_a_file_of_arguments_that_is_no_text_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")

    assert "arguments" in failed_cleanly(invoke("call", "list_instance", f"@{tmp_path / 'binary'}", "--sandbox"))


def test_an_unknown_tool_is_answered_with_the_known_ones(invoke: Invoke) -> None:
    message = failed_cleanly(invoke("call", "drop_everything", "--sandbox"))

    assert all(operation.name in message for operation in OPERATIONS)


def test_wrong_arguments_are_named_without_their_values(invoke: Invoke) -> None:
    arguments = {"page_id": 5, "someone": "someone@example.com", "page": {"size": 1000}}

    message = failed_cleanly(invoke("call", "list_custom_audience", json.dumps(arguments), "--sandbox"))

    for problem in (
        "cust_space_id: is required",
        "page_id: must be a string",
        "someone: is not an argument",
        "page.size",
    ):
        assert problem in message
    assert "example.com" not in message


def test_a_read_only_call_has_no_tool_that_writes(invoke: Invoke) -> None:
    assert "Unknown tool" in failed_cleanly(
        invoke("call", "add_custom_audience_user", WRITE, "--sandbox", "--read-only")
    )


def test_no_access_key_is_said_with_how_to_set_one(tmp_path: Path) -> None:
    result = run(tmp_path, "call", "list_instance", env={"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"})

    message = failed_cleanly(result)
    assert "No access key was found." in message
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in message
    assert "--sandbox" in message


def test_a_refusal_of_the_service_is_one_message(invoke: Invoke, url: str) -> None:
    wrong = ["--access-key-id", SANDBOX_KEY.id, "--access-key-secret", "not-the-secret"]

    message = failed_cleanly(invoke("call", "list_instance", *wrong, "--endpoint", url, env={"NO_PROXY": "*"}))

    assert "SignatureDoesNotMatch" in message
    assert "not-the-secret" not in message


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_ends_a_call_with_one_message(invoke: Invoke, fault: str) -> None:
    options = [
        "--sandbox",
        "--fault",
        f"{fault}:1:5" if fault == "latency" else fault,
        "--retries",
        "0",
        "--timeout",
        "0.1",
    ]

    assert failed_cleanly(invoke("call", "list_instance", *options)).startswith("ListInstance: ")


def writes(sandbox: Sandbox) -> list[str]:
    return [call.action for call in sandbox.calls if call.action == "AddCustomAudienceUser"]


def test_a_write_without_a_terminal_sends_nothing(tmp_path: Path, sandbox: Sandbox, url: str) -> None:
    run(tmp_path, "call", "add_custom_audience_user", "-", "--endpoint", url, *KEY, stdin=WRITE + "\ny\n")
    run(tmp_path, "call", "add_custom_audience_user", WRITE, "--endpoint", url, *KEY, stdin="y\n")

    assert not writes(sandbox)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("n\n", id="n"),
        pytest.param("\n", id="enter"),
        pytest.param("\x04", id="ctrl-d"),
        pytest.param("\x03", id="ctrl-c"),
    ],
)
def test_a_write_that_is_not_confirmed_on_the_terminal_sends_nothing(
    tmp_path: Path, sandbox: Sandbox, url: str, answer: str
) -> None:
    status, output, shown = run_on_terminal(
        tmp_path,
        *("call", "add_custom_audience_user", WRITE, "--endpoint", url, *KEY),
        until="[y/N]",
        answer=answer,
    )

    assert status != 0
    assert output == ""
    assert "120 people" in shown
    assert "cannot be undone" in shown
    assert "customer000000@example.com" not in shown
    assert "Traceback" not in shown
    if answer != "\x03":
        assert "Nothing was sent" in shown
    assert not writes(sandbox)


def test_a_write_confirmed_on_the_terminal_is_sent(tmp_path: Path, sandbox: Sandbox, url: str) -> None:
    status, output, shown = run_on_terminal(
        tmp_path,
        *("call", "add_custom_audience_user", WRITE, "--endpoint", url, *KEY),
        until="[y/N]",
        answer="y\n",
    )

    assert status == 0, shown
    assert json.loads(output)["status"] == "sent"
    assert len(writes(sandbox)) == 1
    assert len(sandbox.people(AUDIENCE)) == 120


def test_a_write_with_confirmation_off_is_sent(invoke: Invoke, sandbox: Sandbox, url: str) -> None:
    command = ("call", "add_custom_audience_user", WRITE, "--endpoint", url, *KEY, "--confirm", "off")
    result = invoke(*command, env={"NO_PROXY": "*"})

    assert json.loads(result.stdout)["status"] == "sent"
    assert len(sandbox.people(AUDIENCE)) == 120


# serve


@pytest.mark.parametrize("env", [{}, {"CAMS_MCP_CONFIRM": "off"}])
def test_serve_says_loudly_that_nobody_confirms(invoke: Invoke, env: dict[str, str]) -> None:
    flags = [] if env else ["--confirm", "off"]

    result = invoke("serve", "--sandbox", *flags, env=env)

    assert (result.exit_code, result.stdout) == (0, "")
    assert "WARNING" in result.stderr
    assert "--confirm off" in result.stderr
    assert "cannot be undone" in " ".join(result.stderr.split())


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_serve_says_that_no_page_can_open_over_http(
    invoke: Invoke, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cams_mcp.cli.serve.anyio.run", Mock())
    result = invoke("serve", "--sandbox", "--confirm", "page", "--transport", transport)

    assert result.exit_code == 0
    assert ("no approval page can open" in result.stderr) is (transport == "http")


@pytest.mark.parametrize("flags", [["--confirm", "auto"], ["--confirm", "token"], ["--confirm", "off", "--read-only"]])
def test_serve_does_not_warn_without_a_reason(invoke: Invoke, flags: list[str]) -> None:
    result = invoke("serve", "--sandbox", *flags, env={"CAMS_MCP_CONFIRM": "off"})

    assert result.exit_code == 0
    assert "WARNING" not in result.stderr


def test_serve_says_that_it_uses_the_sandbox(tmp_path: Path) -> None:
    assert "sandbox" in run(tmp_path, "serve", "--sandbox").stderr
    assert run(tmp_path, "serve").stderr == ""


# sandbox


def started(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The URL and all that a sandbox says when it starts."""
    lines = read_until(process.stderr, "business_number")
    (url,) = [word for word in lines.split() if word.startswith("http://")]
    return url, lines


def read_until(stream: IO[str] | None, word: str) -> str:
    assert stream is not None
    lines = ""
    while word not in lines:
        line = stream.readline()
        assert line, f"ended early, after: {lines}"
        lines += line
    return lines


def sandbox_process(home: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, "sandbox", "--port", "0", *options],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_sandbox_serves_calls_until_a_signal_comes(invoke: Invoke, tmp_path: Path, number: signal.Signals) -> None:
    with sandbox_process(tmp_path) as process:
        try:
            url, said = started(process)
            call = ("call", "list_custom_audience", json.dumps(PAGE), "--endpoint", url)
            keys = ("--access-key-id", "sandbox-id", "--access-key-secret", "sandbox-secret")
            result = invoke(*call, *keys, env={"NO_PROXY": "*"})
            process.send_signal(number)
            output, errors = process.communicate(timeout=SECONDS)
        finally:
            process.kill()

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["total"] == 320
    for told in (SANDBOX_KEY.id, SANDBOX_KEY.secret, *TARGET.values()):
        assert told in said or told == AUDIENCE
    assert process.returncode == 0
    assert output == ""
    assert "Traceback" not in errors


def test_the_sandbox_fails_on_request(invoke: Invoke, tmp_path: Path) -> None:
    with sandbox_process(tmp_path, "--fault", "denied") as process:
        try:
            url, _ = started(process)
            result = invoke("call", "list_instance", "--endpoint", url, *KEY, env={"NO_PROXY": "*"})
        finally:
            process.terminate()

    assert "is not allowed to run cams:ListInstance" in failed_cleanly(result)


def test_the_sandbox_on_ipv6_tells_an_address_that_can_be_used(invoke: Invoke, tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")
    with sandbox_process(tmp_path, "--host", "::1") as process:
        try:
            url, _ = started(process)
            result = invoke("call", "list_instance", "--endpoint", url, *KEY, env={"NO_PROXY": "*"})
        finally:
            process.terminate()

    assert url.startswith("http://[::1]:")
    assert result.exit_code == 0, result.stderr


def test_the_sandbox_lists_its_faults(invoke: Invoke) -> None:
    text = " ".join(invoke("sandbox", "--help").stdout.split())

    for name, (_, does) in FAULTS.items():
        assert f"{name}: {does}" in text


def test_tools_can_be_listed_without_the_folder_that_a_server_would_need(invoke: Invoke, tmp_path: Path) -> None:
    listed = invoke("tools", "--json", env={"CAMS_MCP_UPLOAD_DIR": str(tmp_path / "missing")}).stdout

    assert [tool["name"] for tool in json.loads(listed)] == load_catalog(uploads=True).names
