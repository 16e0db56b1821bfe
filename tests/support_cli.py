"""The program as a process: started with an environment of its own, on a terminal where that matters."""

from __future__ import annotations

import logging
import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner

from cams_mcp.cli import cli

PROGRAM = [sys.executable, "-m", "cams_mcp"]
SECONDS = 30


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment with nothing of this machine's in it: no settings, no access keys, no proxies."""
    return {"HOME": str(home), "PATH": os.defpath, **(more or {})}


def run(
    home: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        input=stdin,
        env=environment(home, env),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


def run_here(
    home: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """As `run`, but in this process, which takes a tenth of the time: where being a process is not the point."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # The commands' logging replaces the root's handlers and closes them.
    root.handlers = []
    try:
        with patch.dict(os.environ, environment(home, env), clear=True):
            result = CliRunner().invoke(cli, arguments, input=stdin)
    finally:
        root.handlers = handlers
        root.setLevel(level)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the controlling terminal, so that Ctrl-C typed there is a signal, and becomes the program."""


def run_on_terminal(
    home: Path,
    *arguments: str,
    until: str,
    answer: str,
    ahead: str = "",
    signalled: int | None = None,
    hang_up: bool = False,
) -> tuple[int, str, str]:
    """Run the program with a terminal as standard input and error; type `answer` once `until` appears.

    Args:
        ahead: typed before the program starts.
        signalled: a signal to send then, too.
        hang_up: close the terminal instead of typing.

    Returns:
        The exit status, standard output, and what the terminal showed.
    """
    ours, theirs = pty.openpty()
    os.write(ours, ahead.encode())
    with subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, *PROGRAM, *arguments],
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        env=environment(home, {"TERM": "dumb"}),
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            shown = _read_until(ours, until)
            if signalled is not None:
                process.send_signal(signalled)
            if hang_up:
                os.close(ours)
            else:
                os.write(ours, answer.encode())
                shown += _read_until(ours, "")
            output, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
            if not hang_up:
                os.close(ours)
    return process.returncode, output.decode(), shown


@contextmanager
def answering(answer: str, *, until: str) -> Generator[int]:
    """A terminal for a program's standard input and error; a thread types `answer` once `until` appears."""
    ours, theirs = pty.openpty()
    thread = threading.Thread(target=_answer, args=(ours, until, answer))
    thread.start()
    try:
        yield theirs
    finally:
        os.close(theirs)
        thread.join(SECONDS)
        os.close(ours)


def _answer(terminal: int, until: str, answer: str) -> None:
    if until in _read_until(terminal, until):
        os.write(terminal, answer.encode())
        _read_until(terminal, "")


def _read_until(terminal: int, word: str) -> str:
    """What the terminal shows until `word` is there; to the end without one."""
    shown = b""
    while not (word and word.encode() in shown) and (chunk := _read(terminal)):
        shown += chunk
    return shown.decode(errors="replace")


def _read(terminal: int) -> bytes:
    ready, _, _ = select.select([terminal], [], [], SECONDS)
    assert ready, "the program neither asks nor ends"
    try:
        return os.read(terminal, 65536)
    except OSError:  # how a terminal says that its other side is closed
        return b""
