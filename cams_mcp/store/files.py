"""The file of the SQLite store: only its owner can read or change it, and it can be recognised."""

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

# Older versions and other programs leave -wal and -shm; SQLite reads them when it opens the file.
_SUFFIXES = ("", "-journal", "-wal", "-shm")


def check_directory(directory: Path) -> None:
    """Raise StoreError if others can write to a directory that exists.

    They could replace the file, or plant a journal that SQLite would play back.
    """
    found = directory.stat()
    if _owner_of(found) not in (None, _own_id(), 0):
        raise cannot_be_kept("another user owns the state directory", "Run cams-mcp as that user,")
    if _own_id() is not None and found.st_mode & OTHERS_WRITE:
        raise cannot_be_kept(
            "other users can write to the state directory",
            "Run chmod go-w on the directory, name a new directory inside it,",
        )


def make_private_file(directory: Path) -> Path:
    """Create the directory and the file if they are missing, and make sure that nobody else can use them.

    Raises:
        StoreError: somebody else can change them, and that cannot be cured from here.
        OSError: they cannot be created or read.
    """
    # Follows a link: the operator chooses where the directory is.
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_directory(directory)
    path = directory / FILE_NAME
    _create(path)
    for suffix in _SUFFIXES:
        _make_private(directory / (FILE_NAME + suffix))
    return path


def identity(directory: Path) -> tuple[int, int] | None:
    """Which file is there now; None if there is none or none can be."""
    try:
        found = (directory / FILE_NAME).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def cannot_be_kept(problem: object, hint: str) -> StoreError:
    """The error for a record that cannot be opened, read, or written."""
    return StoreError(
        f"The record of approvals and writes cannot be kept ({problem}); no write goes out without it.",
        hint=f"{hint} or choose another state directory with --state-dir. Reads are not affected.",
    )


def _create(path: Path) -> None:
    """Make the file before SQLite does, so that nobody else can ever read it; its side files get the same mode.

    Never opens one that exists: closing it again would drop the locks that SQLite holds on it in this process.
    """
    with _CREATING, suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _make_private(path: Path) -> None:
    # It may belong to a step of another process, and disappear at any time.
    with suppress(FileNotFoundError):
        found = path.lstat()
        _check_file(path.name, found)
        if _own_id() is not None and found.st_mode & OTHERS:
            path.chmod(0o600)
            if path.lstat().st_mode & OTHERS:  # some file systems ignore modes
                raise cannot_be_kept(f"other users can read {path.name}", "Use a file system with POSIX modes,")


def _check_file(name: str, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise cannot_be_kept(f"{name} is a symbolic link", "Put the file itself in the state directory,")
    if not stat.S_ISREG(found.st_mode):
        raise cannot_be_kept(f"{name} is not a regular file", "Remove it from the state directory,")
    if found.st_nlink > 1:
        # SQLite names its journal after the file: under two names, a crash would damage it.
        raise cannot_be_kept(f"{name} is a hard link: it has another name", "Remove the other name,")
    if _owner_of(found) not in (None, _own_id()):
        raise cannot_be_kept(f"another user owns {name}", "Run cams-mcp as that user,")


def _own_id() -> int | None:
    """The user's id; None where files have no POSIX owner and mode."""
    ask: Any = getattr(os, "geteuid", None)
    return ask() if ask is not None else None


def _owner_of(found: os.stat_result) -> int | None:
    return None if _own_id() is None else found.st_uid
