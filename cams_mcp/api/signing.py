"""Signature V3 (ACS3-HMAC-SHA256): three pure functions, and an `httpx.Auth` that applies them.

Source: "V3 request structure and signature" in the Alibaba Cloud OpenAPI documentation. The tests include its example.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from urllib.parse import quote

import httpx

from cams_mcp.api.credentials import AccessKey

ALGORITHM = "ACS3-HMAC-SHA256"
DATE_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def encode(text: str) -> str:
    """Percent-encode per RFC 3986: everything except letters, digits and `-_.~` (a space becomes `%20`, not `+`)."""
    return quote(text, safe="~")


class Encoded(str):
    """A value that is already percent-encoded the way `encode` does it."""

    __slots__ = ()


def encode_form(parameters: Mapping[str, str]) -> str:
    """Encode parameters as sorted `name=value` pairs, for a query or a form body."""
    return "&".join(
        f"{encode(name)}={value if isinstance(value, Encoded) else encode(value)}"
        for name, value in sorted(parameters.items())
    )


def canonical_request(
    method: str, path: str, query: str, headers: Mapping[str, str], signed_names: list[str], body_sha256: str
) -> str:
    """Step 1: the canonical request. Expects lowercase header names, an encoded and sorted query, and sorted names."""
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in signed_names)
    return "\n".join((method, path, query, lines, ";".join(signed_names), body_sha256))


def string_to_sign(canonical: str) -> str:
    """Step 2: the string to sign."""
    return f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"


def signature(secret: str, to_sign: str) -> str:
    """Step 3: the signature in hexadecimal."""
    return hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()


def signed_header_names(names: list[str]) -> list[str]:
    """The headers to sign: host, content-type and every `x-acs-*`. Not user-agent, because proxies rewrite it."""
    return sorted(name for name in names if name in ("host", "content-type") or name.startswith("x-acs-"))


def authorization(key: AccessKey, method: str, path: str, query: str, headers: Mapping[str, str]) -> str:
    """The `Authorization` header. `headers` holds exactly the headers to sign, by lowercase name."""
    names = sorted(headers)
    canonical = canonical_request(method, path, query, headers, names, headers["x-acs-content-sha256"])
    signed = signature(key.secret, string_to_sign(canonical))
    return f"{ALGORITHM} Credential={key.id},SignedHeaders={';'.join(names)},Signature={signed}"


class ACS3Auth(httpx.Auth):
    """Sign each request with a new date and nonce.

    Args:
        get_key: returns the access key; called for every attempt so that rotated keys are picked up.
        now: the current time, UTC.
        nonce: returns a unique string for every attempt.
    """

    requires_request_body = True

    def __init__(
        self,
        get_key: Callable[[], Awaitable[AccessKey]],
        *,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._get_key = get_key
        self._now = now
        self._nonce = nonce

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        key = await self._get_key()
        body = await request.aread()
        headers = request.headers
        headers["x-acs-date"] = self._now().strftime(DATE_FORMAT)
        headers["x-acs-signature-nonce"] = self._nonce()
        headers["x-acs-content-sha256"] = hashlib.sha256(body).hexdigest()
        if key.security_token is not None:
            headers["x-acs-accesskey-id"] = key.id
            headers["x-acs-security-token"] = key.security_token
        lowered = {name.lower(): value for name, value in headers.items()}
        to_sign = {name: lowered[name] for name in signed_header_names(list(lowered))}
        headers["authorization"] = authorization(
            key, request.method, request.url.path, request.url.query.decode("ascii"), to_sign
        )
        yield request
