"""Prompt for confirmation on the terminal."""

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
from cams_mcp.approval.lazy_page import local_person
from cams_mcp.confirmation import Caller, Question, Reply

NOT_CONFIRMED = 3
"""Exit status when a write was not confirmed or the guard blocked it. Nothing was sent."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, following shell convention."""

ANSWERS = {"y": True, "yes": True, "n": False, "no": False}
POLL_SECONDS = 0.05
"""Polling interval for input. Nothing blocks on the terminal, so timeouts and signals can interrupt the prompt."""

CLOSED = "\x04"
"""Represents end of input: Ctrl-D, or a closed terminal."""


def terminal_caller(
    client: str,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    *,
    asks: bool = True,
) -> Caller:
    """Return the caller for a command. It can prompt if `asks` is set and standard input and error are terminals.

    Args:
        client: client name for the audit trail.
        before, after: called before the prompt and after its answer, for example to pause a progress bar.
    """

    async def ask(question: Question) -> Reply:
        before()
        click.echo(question.text, err=True)
        mark = "?" if question.title.isascii() else "？"
        yes = await ask_yes_or_no(f"{question.title}{mark} [y/N]: ")
        if yes is None:
            return Reply("cancel")
        after()
        return Reply("accept", {"confirm": True}) if yes else Reply("decline")

    interactive = asks and can_ask()
    return Caller(
        client=f"{client} {__version__}",
        ask=ask if interactive else None,
        ask_channel="terminal",
        person=local_person(),
    )


def can_ask() -> bool:
    """Whether a person can answer here. With standard error redirected, nobody would see the prompt."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def ask_yes_or_no(prompt: str, *, enter: bool | None = False) -> bool | None:
    """Prompt until the answer is valid. Returns None if the user or the system ends the prompt without an answer.

    Args:
        enter: what Enter alone means.
    """
    with _termination_signals() as stopped:
        while True:
            # Input typed before the prompt does not count as an answer.
            _discard_typed()
            click.echo(prompt, nl=False, err=True)
            line = ""
            try:
                line = await _read_line(stopped)
            finally:
                if not line.endswith("\n"):
                    with contextlib.suppress(OSError):  # the terminal may be gone
                        click.echo(err=True)
            if not line.endswith("\n"):
                return None
            word = line.strip().lower()
            if not word:
                return enter
            if word in ANSWERS:
                return ANSWERS[word]
            click.echo("Please answer y or n.", err=True)


async def _read_line(stopped: threading.Event) -> str:
    """Read a line, including its newline. Returns an empty string if input ends first."""
    line = ""
    while not stopped.is_set():
        for char in _read_typed():
            if char == CLOSED:
                return ""
            line = line[:-1] if char == "\b" else line + char
            if char == "\n":
                return line
        await anyio.sleep(POLL_SECONDS)
    return ""


@contextlib.contextmanager
def _termination_signals() -> Generator[threading.Event]:
    """Yield an event that is set on SIGHUP or SIGTERM, so that an interrupted prompt is still recorded."""
    stopped = threading.Event()
    known = [getattr(signal, name) for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        known = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        stopped.set()

    # Keep ignored signals ignored, as under nohup.
    usual = {each: signal.getsignal(each) for each in known if signal.getsignal(each) != signal.SIG_IGN}
    try:
        for each in usual:
            signal.signal(each, on_signal)
        yield stopped
    finally:
        for each, handler in usual.items():
            signal.signal(each, handler)


if sys.platform == "win32":
    import msvcrt

    def _discard_typed() -> None:
        while msvcrt.kbhit():
            msvcrt.getwch()

    def _read_typed() -> str:
        """Return the characters typed since the last poll."""
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

    def _read_typed() -> str:
        """Return the input typed since the last poll. In the terminal's default mode these are whole lines."""
        descriptor = sys.stdin.fileno()
        try:
            if not select.select([descriptor], [], [], 0)[0]:
                return ""
            return os.read(descriptor, 4096).decode(errors="replace") or CLOSED
        except OSError:
            return CLOSED
