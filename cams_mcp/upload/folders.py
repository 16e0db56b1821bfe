"""Restrict uploads to the folders that the operator allowed.

Paths are opened part by part from the folder's own descriptor, without following links. No link, `..`, device or pipe
can lead elsewhere, even if it is created while the path is being opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from cams_mcp.errors import ConfigurationError, FileRefused

_HAS_DIR_FD = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders that upload files may be in.

    Attributes:
        roots: the resolved paths, without links.
        spellings: the same folders as the operator specified them, in the same order. Links in these are trusted.
    """

    roots: tuple[Path, ...]
    spellings: tuple[Path, ...]

    @classmethod
    def of(cls, paths: Sequence[str | Path]) -> Folders:
        """Resolve the folders.

        Raises:
            ConfigurationError: a folder does not exist or is not accessible.
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
        """Open a regular file for reading, by an absolute path inside one of the folders or a path relative to them.

        Returns:
            The file's absolute path, and the open file.

        Raises:
            FileRefused: the file is outside the folders, missing, or not a regular file.
        """
        parts = PurePath(path).parts
        if not parts or ".." in parts or "\0" in path:
            raise FileRefused("the path is empty or contains '..'", hint=self._hint())
        problem = "the upload folders contain no such file"
        for root, spelling in zip(self.roots, self.spellings, strict=True):
            inner = PurePath(path)
            if inner.is_absolute():
                start = next((start for start in (root, spelling) if inner.is_relative_to(start)), None)
                if start is None:
                    problem = "the path is outside the upload folders"
                    continue
                inner = inner.relative_to(start)
            try:
                return root / inner, _open_inside(root, inner.parts)
            except (FileNotFoundError, UnicodeError):  # the file system does not support this name
                continue
            except OSError as error:
                problem = (
                    f"the file cannot be opened ({error.strerror or 'not a regular file'}; links are not followed)"
                )
        raise FileRefused(problem, hint=self._hint())

    def _hint(self) -> str:
        return f"Use the path of a file in {', '.join(map(str, self.roots))}, relative to that folder."


def open_anywhere(path: Path) -> BinaryIO:
    """Open a regular file at any path, for the person at the terminal.

    Raises:
        FileRefused: the file is missing or not a regular file.
    """
    try:
        return _regular_file(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)))
    except OSError as error:
        raise FileRefused(f"the file cannot be opened ({error.strerror or 'not a regular file'})") from None


def _open_inside(root: Path, parts: tuple[str, ...]) -> BinaryIO:
    # Non-blocking, because opening a pipe would wait for its other end.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not _HAS_DIR_FD:
        resolved = root.joinpath(*parts).resolve(strict=True)
        if not resolved.is_relative_to(root) or resolved != root.joinpath(*parts):
            raise PermissionError(1, "the path contains a link")
        return _regular_file(os.open(resolved, flags))
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        return _regular_file(os.open(parts[-1] if parts else ".", flags | os.O_NOFOLLOW, dir_fd=here))
    finally:
        os.close(here)


def _regular_file(descriptor: int) -> BinaryIO:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file")
    return os.fdopen(descriptor, "rb")
