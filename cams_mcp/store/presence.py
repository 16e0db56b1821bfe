"""Which processes that share a state directory are alive.

Each process that writes holds a lock on a file of its own there. The system releases the lock when the process ends,
however it ends, so a file that can be locked belongs to a process that is gone. SQLite does the locking, because it
does so in the same way on every platform, and also between two stores in one process.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import suppress
from pathlib import Path

_PREFIX = "cams-mcp.running-"


class Presence:
    """Not safe for several threads; the store uses it within its steps.

    Args:
        directory: the state directory; None for a store in memory, which ends with its process.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._held: tuple[str, sqlite3.Connection] | None = None

    @property
    def name(self) -> str:
        """The name that other processes know this one by. Takes the lock at first use.

        Raises:
            OSError, sqlite3.Error: the directory cannot be written to.
        """
        if self._directory is None:
            return "memory"
        if self._held is None:
            self._forget_ended(self._directory)
            self._held = self._hold(self._directory)
        return self._held[0]

    def is_alive(self, name: str) -> bool:
        if self._directory is None or (self._held is not None and self._held[0] == name):
            return True
        path = self._directory / f"{_PREFIX}{name}"
        lock = _lock(path)
        if lock is None:
            return path.exists()
        path.unlink(missing_ok=True)
        lock.close()
        return False

    def close(self) -> None:
        if self._held is not None and self._directory is not None:
            name, lock = self._held
            self._held = None
            with suppress(OSError):  # Windows does not delete open files; the next process will
                (self._directory / f"{_PREFIX}{name}").unlink(missing_ok=True)
            lock.close()

    def _hold(self, directory: Path) -> tuple[str, sqlite3.Connection]:
        while True:
            name = secrets.token_hex(8)
            path = directory / f"{_PREFIX}{name}"
            path.touch(mode=0o600, exist_ok=False)
            lock = _lock(path)
            # Another process may have found the file before it was locked, and removed it.
            if lock is not None and path.exists():
                return name, lock
            if lock is not None:
                lock.close()

    def _forget_ended(self, directory: Path) -> None:
        for path in directory.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                self.is_alive(path.name.removeprefix(_PREFIX))


def _lock(path: Path) -> sqlite3.Connection | None:
    """The file locked, or None if another process holds the lock or there is no such file."""
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error:
        return None
    try:
        connection.execute("PRAGMA journal_mode = MEMORY")  # no second file
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        connection.close()
        return None
    return connection
