"""Create and check the SQLite store's file: only its owner can read or change it, and a replaced file is noticed."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from cams_mcp.errors import StoreError

FILE_NAME = "cams-mcp.sqlite3"

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS = stat.S_IRWXG | stat.S_IRWXO

_CREATING = threading.Lock()

# Older versions and other programs may leave -wal and -shm files, which SQLite reads when it opens the database.
_SUFFIXES = ("", "-journal", "-wal", "-shm")


def check_directory(directory: Path) -> None:
    """Raise StoreError if other users can write to an existing directory.

    They could replace the file, or plant a journal that SQLite would replay.
    """
    found = directory.stat()
    if _owner_of(found) not in (None, _own_id(), 0):
        raise record_unavailable("another user owns the state directory", "Run cams-mcp as that user,")
    if _own_id() is not None and found.st_mode & OTHERS_WRITE:
        raise record_unavailable(
            "other users can write to the state directory",
            "Run chmod go-w on the directory, name a new directory inside it,",
        )


def make_private_file(directory: Path) -> Path:
    """Create the directory and the file if they are missing, and ensure that other users have no access to them.

    Raises:
        StoreError: other users have access, and cams-mcp cannot revoke it.
        OSError: the directory or the file cannot be created or read.
    """
    # Follow a symbolic link here: the operator chooses where the directory is.
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_directory(directory)
    path = directory / FILE_NAME
    _create(path)
    for suffix in _SUFFIXES:
        _make_private(directory / (FILE_NAME + suffix))
    return path


def identity(directory: Path) -> tuple[int, int] | None:
    """The device and inode of the file at this path now. None if it does not exist."""
    try:
        found = (directory / FILE_NAME).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def record_unavailable(problem: object, hint: str) -> StoreError:
    """The error for a record that cannot be opened, read or written."""
    return StoreError(
        f"The record of approvals and writes is unavailable ({problem}). The server sends no writes without it.",
        hint=f"{hint} or choose another state directory with --state-dir. Reads still work.",
    )


def _create(path: Path) -> None:
    """Create the file before SQLite does, so that other users can never read it. Its side files get the same mode.

    This never opens an existing file, because closing it would drop the locks that SQLite holds on it in this process.
    """
    with _CREATING, suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _make_private(path: Path) -> None:
    # The file may belong to a step of another process and disappear at any time.
    with suppress(FileNotFoundError):
        found = path.lstat()
        _check_file(path.name, found)
        if _own_id() is not None and found.st_mode & OTHERS:
            path.chmod(0o600)
            if path.lstat().st_mode & OTHERS:  # some file systems ignore chmod
                raise record_unavailable(f"other users can read {path.name}", "Use a file system with POSIX modes,")


def _check_file(name: str, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise record_unavailable(f"{name} is a symbolic link", "Put the file itself in the state directory,")
    if not stat.S_ISREG(found.st_mode):
        raise record_unavailable(f"{name} is not a regular file", "Remove it from the state directory,")
    if found.st_nlink > 1:
        # SQLite names its journal after the file. With two names, it could miss the journal and corrupt the file.
        raise record_unavailable(f"{name} has more than one hard link", "Remove the other links,")
    if _owner_of(found) not in (None, _own_id()):
        raise record_unavailable(f"another user owns {name}", "Run cams-mcp as that user,")


def _own_id() -> int | None:
    """The effective user id; None on systems without POSIX ownership."""
    ask: Any = getattr(os, "geteuid", None)
    return ask() if ask is not None else None


def _owner_of(found: os.stat_result) -> int | None:
    return None if _own_id() is None else found.st_uid
