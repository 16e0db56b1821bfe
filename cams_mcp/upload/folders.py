"""The folders an operator opened for uploads, and nothing beside them.

A path is walked part by part from the folder's own descriptor, without following links, so that no link, `..`, device
or pipe, not even one put there in between, leads elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from cams_mcp.errors import ConfigurationError, FileRefused

_WALKS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")


@dataclass(frozen=True, slots=True)
class Folders:
    """Where upload files may be.

    Attributes:
        roots: without links.
        spellings: the same folders as the operator named them, in the same order; their links are the operator's.
    """

    roots: tuple[Path, ...]
    spellings: tuple[Path, ...]

    @classmethod
    def of(cls, paths: Sequence[str | Path]) -> Folders:
        """These folders.

        Raises:
            ConfigurationError: a folder does not exist.
        """
        try:
            roots = tuple(Path(path).resolve(strict=True) for path in paths)
            return cls(roots, tuple(Path(path).absolute() for path in paths))
        except OSError as error:
            raise ConfigurationError(
                f"--upload-dir (CAMS_MCP_UPLOAD_DIR) names a folder that cannot be opened: {error.strerror}.",
                hint="Use an existing folder.",
            ) from None

    def open(self, path: str) -> tuple[Path, BinaryIO]:
        """Open a plain file for reading: a path below one of the folders, or one relative to them.

        Returns:
            The file's absolute path, and the open file.

        Raises:
            FileRefused: outside of the folders, missing, or not a plain file.
        """
        parts = PurePath(path).parts
        if not parts or ".." in parts or "\0" in path:
            raise FileRefused("the path is empty or has '..' in it", hint=self._hint())
        problem = "there is no such file in the upload folders"
        for root, spelling in zip(self.roots, self.spellings, strict=True):
            inner = PurePath(path)
            if inner.is_absolute():
                start = next((start for start in (root, spelling) if inner.is_relative_to(start)), None)
                if start is None:
                    problem = "the path is outside of the upload folders"
                    continue
                inner = inner.relative_to(start)
            try:
                return root / inner, _open_plain(root, inner.parts)
            except (FileNotFoundError, UnicodeError):  # a name that the file system cannot have
                continue
            except OSError as error:
                problem = f"it cannot be opened ({error.strerror or 'not a plain file'}; links are not followed)"
        raise FileRefused(problem, hint=self._hint())

    def _hint(self) -> str:
        return f"Name a file below {', '.join(map(str, self.roots))}, by its path from there."


def open_anywhere(path: Path) -> BinaryIO:
    """Open a plain file that the person at the terminal named.

    Raises:
        FileRefused: missing, or not a plain file.
    """
    try:
        return _plain(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)))
    except OSError as error:
        raise FileRefused(f"it cannot be opened ({error.strerror or 'not a plain file'})") from None


def _open_plain(root: Path, parts: tuple[str, ...]) -> BinaryIO:
    # Not blocking: opening a pipe would wait for its other end.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not _WALKS:
        resolved = root.joinpath(*parts).resolve(strict=True)
        if not resolved.is_relative_to(root) or resolved != root.joinpath(*parts):
            raise PermissionError(1, "a link")
        return _plain(os.open(resolved, flags))
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        return _plain(os.open(parts[-1] if parts else ".", flags | os.O_NOFOLLOW, dir_fd=here))
    finally:
        os.close(here)


def _plain(descriptor: int) -> BinaryIO:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a plain file")
    return os.fdopen(descriptor, "rb")
