"""Fetch, cache and refresh an authorization server's public keys (a JWK set, RFC 7517)."""

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
"""How long cached keys stay valid while the key server is down. Bounded, so that a revoked key eventually expires."""

FETCH_INTERVAL_SECONDS = 10.0
FETCH_TIMEOUT_SECONDS = 5.0
"""Limit for a whole fetch, from connecting to the last byte, however slowly the key server sends."""

PATIENCE_SECONDS = 1.0
"""How long to wait for a refresh before verifying a token with an already cached key."""

LARGEST_SET = 1024 * 1024
MOST_KEYS = 200
LONGEST_MEMBER = 4096
"""Maximum length of one key member. A 16,384-bit RSA modulus has 2,731 characters; much larger ones take minutes."""

LEAST_RSA_BITS = 2048

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_ALGORITHMS: dict[tuple[str, str], frozenset[str]] = {
    ("RSA", ""): _RSA,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
"""Algorithms by key type and curve. None are symmetric: a public key must never work as a shared secret."""

ALGORITHMS = frozenset[str]().union(*_ALGORITHMS.values())

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and the algorithms it can verify."""

    key: Any
    algorithms: frozenset[str]


class KeySet:
    """The keys published at a URL.

    Fetches keys on first use, when a token names an unknown key, and when the cached keys are over an hour old, but at
    most every ten seconds. If a fetch fails, the cached keys stay valid until they are a day old.

    Args:
        url: URL of the JWK set.
        transport: a custom transport for tests. None uses the network.
        now: a monotonic clock, in seconds.
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
        """Return the key with this id or, without an id, the only key. None if there is no match."""
        if self._known(kid) is None:
            await self._refresh()
        elif self._age > MAX_AGE_SECONDS and self._fetching is None:
            # One caller briefly waits for a refresh, in case the key was revoked. The others use the cached key.
            with anyio.move_on_after(PATIENCE_SECONDS):
                await self._refresh()
        return self._known(kid)

    async def check(self) -> None:
        """Raise ConfigurationError if there are no keys to verify tokens with."""
        if not self._keys or self._age > MAX_AGE_SECONDS:
            await self._refresh()
        if not self._keys or self._age > LONGEST_USE_SECONDS:
            raise ConfigurationError("There are no keys to verify access tokens with.", hint="Check --auth-jwks-url.")

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
        """Wait for the running fetch, or start one unless the last attempt was too recent."""
        if self._fetching is None:
            if self._now() - self._tried < FETCH_INTERVAL_SECONDS:
                return
            self._tried = self._now()
            # A separate task, so that the fetch continues if the caller that started it disconnects or times out.
            self._fetching = asyncio.create_task(self._update())
        await asyncio.shield(self._fetching)

    async def _update(self) -> None:
        try:
            with anyio.fail_after(FETCH_TIMEOUT_SECONDS):
                keys = _parse(await self._fetch())
            if keys:
                self._keys, self._fetched = keys, self._now()
            else:
                logger.warning("the key server returned no usable key")
        except Exception as error:  # noqa: BLE001 - no key server failure may drop the cached keys
            logger.warning("fetching keys from the key server failed: %s", type(error).__name__)
        finally:
            self._fetching = None

    async def _fetch(self) -> bytes:
        body = bytearray()
        # Uncompressed, because a few compressed bytes could expand to more than fits in memory.
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
    # Key members used here are never numbers. Parsing as int would reject the whole set over one with too many digits.
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
    """Parse a signature key. Returns None if the key has another purpose or is too weak."""
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
    except Exception as error:  # noqa: BLE001 - one bad key must not invalidate the others
        logger.warning("skipped an unusable key from the key server: %s", type(error).__name__)
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        return None
    return VerifyingKey(key, algorithms)


def _may_verify(entry: dict[str, Any]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
