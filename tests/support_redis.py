"""A Redis of the test's own, on loopback, with its data in a temporary directory."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis

REDIS = shutil.which("redis-server")
MISSING = "redis-server is not installed (Debian: redis-server)"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class RedisServer:
    """Started on entry; it can be stopped and started again, and keeps its data.

    Args:
        directory: where the data are.
        options: more of the command line.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [
            *(str(REDIS), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory)),
            *("--save", "", "--appendonly", "yes", "--daemonize", "no", *options),
        ]
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        said = ""
        while "Ready to accept connections" not in said:
            line = process.stdout.readline()
            assert line, f"redis-server ended early: {said}"
            said += line
        self._process, self._reader = process, threading.Thread(target=process.stdout.read)
        self._reader.start()

    def stop(self) -> None:
        """Stop it, and wait until it has."""
        if self._process is None or self._reader is None:
            return
        self._process.terminate()
        self._process.wait(30)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = self._reader = None

    def connect(self) -> Redis:
        return Redis.from_url(self.url, decode_responses=True)

    def forget(self) -> None:
        """Delete everything."""
        with self.connect() as client:
            client.flushall()

    def content(self) -> str:
        """All that is kept, keys and values."""
        with self.connect() as client:
            read = {
                "string": client.get,
                "hash": client.hgetall,
                "set": client.smembers,
                "zset": lambda key: client.zrange(key, 0, -1),
                "stream": client.xrange,
            }
            return "\n".join(f"{key} {read[client.type(key)](key)}" for key in sorted(client.scan_iter()))
