"""Asking the person at the terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from types import FrameType

import anyio
import click

from cams_mcp import __version__
from cams_mcp.confirmation import Caller, Question, Reply

NOT_CONFIRMED = 3
"""Exit status: nothing was sent yet."""

CALLED_OFF = 130
"""Exit status after Ctrl-C, as shells have it."""

PROMPT = "Send it? [y/N]: "
ANSWERS = {"y": True, "yes": True, "n": False, "no": False, "": False}
LOOK_SECONDS = 0.05
"""Between two looks for typed characters. Nothing blocks on the terminal, so a time-out or a signal ends the wait."""

CLOSED = "\x04"
"""Stands for the end of what can be typed: Ctrl-D, or the terminal was closed."""


def terminal_caller(
    client: str,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    *,
    asks: bool = True,
) -> Caller:
    """The caller behind a command. It can be asked if standard input is a terminal and `asks`.

    Args:
        client: for the audit trail.
        before, after: called before the question and after its answer, to clear the screen for it.
    """

    async def ask(question: Question) -> Reply:
        before()
        click.echo(question.text, err=True)
        yes = await _ask_yes_or_no()
        if yes is None:
            return Reply("cancel")
        after()
        return Reply("accept", {"confirm": True}) if yes else Reply("decline")

    # A question that goes into a file is not seen.
    interactive = asks and sys.stdin.isatty() and sys.stderr.isatty()
    return Caller(client=f"{client} {__version__}", ask=ask if interactive else None, ask_channel="terminal")


async def _ask_yes_or_no() -> bool | None:
    """The answer; None if the person or the system ended the question without one."""
    with _signals_noticed() as stopped:
        while True:
            # What was typed before the question is no answer to it.
            _discard_typed()
            click.echo(PROMPT, nl=False, err=True)
            line = ""
            try:
                line = await _read_line(stopped)
            finally:
                if not line.endswith("\n"):
                    with contextlib.suppress(OSError):  # the terminal may be gone
                        click.echo(err=True)
            if not line.endswith("\n"):
                return None
            answer = ANSWERS.get(line.strip().lower())
            if answer is not None:
                return answer
            click.echo("Please answer y or n.", err=True)


async def _read_line(stopped: threading.Event) -> str:
    """A line with its end; without, if typing ended before one."""
    line = ""
    while not stopped.is_set():
        for char in _typed():
            if char == CLOSED:
                return ""
            line = line[:-1] if char == "\b" else line + char
            if char == "\n":
                return line
        await anyio.sleep(LOOK_SECONDS)
    return ""


@contextlib.contextmanager
def _signals_noticed() -> Generator[threading.Event]:
    """An event that is set when the system asks the process to end, so that the end of the question is recorded."""
    stopped = threading.Event()
    known = [getattr(signal, name) for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        known = []

    def notice(number: int, frame: FrameType | None) -> None:
        stopped.set()

    # A signal that is ignored, as under nohup, stays ignored.
    usual = {each: signal.getsignal(each) for each in known if signal.getsignal(each) != signal.SIG_IGN}
    try:
        for each in usual:
            signal.signal(each, notice)
        yield stopped
    finally:
        for each, handler in usual.items():
            signal.signal(each, handler)


if sys.platform == "win32":
    import msvcrt

    def _discard_typed() -> None:
        while msvcrt.kbhit():
            msvcrt.getwch()

    def _typed() -> str:
        """What was typed since the last look."""
        typed = ""
        while msvcrt.kbhit():
            char = msvcrt.getwche()
            if char == "\x03":
                raise KeyboardInterrupt
            if char == "\r":
                msvcrt.putwch("\n")
            typed += {"\r": "\n", "\x1a": CLOSED}.get(char, char)
        return typed

else:
    import select
    import termios

    def _discard_typed() -> None:
        with contextlib.suppress(termios.error, OSError):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    def _typed() -> str:
        """What was typed since the last look, whole lines in the terminal's usual mode."""
        descriptor = sys.stdin.fileno()
        try:
            if not select.select([descriptor], [], [], 0)[0]:
                return ""
            return os.read(descriptor, 4096).decode(errors="replace") or CLOSED
        except OSError:
            return CLOSED
