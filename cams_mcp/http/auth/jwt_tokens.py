"""Verify JWT access tokens (RFC 9068): signature, issuer, audience and times."""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, cast

import jwt
from mcp.server.auth.provider import AccessToken

from cams_mcp.http.auth.keys import ALGORITHMS, KeySet
from cams_mcp.redaction import printable, readable

LONGEST_TOKEN = 16 * 1024
LONGEST_NAME = 255
LATEST_TIME = 253_402_300_799
"""End of the year 9999, as a Unix timestamp. A later time in a token is a mistake or an attack."""

EARLY_SECONDS = 10.0
"""Clock skew allowed for `nbf`, because clients use new tokens immediately. Expiry gets no leeway."""

logger = logging.getLogger(__name__)


class JwtVerifier:
    """Verifies access tokens from one authorization server (implements the SDK's `TokenVerifier`).

    Args:
        keys: the authorization server's public keys.
        issuer: required value of `iss`.
        audience: required value of `aud`, or a required member if `aud` is a list.
        now: returns the current Unix time.
    """

    def __init__(self, keys: KeySet, *, issuer: str, audience: str, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._now = now

    async def check(self) -> None:
        """Raise ConfigurationError if there are no keys to verify tokens with."""
        await self._keys.check()

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return the verified token, or None to reject it. Never raises, whatever the token contains."""
        # Don't log the error message; it may contain parts of the token.
        try:
            return self._access_token(token, await self._claims(token))
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            logger.info("rejected an access token: %s", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a bug in cams-mcp or a library must not cause a 500
            frames = "".join(traceback.format_tb(error.__traceback__))
            logger.error("verifying an access token failed with %s\n%s", type(error).__name__, frames)  # noqa: TRY400
        return None

    def _access_token(self, token: str, claims: Mapping[str, Any]) -> AccessToken:
        subject = _name(claims["sub"])
        return AccessToken(
            token=token,
            client_id=_name(claims.get("client_id") or claims.get("azp") or subject),
            scopes=_scopes(claims),
            expires_at=int(claims["exp"]),
            subject=subject,
            claims={"iss": self._issuer},
        )

    async def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > LONGEST_TOKEN:
            raise jwt.DecodeError
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or "crit" in header:
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
            # Times are checked below, against an injectable clock.
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
        if not _is_time(expires) or expires <= now:
            raise jwt.ExpiredSignatureError
        if not _is_time(begins) or begins > now + EARLY_SECONDS:
            raise jwt.ImmatureSignatureError


def _is_time(value: object) -> bool:
    """Whether `value` is a plausible timestamp. Python's JSON parser also accepts NaN and infinities."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return (isinstance(value, int) or math.isfinite(value)) and abs(value) <= LATEST_TIME


def _name(value: object) -> str:
    """Validate a name from a token. Names appear in the audit trail and identify the owner of a session."""
    if not isinstance(value, str) or not value or printable(readable(value), LONGEST_NAME) != value:
        raise jwt.InvalidTokenError
    return value


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    """Read `scope`, a space-separated string (RFC 9068), or `scp`, a string or list that some servers send instead."""
    given = claims.get("scope", claims.get("scp", ""))
    if isinstance(given, str):
        return given.split()
    return [scope for scope in cast("list[Any]", given) if isinstance(scope, str)] if isinstance(given, list) else []
