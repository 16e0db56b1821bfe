"""cams-mcp as a process of its own, spoken to frame by frame."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

PATIENCE_SECONDS = 25
"""A process that hangs is killed after this long: its status is then not 0, and its output ends."""

SHARED_PATIENCE_SECONDS = 600
"""The same of one that serves all tests of a file."""

HANDSHAKE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
"""What initialize takes, up to 2025-11-25."""

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
"""What every request carries as `_meta` from 2026-07-28."""


class Program:
    """A running `cams-mcp` with these arguments. On exit it is killed, if it still runs.

    Args:
        arguments: of the command line.
        python: options of the interpreter.
        env: added to the environment.
        patience: after so many seconds it hangs, and is killed.
    """

    def __init__(
        self,
        *arguments: str,
        python: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *python, "-m", "cams_mcp", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | (env or {}),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._watchdog = threading.Timer(patience, self._process.kill)
        self._fresh: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors)
        self._number = 0
        self._meta: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._watchdog.start()
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._watchdog.cancel()
        self._reader.join()
        self._stdin.close()
        self._stdout.close()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.decode()
            self._errors.append(text)
            self._fresh.put(text)
        self._fresh.put(None)

    def write(self, raw: bytes) -> None:
        """Write a line to standard input as it is."""
        self._stdin.write(raw + b"\n")
        self._stdin.flush()

    def send(self, method: str, params: Mapping[str, Any] | None = None, *, number: int | None = None) -> None:
        """Send a request, or without a number a notification."""
        message = {"jsonrpc": "2.0", "method": method, "params": dict(params or {}) | self._meta}
        self.write(json.dumps(message | ({} if number is None else {"id": number})).encode())

    def start(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Send a request without waiting for its answer; gives its number."""
        self._number += 1
        self.send(method, params, number=self._number)
        return self._number

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and wait for its answer. Other messages in between are dropped."""
        number = self.start(method, params)
        while line := self.line():
            answer = json.loads(line)
            if answer.get("id") == number:
                return answer
        raise AssertionError("no answer\n" + "".join(self._errors))

    def connect(self, mode: str = "legacy") -> None:
        """Speak as a client of this era, and have one answer, so that the server is up."""
        if mode == "legacy":
            assert "result" in self.ask("initialize", HANDSHAKE)
            self.send("notifications/initialized")
        else:
            self._meta = {"_meta": ENVELOPE}
            assert "result" in self.ask("server/discover")

    def line(self) -> bytes:
        """The next line on standard output; empty at its end."""
        return self._stdout.readline()

    def error_line(self, beginning: str) -> str:
        """Wait for a line on standard error that begins so."""
        while (line := self._fresh.get()) is not None:
            if line.startswith(beginning):
                return line.strip()
        raise AssertionError("the process ended\n" + "".join(self._errors))

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end_input(self) -> None:
        self._stdin.close()

    def status(self) -> int:
        """Wait for the end; gives the exit status."""
        status = self._process.wait()
        self._reader.join()
        return status

    def rest(self) -> bytes:
        """What is left on standard output, up to its end."""
        return self._stdout.read()

    @property
    def errors(self) -> str:
        """Standard error so far; all of it after `status`."""
        return "".join(self._errors)
