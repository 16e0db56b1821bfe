"""What one run of the approval page accepts: addresses that work once, sessions, and tokens of its forms."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

ARM_SECONDS = 1.0
"""A button acts this long after its question was shown, so that nobody clicks on what just appeared."""

RANDOM_BYTES = 16

_MOST_USED = 64
_MOST_SESSIONS = 16
"""A person who closes the page and needs it again gets a new session. The oldest one ends."""

Verdict = Literal["good", "early", "stale"]


class Keys:
    """The secrets of one run of the page. Nothing of them outlives it.

    Attributes:
        segment: the path of the page. Random, so that no other server on 127.0.0.1 is sent the cookie, or sets it.
        cookie: the name of the cookie, random for the same reason: cookies do not know ports.

    Args:
        now: a monotonic clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.segment = secrets.token_urlsafe(RANDOM_BYTES)
        self.cookie = f"cams-mcp-{secrets.token_hex(8)}"
        self._now = now
        self._key = secrets.token_bytes(32)
        self._fresh: str | None = None
        self._used: deque[str] = deque(maxlen=_MOST_USED)
        self._sessions: deque[str] = deque(maxlen=_MOST_SESSIONS)

    @property
    def has_session(self) -> bool:
        """Whether anybody ever opened the page."""
        return bool(self._sessions)

    @property
    def has_fresh_address(self) -> bool:
        return self._fresh is not None

    def new_address(self) -> str:
        """A path that opens the page once. The one before it stops working."""
        self.withdraw()
        path = secrets.token_urlsafe(RANDOM_BYTES)
        self._fresh = _hash(path)
        return path

    def withdraw(self) -> None:
        """End an address that nobody used."""
        if self._fresh is not None:
            self._used.append(self._fresh)
            self._fresh = None

    def standing(self, path: str) -> Literal["fresh", "used"] | None:
        # Comparing hashes, so that the time it takes tells nothing.
        hashed = _hash(path)
        if hashed == self._fresh:
            return "fresh"
        return "used" if hashed in self._used else None

    def enter(self) -> str:
        """Exchange the fresh address for a session, and return the value of its cookie."""
        assert self._fresh is not None
        self.withdraw()
        cookie = secrets.token_urlsafe(2 * RANDOM_BYTES)
        self._sessions.append(_hash(cookie))
        return cookie

    def session(self, cookies: str) -> str | None:
        """The session of a Cookie header."""
        for each in cookies.split(";"):
            name, _, value = each.strip().partition("=")
            if name == self.cookie and (session := _hash(value)) in self._sessions:
                return session
        return None

    def token(self, session: str, approval_id: str) -> str:
        """A form token for one write, shown now in this session."""
        moment = f"{self._now():.3f}"
        return f"{moment}.{self._mac(session, approval_id, moment)}"

    def check(self, session: str, approval_id: str, token: str) -> Verdict:
        """Whether the token was made for this write and session, and long enough ago."""
        moment, _, mac = token.rpartition(".")
        expected = self._mac(session, approval_id, moment)
        if not hmac.compare_digest(mac.encode(errors="replace"), expected.encode()):
            return "stale"
        return "good" if self._now() - float(moment) >= ARM_SECONDS else "early"

    def _mac(self, session: str, approval_id: str, moment: str) -> str:
        parts = f"{session}\n{moment}\n{approval_id}"
        return hmac.digest(self._key, parts.encode(errors="replace"), "sha256").hex()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
