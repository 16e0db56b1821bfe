"""The public keys of an authorization server (a JWK set, RFC 7517), cached, and fetched again without a restart."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import anyio
import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from cams_mcp.errors import ConfigurationError

MAX_AGE_SECONDS = 3600.0
LONGEST_USE_SECONDS = 24 * 3600.0
"""With the key server away, keys are used this long: one that its owner withdrew must end some time."""

FETCH_INTERVAL_SECONDS = 10.0
FETCH_TIMEOUT_SECONDS = 5.0
"""For the whole fetch, from the connection to the last byte, however the key server spreads it out."""

PATIENCE_SECONDS = 1.0
"""How long a token with a known key waits for fresh keys before it is checked with the known one."""

LARGEST_SET = 1024 * 1024
MOST_KEYS = 200
LONGEST_MEMBER = 4096
"""Characters of one member of a key. An RSA modulus of 16,384 bits has 2,731; much larger ones take minutes to use."""

LEAST_RSA_BITS = 2048

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_ALGORITHMS: dict[tuple[str, str], frozenset[str]] = {
    ("RSA", ""): _RSA,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
"""By type and curve of a key. Nothing symmetric: a public key must never do as a shared secret."""

ALGORITHMS = frozenset[str]().union(*_ALGORITHMS.values())

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and the algorithms it is for."""

    key: Any
    algorithms: frozenset[str]


class KeySet:
    """The keys behind a URL.

    They are fetched at first use, when a token names a key that is not among them, and when they are older than an
    hour; never more often than every ten seconds. If that fails the keys at hand go on for a day.

    Args:
        url: of the JWK set.
        transport: for tests; None is the network.
        now: seconds that never go back.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._transport = transport
        self._now = now
        self._fetching: asyncio.Task[None] | None = None
        self._keys: dict[str | None, VerifyingKey] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")

    async def find(self, kid: str | None) -> VerifyingKey | None:
        """The key of this id; without an id the only key there is. None if there is no such key."""
        if self._known(kid) is None:
            await self._refresh()
        elif self._age > MAX_AGE_SECONDS and self._fetching is None:
            # One caller gives the key server a moment to withdraw the key; the others go on with it.
            with anyio.move_on_after(PATIENCE_SECONDS):
                await self._refresh()
        return self._known(kid)

    async def check(self) -> None:
        """Raise ConfigurationError if there are no keys to check tokens with."""
        if not self._keys or self._age > MAX_AGE_SECONDS:
            await self._refresh()
        if not self._keys or self._age > LONGEST_USE_SECONDS:
            raise ConfigurationError("There are no keys to verify access tokens.", hint="Check --auth-jwks-url.")

    @property
    def _age(self) -> float:
        return self._now() - self._fetched

    def _known(self, kid: str | None) -> VerifyingKey | None:
        if self._age > LONGEST_USE_SECONDS:
            return None
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        """Wait for the fetch that is under way, or for a new one if the last is long enough ago."""
        if self._fetching is None:
            if self._now() - self._tried < FETCH_INTERVAL_SECONDS:
                return
            self._tried = self._now()
            # A task of its own: it goes on when the caller who began it leaves or runs out of patience.
            self._fetching = asyncio.create_task(self._update())
        await asyncio.shield(self._fetching)

    async def _update(self) -> None:
        try:
            with anyio.fail_after(FETCH_TIMEOUT_SECONDS):
                keys = _parse(await self._fetch())
            if keys:
                self._keys, self._fetched = keys, self._now()
            else:
                logger.warning("the key server gave no key that can be used")
        except Exception as error:  # noqa: BLE001 - whatever a key server says or does, the keys at hand stay
            logger.warning("the key server gave no keys: %s", type(error).__name__)
        finally:
            self._fetching = None

    async def _fetch(self) -> bytes:
        body = bytearray()
        # Uncompressed, because a few bytes could decode to more than this machine has.
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        async with (
            httpx.AsyncClient(transport=self._transport, timeout=FETCH_TIMEOUT_SECONDS, follow_redirects=False) as http,
            http.stream("GET", self._url, headers=headers) as response,
        ):
            if not response.is_success or response.headers.get("content-encoding", "identity") != "identity":
                raise ValueError(response.status_code)
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > LARGEST_SET:
                    raise ValueError(len(body))
        return bytes(body)


def _parse(body: bytes) -> dict[str | None, VerifyingKey]:
    # No member that is used is a number. As an int, one of thousands of digits would cost the whole set.
    document = json.loads(body, parse_int=float)
    entries = cast("dict[str, Any]", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(cast("list[Any]", entries)) > MOST_KEYS:
        raise ValueError("keys")
    keys: dict[str | None, VerifyingKey] = {}
    for entry in cast("list[Any]", entries):
        key = _key(cast("dict[str, Any]", entry)) if isinstance(entry, dict) else None
        if key is not None:
            keys[cast("dict[str, Any]", entry).get("kid")] = key
    return keys


def _key(entry: dict[str, Any]) -> VerifyingKey | None:
    """A key for signatures; None if it is for something else, or too weak."""
    algorithms = _ALGORITHMS.get((str(entry.get("kty")), str(entry.get("crv", ""))), frozenset())
    named = entry.get("alg")
    if named is not None:
        algorithms &= {named} if isinstance(named, str) else set()
    kid_is_text = entry.get("kid") is None or isinstance(entry["kid"], str)
    if not algorithms or not kid_is_text or not _may_verify(entry) or "d" in entry:
        return None
    if any(len(str(entry.get(name, ""))) > LONGEST_MEMBER for name in ("n", "e", "x", "y")):
        return None
    try:
        key = PyJWK(entry, algorithm=min(algorithms)).key
    except (PyJWTError, ValueError):
        return None
    except Exception as error:  # noqa: BLE001 - one odd key must not cost the others
        logger.warning("a key of the key server cannot be used: %s", type(error).__name__)
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        return None
    return VerifyingKey(key, algorithms)


def _may_verify(entry: dict[str, Any]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
