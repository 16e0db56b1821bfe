"""People as Meta matches them, and digests of lists of them that do not depend on order or on how a list came."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

HASH_BYTES = 16


def person_hash(email: str, phone: str) -> bytes:
    """A hash of one normalised person: e-mail trimmed and in lower case, phone as digits, "" for what is missing."""
    return hashlib.sha256(f"{email}\0{phone}".encode()).digest()[:HASH_BYTES]


def list_digest(hashes: Iterable[bytes]) -> int:
    """A digest of a list without repetitions: the sum of its hashes, so it can be kept up one by one and in any order.

    It tells equal lists, not forged ones; the store salts it before it is kept.
    """
    return sum(int.from_bytes(each, "little") for each in hashes) % (1 << 8 * HASH_BYTES)
