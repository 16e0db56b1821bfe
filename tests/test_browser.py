"""Opening the person's browser from a process whose pipes belong to a protocol."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from cams_mcp.approval.browser import TEXT_BROWSERS, graphical, open_browser, why_not

URL = "http://127.0.0.1:9/page"
PATIENCE_SECONDS = 30.0

pytestmark = pytest.mark.slow

POSIX_ONLY = pytest.mark.skipif(os.name == "nt", reason="needs shell scripts as browsers")

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes a browser: a shell script in a folder at the head of PATH. There is no other browser."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "TERM"):
        monkeypatch.delenv(name, raising=False)

    def make(name: str, *lines: str) -> Path:
        program = folder / name
        program.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return program

    return make


def contents(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


async def appearing(path: Path) -> str:
    """What a program writes to a file, as soon as it is there."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while not contents(path).endswith("\n"):  # noqa: ASYNC110 - the program is another process
            await anyio.sleep(0.01)
    return contents(path)


@POSIX_ONLY
async def test_the_browser_that_the_person_named_is_opened(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    monkeypatch.setenv("BROWSER", str(install("netscape-7", f'echo "$1" > {seen}')))

    assert await open_browser(URL)
    assert await appearing(seen) == f"{URL}\n"


@POSIX_ONLY
async def test_a_command_with_a_place_for_the_address_is_opened(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    program = install("netscape-7", f'echo "$1 $2" > {seen}')
    monkeypatch.setenv("BROWSER", f"{program} --app=%s")

    assert await open_browser(URL)
    assert (await appearing(seen)).strip() == f"--app={URL}"


@POSIX_ONLY
async def test_a_browser_gets_none_of_the_servers_pipes(install: Install, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    program = install(
        "netscape-7",
        "echo noise; echo noise >&2",
        "read line",
        f'echo "got <$line> $(ls -l /proc/self/fd 2>/dev/null | grep -c pipe:)" > {seen}',
    )
    # A server like ours: all three pipes belong to a client that reads every byte.
    server = f"import anyio; from cams_mcp.approval.browser import open_browser; anyio.run(open_browser, {URL!r})"
    environ = os.environ | {"BROWSER": str(program)}

    done = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", server], input=b"protocol\n", capture_output=True, env=environ, check=True, timeout=60
    )

    assert (done.stdout, done.stderr) == (b"", b"")
    answer = await appearing(seen)
    assert answer.startswith("got <> ")
    # The pipe is the one of $( ).
    assert not sys.platform.startswith("linux") or answer.endswith(" 1\n")


@POSIX_ONLY
async def test_a_ctrl_c_for_the_server_does_not_reach_the_browser(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    monkeypatch.setenv("BROWSER", str(install("netscape-7", f"ps -o sid= -p $$ > {seen}")))

    assert await open_browser(URL)
    assert int(await appearing(seen)) != os.getsid(0)


@POSIX_ONLY
async def test_a_browser_that_runs_until_it_is_closed_blocks_nothing(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "closed"
    os.mkfifo(fifo)
    ended = tmp_path / "ended"
    monkeypatch.setenv("BROWSER", str(install("netscape-7", f"read line < {fifo}", f"echo ended > {ended}")))

    assert await open_browser(URL, patience=0.2)
    assert not ended.exists()

    with fifo.open("w", encoding="utf-8") as closing:
        closing.write("now\n")
    assert await appearing(ended) == "ended\n"


@POSIX_ONLY
async def test_cancelling_leaves_the_browser_open(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, ended, fifo = tmp_path / "started", tmp_path / "ended", tmp_path / "closed"
    os.mkfifo(fifo)
    script = (f"echo started > {started}", f"read line < {fifo}", f"echo ended > {ended}")
    monkeypatch.setenv("BROWSER", str(install("netscape-7", *script)))

    async with anyio.create_task_group() as group:
        group.start_soon(open_browser, URL)
        await appearing(started)
        group.cancel_scope.cancel()

    with fifo.open("w", encoding="utf-8") as closing:
        closing.write("now\n")
    assert await appearing(ended) == "ended\n"


@POSIX_ONLY
@pytest.mark.parametrize("lines", [("exit 1",), ("kill -9 $$",)], ids=["fails", "is killed"])
async def test_a_browser_that_fails_is_reported(
    install: Install, monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...]
) -> None:
    monkeypatch.setenv("BROWSER", str(install("netscape-7", *lines)))

    assert not await open_browser(URL)


async def test_a_browser_that_does_not_exist_is_reported(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER", "netscape-7")

    assert not await open_browser(URL)


@POSIX_ONLY
async def test_after_a_browser_that_fails_the_next_one_is_opened(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    first, second = install("first", "exit 1"), install("second", f'echo "$1" > {seen}')
    monkeypatch.setenv("BROWSER", f"{first}{os.pathsep}{second}")

    assert await open_browser(URL)
    assert await appearing(seen) == f"{URL}\n"


@POSIX_ONLY
@pytest.mark.parametrize("name", ["w3m", "lynx", "links2", "www-browser"])
async def test_a_text_browser_is_never_started(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    seen, ran = tmp_path / "seen", tmp_path / "ran"
    text = install(name, f"echo ran > {ran}")
    for named in (name, str(text), f"{text} -T text/html %s"):
        monkeypatch.setenv("BROWSER", named)
        assert not await open_browser(URL)

    monkeypatch.setenv("BROWSER", os.pathsep.join([name, str(install("netscape-7", f"echo seen > {seen}")), str(text)]))
    assert await open_browser(URL)
    await appearing(seen)
    assert not ran.exists()


@POSIX_ONLY
async def test_on_a_terminal_without_a_display_no_text_browser_is_found(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    for name in ("w3m", "lynx", "links", "elinks", "www-browser"):
        install(name, f"echo ran > {ran}")
    monkeypatch.setenv("TERM", "xterm")

    assert not await open_browser(URL)
    assert not ran.exists()


@POSIX_ONLY
async def test_the_address_is_in_no_argument_and_no_environment_but_the_browsers(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    script = ("unset address", f"(ps -o args= -p $PPID; env | grep -c {URL}; echo end) > {seen}")
    monkeypatch.setenv("BROWSER", str(install("netscape-7", *script)))

    assert await open_browser(URL)
    helper, count, _ = (await appearing(seen)).rsplit("\n", 3)[:3]
    assert "webbrowser" in helper
    assert URL not in helper
    assert count == "0"


async def test_without_an_interpreter_of_its_own_the_server_opens_no_browser(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    assert not await open_browser(URL)
    monkeypatch.setattr(sys, "executable", "/nothing/here/python")
    assert not await open_browser(URL)


async def test_a_browser_that_started_at_once_is_not_waited_for(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", "netscape-7")
    started = time.monotonic()
    await open_browser(URL, patience=PATIENCE_SECONDS)

    assert time.monotonic() - started < PATIENCE_SECONDS


# Whether there is any point.


def nothing_exists(path: Path) -> bool:
    return False


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"DISPLAY": ":0"}, "linux", None),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", None),
        ({"BROWSER": "wslview"}, "linux", None),
        ({}, "darwin", None),
        ({}, "win32", None),
        ({}, "linux", "the server has no display"),
        ({}, "freebsd14", "the server has no display"),
        ({"DISPLAY": ""}, "linux", "the server has no display"),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, "linux", "an SSH session"),
        ({"SSH_TTY": "/dev/ttys001"}, "darwin", "an SSH session"),
        ({"DISPLAY": ":0", "KUBERNETES_SERVICE_HOST": "192.0.2.1"}, "linux", "a container"),
        ({"DISPLAY": ":0", "BROWSER": "w3m"}, "linux", "only text browsers"),
        ({"DISPLAY": ":0", "BROWSER": os.pathsep.join(["/usr/bin/w3m", "lynx %s"])}, "linux", "only text browsers"),
        ({"DISPLAY": ":0", "BROWSER": os.pathsep.join(["w3m", "firefox"])}, "linux", None),
        ({"BROWSER": "lynx"}, "darwin", "only text browsers"),
    ],
)
def test_why_a_machine_has_no_browser_for_a_person(
    environ: dict[str, str], platform: str, expected: str | None
) -> None:
    why = why_not(environ, platform, nothing_exists)

    assert (why is None) if expected is None else (why is not None and expected in why)


@pytest.mark.parametrize("name", ["/.dockerenv", "/run/.containerenv"])
def test_a_container_has_no_browser_for_a_person(name: str) -> None:
    assert why_not({"DISPLAY": ":0"}, "linux", lambda path: path == Path(name)) == "the server runs in a container"


@pytest.mark.parametrize("name", sorted(TEXT_BROWSERS))
def test_text_browsers_are_known_however_they_are_named(name: str) -> None:
    named = [name, f"/usr/bin/{name}", f"{name} %s", f"'/opt/my tools/{name}' -x", name.upper(), f'"{name} unclosed']

    assert graphical(os.pathsep.join([*named, "firefox", "xterm -e w3m %s"])) == os.pathsep.join(
        ["firefox", "xterm -e w3m %s"]
    )
