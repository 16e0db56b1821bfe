"""Find out which processes that share a state directory are alive.

Each process that writes creates a file there and holds a lock on it. The operating system releases the lock when the
process ends for any reason, so a file that can be locked belongs to a dead process. SQLite does the locking, because
its locks behave the same on every platform, and also between two stores in one process.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import suppress
from pathlib import Path

_PREFIX = "cams-mcp.running-"


class Presence:
    """The lock file of this process and those of others. Not thread-safe: the store uses it within steps.

    Args:
        directory: the state directory; None for an in-memory store, which no other process can see.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._own_lock: tuple[str, sqlite3.Connection] | None = None

    @property
    def name(self) -> str:
        """The name that identifies this process to others. Takes the lock on first use.

        Raises:
            OSError, sqlite3.Error: the directory is not writable.
        """
        if self._directory is None:
            return "memory"
        if self._own_lock is not None and not (self._directory / f"{_PREFIX}{self._own_lock[0]}").exists():
            # The file was deleted, perhaps together with the directory.
            self._own_lock[1].close()
            self._own_lock = None
        if self._own_lock is None:
            self._remove_stale_locks(self._directory)
            self._own_lock = self._create_lock(self._directory)
        return self._own_lock[0]

    def is_alive(self, name: str) -> bool:
        if self._directory is None or (self._own_lock is not None and self._own_lock[0] == name):
            return True
        path = self._directory / f"{_PREFIX}{name}"
        lock = _try_lock(path)
        if lock is None:
            return path.exists()
        path.unlink(missing_ok=True)
        lock.close()
        return False

    def close(self) -> None:
        if self._own_lock is not None and self._directory is not None:
            name, lock = self._own_lock
            self._own_lock = None
            with suppress(OSError):  # Windows cannot delete open files; the next process removes it
                (self._directory / f"{_PREFIX}{name}").unlink(missing_ok=True)
            lock.close()

    def _create_lock(self, directory: Path) -> tuple[str, sqlite3.Connection]:
        while True:
            name = secrets.token_hex(8)
            path = directory / f"{_PREFIX}{name}"
            path.touch(mode=0o600, exist_ok=False)
            lock = _try_lock(path)
            # Another process may have removed the file before it was locked.
            if lock is not None and path.exists():
                return name, lock
            if lock is not None:
                lock.close()

    def _remove_stale_locks(self, directory: Path) -> None:
        for path in directory.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                self.is_alive(path.name.removeprefix(_PREFIX))


def _try_lock(path: Path) -> sqlite3.Connection | None:
    """Lock the file. None if another process holds the lock or the file does not exist."""
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error:
        return None
    try:
        connection.execute("PRAGMA journal_mode = MEMORY")  # avoids a journal file on disk
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        connection.close()
        return None
    return connection
