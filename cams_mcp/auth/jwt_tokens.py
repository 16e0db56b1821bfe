"""Access tokens that are JWTs (RFC 9068): signature, issuer, audience, times."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import jwt
from mcp.server.auth.provider import AccessToken

from cams_mcp.auth.keys import ALGORITHMS, KeySet
from cams_mcp.redaction import printable

LONGEST_TOKEN = 16 * 1024
LONGEST_SUBJECT = 255
EARLY_SECONDS = 10.0
"""How far the authorization server's clock may be ahead: its tokens are used at once. Expiry has no such allowance."""

logger = logging.getLogger(__name__)


class JwtVerifier:
    """Verifies access tokens of one authorization server (an SDK `TokenVerifier`).

    Args:
        keys: the server's keys.
        issuer: what `iss` must be.
        audience: what `aud` must be or hold.
        now: seconds since 1970, UTC.
    """

    def __init__(self, keys: KeySet, *, issuer: str, audience: str, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._now = now

    async def check(self) -> None:
        """Raise ConfigurationError if no token could be verified, for want of keys."""
        await self._keys.check()

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            claims = await self._claims(token)
            subject = claims["sub"]
            if not subject or printable(subject, LONGEST_SUBJECT) != subject:
                raise jwt.InvalidTokenError
        except (jwt.PyJWTError, ValueError) as error:
            # Not the error's text: it can repeat parts of the token.
            logger.info("an access token was refused: %s", type(error).__name__)
            return None
        client = claims.get("client_id") or claims.get("azp") or subject
        return AccessToken(
            token=token,
            client_id=str(client),
            scopes=_scopes(claims),
            expires_at=int(claims["exp"]),
            subject=subject,
            claims={"iss": self._issuer},
        )

    async def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > LONGEST_TOKEN:
            raise jwt.DecodeError
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS or "crit" in header:
            raise jwt.InvalidAlgorithmError
        key = await self._keys.find(header.get("kid"))
        if key is None:
            raise jwt.InvalidKeyError
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=sorted(key.algorithms),
            audience=self._audience,
            issuer=self._issuer,
            # Times are checked below, by one clock.
            options={
                "require": ["exp", "iss", "aud", "sub"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        self._check_times(claims)
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._now()
        expires, begins = claims["exp"], claims.get("nbf", 0)
        if not _is_number(expires) or expires <= now:
            raise jwt.ExpiredSignatureError
        if not _is_number(begins) or begins > now + EARLY_SECONDS:
            raise jwt.ImmatureSignatureError


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    """`scope` is a text with spaces (RFC 9068); some servers write `scp`, as a text or a list."""
    given = claims.get("scope", claims.get("scp", ""))
    if isinstance(given, str):
        return given.split()
    return [scope for scope in cast("list[Any]", given) if isinstance(scope, str)] if isinstance(given, list) else []
