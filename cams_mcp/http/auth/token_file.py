"""Static bearer tokens from a file, one per line: NAME TOKEN SCOPE [SCOPE]

    # name    token, or its SHA-256                  scopes
    alice     sha256:9f86d081884c7d659a2feaa0c5...   cams:read cams:write
    reports   8cf27e1db0a34f29b5e6d7c8a9f01b23       cams:read

The file is reloaded when it changes. While it is unusable, every token is rejected: a token that was removed must not
stay valid because of a mistake elsewhere in the file.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from mcp.server.auth.provider import AccessToken

from cams_mcp.access import LOCAL_PRINCIPAL, SCOPES
from cams_mcp.errors import ConfigurationError

LEAST_TOKEN_LENGTH = 20
LARGEST_FILE = 1024 * 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""Bearer token syntax, RFC 6750."""
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_TOO_OPEN = stat.S_IRWXO | stat.S_IWGRP

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    digest: bytes
    scopes: tuple[str, ...]


class TokenFile:
    """Verifies bearer tokens against a file (implements the SDK's `TokenVerifier`).

    Raises:
        ConfigurationError: the file is unusable at startup.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: tuple[_Entry, ...] = ()
        self._stamp: tuple[int, ...] | None = None
        self._stamp, self._entries = _read(path)

    async def verify_token(self, token: str) -> AccessToken | None:
        self._refresh()
        # Headers can contain any characters. Text that UTF-8 cannot encode simply matches no token.
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        # Compare every entry, in constant time.
        found = [entry for entry in self._entries if hmac.compare_digest(entry.digest, digest)]
        if not found:
            return None
        (entry,) = found
        return AccessToken(token=token, client_id=entry.name, scopes=list(entry.scopes))

    def _refresh(self) -> None:
        stamp: tuple[int, ...] | None = None
        try:
            stamp = _stamp_of(self._path.stat())
            if stamp == self._stamp:
                return
            self._stamp, self._entries = _read(self._path)
            logger.warning("reloaded the token file: %d tokens", len(self._entries))
        except (OSError, ConfigurationError) as error:
            if self._entries:
                reason = error if isinstance(error, ConfigurationError) else error.strerror
                logger.error("the token file is unusable, rejecting all tokens: %s", reason)  # noqa: TRY400
            self._stamp, self._entries = stamp, ()


def _stamp_of(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: Path) -> tuple[tuple[int, ...], tuple[_Entry, ...]]:
    """Read the file's stamp and entries. It checks and reads the same open file, so a swap in between has no effect."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            _check(found)
            text = file.read(LARGEST_FILE + 1).decode()
    except OSError as error:
        raise _unusable(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _unusable("is not UTF-8 text") from None
    return _stamp_of(found), _parse(text)


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_FILE:
        raise _unusable("is not a regular file of at most 1 MiB")
    if os.name == "posix" and found.st_mode & _TOO_OPEN:
        raise ConfigurationError(
            "The token file (--auth-token-file) is accessible to other users of this machine.",
            hint="Run chmod 600 on it. Its group may have read access; other users may have none.",
        )


def _parse(text: str) -> tuple[_Entry, ...]:
    entries: dict[str, _Entry] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        entry = _entry(number, words)
        if entry.name in entries or any(entry.digest == other.digest for other in entries.values()):
            raise _unusable(f"repeats a name or token in line {number}")
        entries[entry.name] = entry
    if not entries:
        raise _unusable("contains no tokens")
    return tuple(entries.values())


def _entry(number: int, words: list[str]) -> _Entry:
    # Error messages must not quote the file: any word could be a token.
    name, token, scopes = words[0], words[1] if len(words) > 1 else "", words[2:]
    if not _NAME.fullmatch(name) or name == LOCAL_PRINCIPAL:
        raise _unusable(
            f"has an invalid name in line {number} (use letters, digits, . _ - and not the reserved name local)"
        )
    if not scopes or set(scopes) - set(SCOPES):
        raise _unusable(f"has missing or unknown scopes in line {number} (use {' and '.join(SCOPES)})")
    hashed = _DIGEST.fullmatch(token)
    if hashed:
        return _Entry(name, bytes.fromhex(hashed[1]), tuple(scopes))
    if len(token) < LEAST_TOKEN_LENGTH or not _TOKEN.fullmatch(token):
        raise _unusable(
            f"has an invalid token in line {number} (use at least {LEAST_TOKEN_LENGTH} letters, digits or . _ ~ + / -)"
        )
    return _Entry(name, hashlib.sha256(token.encode()).digest(), tuple(scopes))


def _unusable(problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"The token file (--auth-token-file) {problem}.",
        hint="Write one token per line: NAME TOKEN SCOPE [SCOPE]. Generate a token with `openssl rand -hex 32`.",
    )
