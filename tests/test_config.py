"""`cams-mcp config`: what each client is told, where, and that merging harms nothing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from support_cli import SECONDS, environment, run

from cams_mcp.cli import cli, config_files
from cams_mcp.cli.clients import CLIENTS, Server
from cams_mcp.cli.config import own_command
from cams_mcp.cli.config_files import merged_text
from cams_mcp.errors import ConfigurationError

PROGRAM = "/opt/cams/bin/cams-mcp"
KEYS = ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET")
PLAIN = {"command": PROGRAM, "args": []}
FILES = [client for client in CLIENTS.values() if client.place]
JSON_FILES = [client for client in FILES if client.form == "json"]
CURSOR = CLIENTS["cursor"]
CODEX = CLIENTS["codex-cli"]
OTHER = {"other": {"command": "other-server", "env": {"TOKEN": "of the other"}}}


def config(*arguments: str, home: Path | None = None) -> Result:
    env = {"HOME": str(home or "/home/someone"), "XDG_CONFIG_HOME": "", "CODEX_HOME": "", "CAMS_MCP_REGION": None}
    return CliRunner().invoke(cli, ["config", *arguments, "--command", PROGRAM], env=env)


def printed(*arguments: str) -> str:
    result = config(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def write(path: Path, *arguments: str, client: str = "cursor") -> Result:
    return config(client, "--path", str(path), "--write", *arguments)


def refused(result: Result) -> str:
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    return result.stderr


def server(**more: Any) -> Server:
    return Server(command=PROGRAM, **more)


# What each client is told

EXPECTED: dict[str, dict[str, Any]] = {
    "claude-desktop": {"mcpServers": {"cams": PLAIN}},
    "claude-code": {"mcpServers": {"cams": {"type": "stdio", **PLAIN}}},
    "vscode": {"servers": {"cams": {"type": "stdio", **PLAIN}}},
    "cursor": {"mcpServers": {"cams": PLAIN}},
    "windsurf": {"mcpServers": {"cams": PLAIN}},
    "gemini-cli": {"mcpServers": {"cams": PLAIN}},
    "codex-cli": {"mcp_servers": {"cams": PLAIN}},
    "zed": {"context_servers": {"cams": {"source": "custom", **PLAIN}}},
    "cline": {"mcpServers": {"cams": PLAIN}},
    "http": {"mcpServers": {"cams": {"type": "http", "url": "http://127.0.0.1:8000/mcp"}}},
}


def parsed(client: str, text: str) -> Any:
    return tomllib.loads(text) if CLIENTS[client].form == "toml" else json.loads(text)


def test_every_client_is_pinned() -> None:
    assert set(EXPECTED) == set(CLIENTS)


@pytest.mark.parametrize("client", EXPECTED)
def test_a_client_is_told_how_to_start_the_server_and_no_secret(client: str) -> None:
    assert parsed(client, printed(client)) == EXPECTED[client]


def test_json_is_printed_as_people_write_it() -> None:
    assert printed("zed", "--sandbox") == (
        '{\n  "context_servers": {\n    "cams": {\n      "source": "custom",\n'
        '      "command": "/opt/cams/bin/cams-mcp",\n      "args": [\n        "--sandbox"\n      ]\n    }\n  }\n}\n'
    )


def test_toml_is_printed_as_codex_writes_it() -> None:
    assert printed("codex-cli", "--profile", "work", "--read-only") == (
        '[mcp_servers.cams]\ncommand = "/opt/cams/bin/cams-mcp"\nargs = ["--read-only"]\n'
        'env = { ALIBABA_CLOUD_PROFILE = "work" }\n'
    )


@pytest.mark.parametrize("client", [client.name for client in FILES])
def test_the_options_become_arguments_of_the_server(client: str) -> None:
    document = parsed(client, printed(client, "--name", "mine", "--sandbox", "--read-only", "--region", "cn-hangzhou"))

    entry = document[CLIENTS[client].servers]["mine"]
    assert entry["args"] == ["--sandbox", "--read-only", "--region", "cn-hangzhou"]
    assert "env" not in entry


@pytest.mark.parametrize("client", [client.name for client in FILES])
def test_a_profile_is_named_by_its_variable(client: str) -> None:
    document = parsed(client, printed(client, "--profile", "work"))

    assert document[CLIENTS[client].servers]["cams"]["env"] == {"ALIBABA_CLOUD_PROFILE": "work"}


@pytest.mark.parametrize(
    ("client", "form"),
    [
        ("claude-code", "${{{}}}"),
        ("gemini-cli", "${{{}}}"),
        ("cursor", "${{env:{}}}"),
        ("windsurf", "${{env:{}}}"),
        ("cline", "${{env:{}}}"),
    ],
)
def test_a_key_is_referred_to_by_the_clients_own_form(client: str, form: str) -> None:
    document = parsed(client, printed(client, "--refer-to-key"))

    assert document["mcpServers"]["cams"]["env"] == {variable: form.format(variable) for variable in KEYS}


def test_codex_forwards_the_keys_variables_by_name() -> None:
    document = parsed("codex-cli", printed("codex-cli", "--refer-to-key"))

    assert document == {"mcp_servers": {"cams": PLAIN | {"env_vars": list(KEYS)}}}


def test_vs_code_asks_for_the_key_and_hides_what_is_typed() -> None:
    document = parsed("vscode", printed("vscode", "--refer-to-key", "--name", "mine"))

    assert document["servers"]["mine"]["env"] == {
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "${input:mine-access-key-id}",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "${input:mine-access-key-secret}",
    }
    assert [(given["type"], given["id"], given["password"]) for given in document["inputs"]] == [
        ("promptString", "mine-access-key-id", True),
        ("promptString", "mine-access-key-secret", True),
    ]


@pytest.mark.parametrize("client", ["claude-desktop", "zed"])
def test_a_client_that_cannot_refer_to_a_key_is_given_no_key(client: str) -> None:
    assert "--profile" in refused(config(client, "--refer-to-key"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--sandbox", "--profile", "work"), "mutually exclusive"),
        (("--profile", "work", "--refer-to-key"), "mutually exclusive"),
        (("--uvx",), "--command and --uvx"),
        (("--name", "a b"), "--name"),
        (("--name", ""), "--name"),
        (("--region", "Singapore"), "is not a valid region id"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: tuple[str, ...], says: str) -> None:
    assert says in refused(config("cursor", *arguments))


# How it is started


def test_uvx_starts_the_package(tmp_path: Path) -> None:
    result = run(tmp_path, "config", "cursor", "--uvx", "--sandbox")

    assert json.loads(result.stdout)["mcpServers"]["cams"] == {"command": "uvx", "args": ["cams-mcp", "--sandbox"]}


def test_the_running_program_is_what_is_started(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "cams-mcp"
    script.touch()

    assert own_command(str(script), "/usr/bin/python3") == [str(script)]
    assert own_command("/x/cams_mcp/__main__.py", str(tmp_path / "bin" / "python")) == [str(script)]


def test_a_link_to_the_program_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "versioned").touch()
    link = tmp_path / "cams-mcp"
    link.symlink_to("versioned")

    assert own_command(str(link), "/usr/bin/python3") == [str(link)]


def test_without_a_script_the_module_is_started() -> None:
    assert own_command("/x/cams_mcp/__main__.py", "/nowhere/python3") == ["/nowhere/python3", "-m", "cams_mcp"]


def test_the_command_names_a_program_that_starts(tmp_path: Path) -> None:
    entry = json.loads(run(tmp_path, "config", "cursor").stdout)["mcpServers"]["cams"]

    assert Path(entry["command"]).is_absolute()
    assert os.access(entry["command"], os.X_OK)


# Where it belongs

MAC = {"HOME": "/Users/someone"}
WINDOWS = {"USERPROFILE": r"C:\Users\someone", "APPDATA": r"C:\Users\someone\AppData\Roaming"}
LINUX = {"HOME": "/home/someone"}
ROAMING = r"C:\Users\someone\AppData\Roaming"
SUPPORT = "/Users/someone/Library/Application Support"
CLINE = "Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"

PATHS = {
    "claude-desktop": (
        "/home/someone/.config/Claude/claude_desktop_config.json",
        f"{SUPPORT}/Claude/claude_desktop_config.json",
        rf"{ROAMING}\Claude\claude_desktop_config.json",
    ),
    "claude-code": ("/home/someone/.claude.json", "/Users/someone/.claude.json", r"C:\Users\someone\.claude.json"),
    "vscode": (
        "/home/someone/.config/Code/User/mcp.json",
        f"{SUPPORT}/Code/User/mcp.json",
        rf"{ROAMING}\Code\User\mcp.json",
    ),
    "cursor": (
        "/home/someone/.cursor/mcp.json",
        "/Users/someone/.cursor/mcp.json",
        r"C:\Users\someone\.cursor\mcp.json",
    ),
    "windsurf": (
        "/home/someone/.codeium/windsurf/mcp_config.json",
        "/Users/someone/.codeium/windsurf/mcp_config.json",
        r"C:\Users\someone\.codeium\windsurf\mcp_config.json",
    ),
    "gemini-cli": (
        "/home/someone/.gemini/settings.json",
        "/Users/someone/.gemini/settings.json",
        r"C:\Users\someone\.gemini\settings.json",
    ),
    "codex-cli": (
        "/home/someone/.codex/config.toml",
        "/Users/someone/.codex/config.toml",
        r"C:\Users\someone\.codex\config.toml",
    ),
    "zed": (
        "/home/someone/.config/zed/settings.json",
        "/Users/someone/.config/zed/settings.json",
        rf"{ROAMING}\Zed\settings.json",
    ),
    "cline": (f"/home/someone/.config/{CLINE}", f"{SUPPORT}/{CLINE}", rf"{ROAMING}\{CLINE}".replace("/", "\\")),
}


@pytest.mark.parametrize(
    ("client", "platform", "environment", "path"),
    [
        (client, platform, environment, path)
        for client, paths in PATHS.items()
        for platform, environment, path in zip(("linux", "darwin", "win32"), (LINUX, MAC, WINDOWS), paths, strict=True)
    ],
)
def test_the_clients_file_on_each_platform(client: str, platform: str, environment: dict[str, str], path: str) -> None:
    assert str(CLIENTS[client].path(platform, environment)) == path


@pytest.mark.parametrize("client", ["claude-desktop", "vscode", "zed", "cline"])
def test_linux_directories_follow_the_environment(client: str) -> None:
    path = CLIENTS[client].path("linux", LINUX | {"XDG_CONFIG_HOME": "/etc/mine"})

    assert path is not None
    assert str(path).startswith("/etc/mine/")


def test_windows_without_appdata_uses_its_usual_place() -> None:
    path = CLIENTS["vscode"].path("win32", {"USERPROFILE": r"C:\Users\someone"})

    assert str(path) == rf"{ROAMING}\Code\User\mcp.json"


def test_codex_home_is_followed() -> None:
    assert str(CODEX.path("linux", LINUX | {"CODEX_HOME": "/srv/codex"})) == "/srv/codex/config.toml"


@pytest.mark.parametrize(("platform", "variable"), [("linux", "HOME"), ("darwin", "HOME"), ("win32", "USERPROFILE")])
def test_without_a_home_directory_the_file_must_be_given(platform: str, variable: str) -> None:
    with pytest.raises(ConfigurationError, match=variable) as caught:
        CURSOR.path(platform, {})
    assert "--path" in str(caught.value)


def test_http_has_no_file_and_says_how_to_start_the_server() -> None:
    assert CLIENTS["http"].path("linux", LINUX) is None
    assert f"{PROGRAM} --sandbox --transport http" in config("http", "--sandbox").stderr
    assert "--path" in refused(config("http", "--write"))


# Merging


@pytest.mark.parametrize("client", FILES, ids=lambda client: client.name)
def test_a_missing_file_is_made_with_its_directories(tmp_path: Path, client: Any) -> None:
    result = config(client.name, "--write", home=tmp_path)

    path = client.path(sys.platform, {"HOME": str(tmp_path)})
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert parsed(client.name, Path(path).read_text()) == EXPECTED[client.name]
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert list(Path(path).parent.glob("*.bak")) == []


@pytest.mark.parametrize("client", JSON_FILES, ids=lambda client: client.name)
def test_everything_else_in_a_file_is_kept_in_its_order(tmp_path: Path, client: Any) -> None:
    path = tmp_path / "file.json"
    before = {"theme": "dark", client.servers: OTHER, "größe": [1, 2.5, None, "\U0001f600"]}
    path.write_text(json.dumps(before, ensure_ascii=False), encoding="utf-8")

    assert write(path, client=client.name).exit_code == 0

    after = json.loads(path.read_text(encoding="utf-8"))
    expected = before | {client.servers: OTHER | EXPECTED[client.name][client.servers]}
    assert after == expected
    assert list(after) == list(expected)
    assert "größe" in path.read_text(encoding="utf-8")


def test_a_backup_with_the_earlier_content_is_made_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {}}')
    path.chmod(0o640)

    first = write(path)
    second = write(path, "--name", "another")

    assert (tmp_path / "mcp.json.1.bak").read_text() == '{"mcpServers": {}}'
    assert str(tmp_path / "mcp.json.1.bak") in first.stderr
    assert list(json.loads((tmp_path / "mcp.json.2.bak").read_text())["mcpServers"]) == ["cams"]
    assert second.exit_code == 0
    assert stat.S_IMODE((tmp_path / "mcp.json.1.bak").stat().st_mode) & 0o137 == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mcp.json", "mcp.json.1.bak", "mcp.json.2.bak"]


def test_the_files_mode_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")
    path.chmod(0o644)

    write(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")
    write(path)
    before = path.read_bytes()

    result = write(path)

    assert result.exit_code == 0
    assert "Nothing to do" in result.stderr
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.glob("*.bak")] == ["mcp.json.1.bak"]


@pytest.mark.parametrize("client", ["cursor", "codex-cli"])
def test_another_entry_of_this_name_is_replaced_only_by_force(tmp_path: Path, client: str) -> None:
    path = tmp_path / "file"
    write(path, client=client)
    before = path.read_bytes()

    message = refused(write(path, "--sandbox", client=client))
    assert "--force" in message
    assert "--name" in message
    assert path.read_bytes() == before

    assert write(path, "--sandbox", "--force", client=client).exit_code == 0
    assert parsed(client, path.read_text())[CLIENTS[client].servers]["cams"]["args"] == ["--sandbox"]


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"\xef\xbb\xbf{}\r\n"])
def test_an_empty_file_is_filled(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(content)

    assert write(path).exit_code == 0
    assert json.loads(path.read_text()) == EXPECTED["cursor"]


def test_indent_and_line_ends_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(b'{\r\n\t"a": 1\r\n}\r\n')

    write(path)

    assert path.read_bytes().startswith(b'{\r\n\t"a": 1,\r\n\t"mcpServers": {\r\n\t\t"cams": {\r\n')
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")


COMMENTED = '{\n  // my servers, secret-in-a-comment\n  "context_servers": {},\n}\n'


@pytest.mark.parametrize(
    "content",
    [
        COMMENTED.encode(),
        b'{"a": 1,}',
        b'{"mcpServers": {',
        b"[]",
        b'"text"',
        b"null",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\xff"}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_plain_json_is_left_as_it_is_with_words_on_what_to_add(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)

    message = refused(write(path, client="zed"))

    assert "not plain JSON" in message
    assert json.loads(message[message.index("{") :]) == EXPECTED["zed"]
    assert "secret-in-a-comment" not in message
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["settings.json"]


@pytest.mark.parametrize("content", ['{"mcpServers": []}', '{"mcpServers": null}', '{"mcpServers": "x"}'])
def test_servers_of_an_unknown_form_are_left_as_they_are(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(content)

    assert "by hand" in refused(write(path))
    assert path.read_text() == content


def test_inputs_of_vs_code_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    other = {"type": "promptString", "id": "other", "description": "Other"}
    mine = {"type": "promptString", "id": "cams-access-key-id", "description": "Mine"}
    path.write_text(json.dumps({"inputs": [other, mine], "servers": {}}))

    assert 'an input "cams-access-key-id"' in refused(write(path, "--refer-to-key", client="vscode"))
    assert write(path, "--refer-to-key", "--force", client="vscode").exit_code == 0

    document = json.loads(path.read_text())
    assert [given["id"] for given in document["inputs"]] == ["other", "cams-access-key-id", "cams-access-key-secret"]
    assert document["inputs"][0] == other
    assert document["inputs"][1]["password"] is True
    assert "Nothing to do" in write(path, "--refer-to-key", client="vscode").stderr


@pytest.mark.parametrize("inputs", ["{}", '["x"]'])
def test_inputs_of_an_unknown_form_are_left_as_they_are(tmp_path: Path, inputs: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(f'{{"inputs": {inputs}}}')

    assert "by hand" in refused(write(path, "--refer-to-key", client="vscode"))


CODEX_FILE = """\
# My settings.
model = "o-example"  # the small one

[mcp_servers.other]
command = "other-server"

[mcp_servers.cams]
command = "old"
[mcp_servers.cams.env]
OLD = "1"

[features]
text = '''
[not.a.table]
'''
"""


def test_comments_of_codex_stay_and_only_our_table_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CODEX_FILE)

    assert write(path, "--force", client="codex-cli").exit_code == 0

    text = path.read_text()
    before, after = tomllib.loads(CODEX_FILE), tomllib.loads(text)
    assert after == before | {"mcp_servers": before["mcp_servers"] | {"cams": PLAIN}}
    assert text.startswith('# My settings.\nmodel = "o-example"  # the small one\n')
    assert text.endswith(f'[mcp_servers.cams]\ncommand = "{PROGRAM}"\nargs = []\n')


@pytest.mark.parametrize(
    "content",
    [
        'mcp_servers = { other = { command = "x" } }\n',
        '[mcp_servers]\ncams = { command = "old" }\n',
        '[mcp_servers.cams]\ncommand = "old"\nargs = [\n["[mcp_servers.cams"],\n]\n',
    ],
)
def test_toml_that_text_cannot_extend_surely_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(content)

    message = refused(write(path, "--force", client="codex-cli"))

    assert "by hand" in message
    assert "[mcp_servers.cams]" in message
    assert path.read_text() == content


def test_a_broken_toml_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[mcp_servers\n")

    assert "not valid TOML" in refused(write(path, client="codex-cli"))
    assert path.read_text() == "[mcp_servers\n"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.text().filter(lambda name: name != "mcpServers"), JSON_VALUES, max_size=4),
    st.dictionaries(st.text().filter(lambda name: name != "cams"), JSON_VALUES, max_size=3),
    st.booleans(),
)
def test_whatever_a_json_file_holds_is_kept(rest: dict[str, Any], others: dict[str, Any], ascii_only: bool) -> None:
    before = rest | {"mcpServers": others}
    old = json.dumps(before, ensure_ascii=ascii_only).encode()

    new = merged_text(old, CURSOR, CURSOR.document(server()), force=False)

    assert new is not None
    assert json.loads(new) == rest | {"mcpServers": others | {"cams": PLAIN}}


def test_half_a_character_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(r'{"half": "\ud83d"}')

    assert write(path).exit_code == 0
    assert json.loads(path.read_text(encoding="utf-8"))["half"] == "\ud83d"


# The file itself


def test_a_link_stays_and_the_file_it_leads_to_is_changed(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles" / "mcp.json").write_text("{}")
    link = tmp_path / "mcp.json"
    link.symlink_to(Path("dotfiles") / "mcp.json")

    assert write(link).exit_code == 0

    assert link.is_symlink()
    assert json.loads((tmp_path / "dotfiles" / "mcp.json").read_text()) == EXPECTED["cursor"]
    assert (tmp_path / "dotfiles" / "mcp.json.1.bak").read_text() == "{}"


def test_a_file_that_cannot_be_written_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    message = refused(write(tmp_path / "file" / "mcp.json"))

    assert "Cannot write the file" in message
    assert "--path" in message


def test_a_directory_in_its_place_is_one_clear_message(tmp_path: Path) -> None:
    path = tmp_path / ".cursor" / "mcp.json"
    path.mkdir(parents=True)

    assert "Cannot write the file" in refused(config("cursor", "--write", home=tmp_path))


def test_a_file_that_changes_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")

    def fsync_late(handle: int) -> None:
        path.write_text('{"saved": "by the client"}')

    monkeypatch.setattr(config_files.os, "fsync", fsync_late)

    assert "changed the file in the meantime" in refused(write(path))
    assert path.read_text() == '{"saved": "by the client"}'
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mcp.json", "mcp.json.1.bak"]


def test_a_write_that_breaks_leaves_the_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(config_files.os, "fsync", full)

    assert "No space left on device" in refused(write(path))
    assert path.read_text() == "{}"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mcp.json", "mcp.json.1.bak"]


SERVE = """
import sys
from cams_mcp.cli import cli
cli(["serve", "--sandbox"], standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""


def test_serving_imports_none_of_this(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SERVE],
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )

    imported = set(result.stderr.split())
    assert "cams_mcp.cli.serve" in imported
    commands = ("config", "clients", "config_files", "doctor", "checks", "remote_checks", "ram_policy")
    assert imported.isdisjoint({"tomllib", *(f"cams_mcp.cli.{name}" for name in commands)})
