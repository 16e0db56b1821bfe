"""The program as a process: started with an environment of its own, on a terminal where that matters."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

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


ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the controlling terminal, so that Ctrl-C typed there is a signal, and becomes the program."""


def run_on_terminal(home: Path, *arguments: str, until: str, answer: str) -> tuple[int, str, str]:
    """Run the program with a terminal as standard input and error; type `answer` once `until` appears.

    Returns:
        The exit status, standard output, and what the terminal showed.
    """
    ours, theirs = pty.openpty()
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
            shown = _talk(ours, until, answer)
            output, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
            os.close(ours)
    return process.returncode, output.decode(), shown


@contextmanager
def answering(answer: str, *, until: str) -> Generator[int]:
    """A terminal for a program's standard input and error; a thread types `answer` once `until` appears."""
    ours, theirs = pty.openpty()
    thread = threading.Thread(target=_talk, args=(ours, until, answer))
    thread.start()
    try:
        yield theirs
    finally:
        os.close(theirs)
        thread.join(SECONDS)
        os.close(ours)


def _talk(terminal: int, until: str, answer: str) -> str:
    shown = b""
    typed = False
    while chunk := _read(terminal):
        shown += chunk
        if not typed and until.encode() in shown:
            os.write(terminal, answer.encode())
            typed = True
    return shown.decode()


def _read(terminal: int) -> bytes:
    ready, _, _ = select.select([terminal], [], [], SECONDS)
    assert ready, "the program neither asks nor ends"
    try:
        return os.read(terminal, 65536)
    except OSError:  # how a terminal says that its other side is closed
        return b""
