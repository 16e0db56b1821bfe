"""The public keys of an authorization server (a JWK set, RFC 7517), cached, and fetched again without a restart."""

from __future__ import annotations

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
LARGEST_SET = 1024 * 1024
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
        self._lock = anyio.Lock()
        self._keys: dict[str | None, VerifyingKey] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")

    async def find(self, kid: str | None) -> VerifyingKey | None:
        """The key of this id; without an id the only key there is. None if there is no such key."""
        known = self._known(kid)
        if known is None:
            await self._refresh()
        elif self._age > MAX_AGE_SECONDS and not self._lock.locked():
            # One caller fetches; the others need not wait for it.
            await self._refresh()
        return self._known(kid)

    async def check(self) -> None:
        """Raise ConfigurationError if there are no keys to check tokens with."""
        if not self._keys or self._age > MAX_AGE_SECONDS:
            await self._refresh()
        if not self._keys or self._age > LONGEST_USE_SECONDS:
            raise ConfigurationError("There are no keys to check access tokens with.", hint="Check --auth-jwks-url.")

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
        async with self._lock:
            if self._now() - self._tried < FETCH_INTERVAL_SECONDS:
                return
            self._tried = self._now()
            try:
                keys = _parse(await self._fetch())
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
                logger.warning("the key server gave no keys: %s", type(error).__name__)
                return
            if not keys:
                logger.warning("the key server gave no key that can be used")
                return
            self._keys, self._fetched = keys, self._now()

    async def _fetch(self) -> bytes:
        body = bytearray()
        async with (
            httpx.AsyncClient(transport=self._transport, timeout=FETCH_TIMEOUT_SECONDS) as http,
            http.stream("GET", self._url, headers={"accept": "application/json"}) as response,
        ):
            if not response.is_success:
                raise ValueError(response.status_code)
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > LARGEST_SET:
                    raise ValueError(len(body))
        return bytes(body)


def _parse(body: bytes) -> dict[str | None, VerifyingKey]:
    document = json.loads(body)
    entries = cast("dict[str, Any]", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("keys")  # noqa: TRY004 - one kind for all that is wrong with a set
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
    if not algorithms or not kid_is_text or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    try:
        key = PyJWK(entry, algorithm=min(algorithms)).key
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        return None
    return VerifyingKey(key, algorithms)
