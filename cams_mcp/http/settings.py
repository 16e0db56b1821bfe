"""What an operator can set of the HTTP server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cams_mcp.api.endpoint import authority, is_loopback
from cams_mcp.errors import ConfigurationError
from cams_mcp.http.auth import JwtVerifier, KeySet, TokenFile
from cams_mcp.http.sockets import require_loopback

MCP_PATH = "/mcp"
DEFAULT_MAX_BODY = 4 * 1024 * 1024
"""Bytes. 10,000 users, the most that CAMS takes in a call, are about half of it."""

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_NAME = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\])(:\d{1,5})?"
_HOST = re.compile(_NAME)
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://{_NAME}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The settings of one HTTP server. Defaults are those of the command line.

    Raises:
        ConfigurationError: a value cannot work, values contradict each other, or another machine could call without
            authentication.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str | None = None
    auth_token_file: Path | None = None
    auth_issuer: str | None = None
    auth_audience: str | None = None
    auth_jwks_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body: int = DEFAULT_MAX_BODY
    max_sessions: int = 10_000
    session_idle: float = 1800.0
    workers: int = 1
    legacy_sessions: Literal["auto", "on", "off"] = "auto"
    grace: float = 20.0
    calls_at_once: int = 16
    calls_per_minute: int = 300

    def __post_init__(self) -> None:
        oauth = [self.auth_issuer, self.auth_audience, self.auth_jwks_url]
        if any(oauth) and not all(oauth):
            raise ConfigurationError("--auth-issuer, --auth-audience and --auth-jwks-url go together: give all three.")
        if self.auth_token_file and self.auth_issuer:
            raise ConfigurationError("--auth-token-file and --auth-issuer are two ways to authenticate: give one.")
        if not self.has_auth:
            require_loopback(
                self.host,
                "--transport http",
                hint="Add --auth-token-file or --auth-issuer for other machines, or use --host 127.0.0.1.",
            )
        for name, url in (
            ("--public-url", self.public_url),
            ("--auth-issuer", self.auth_issuer),
            ("--auth-jwks-url", self.auth_jwks_url),
        ):
            if url is not None:
                _check_url(name, url)
        if self.auth_issuer and not self.public_url and not is_loopback(self.host):
            raise ConfigurationError(
                "--auth-issuer needs --public-url here: clients look for the authorization server there.",
                hint=f"Use the URL that clients connect to, like https://mcp.example.com{MCP_PATH}.",
            )
        if self.workers > 1 and self.legacy_sessions == "on":
            raise ConfigurationError(
                "--legacy-sessions on works with one worker only: a session lives in one process.",
                hint="Leave it out, or use --workers 1.",
            )
        _check_all("--allowed-host", self.allowed_hosts, _HOST, "mcp.example.com or mcp.example.com:8443")
        _check_all("--allowed-origin", self.allowed_origins, _ORIGIN, "https://app.example.com")

    @property
    def has_auth(self) -> bool:
        return bool(self.auth_token_file or self.auth_issuer)

    @property
    def hosts(self) -> list[str]:
        """What `Host` may be; ":*" is any port."""
        named = [*_LOOPBACK, authority(self.host), *self.allowed_hosts]
        if self.public_url:
            named.append(urlsplit(self.public_url).netloc.lower())
        return [*named, *(f"{name}:*" for name in named if not re.search(r":\d+$", name))]

    @property
    def origins(self) -> list[str]:
        """What `Origin` may be, if it is there."""
        own = [f"http://{name}" for name in (*_LOOPBACK, authority(self.host))]
        public = urlsplit(self.public_url) if self.public_url else None
        more = [f"{public.scheme}://{public.netloc.lower()}"] if public else []
        return [*own, *(f"{origin}:*" for origin in own), *more, *self.allowed_origins]

    @property
    def is_hidden(self) -> bool:
        """Whether it listens on all addresses and knows no name that other machines could call it by."""
        return self.host.strip("[]") in ("0.0.0.0", "::") and not self.public_url and not self.allowed_hosts  # noqa: S104

    def url(self, port: int) -> str:
        """The URL of the endpoint on this machine."""
        return f"http://{authority(self.host)}:{port}{MCP_PATH}"

    def verifier(self) -> JwtVerifier | TokenFile | None:
        """What checks bearer tokens.

        Raises:
            ConfigurationError: the token file cannot be used.
        """
        if self.auth_token_file:
            return TokenFile(self.auth_token_file)
        if self.auth_issuer and self.auth_audience and self.auth_jwks_url:
            keys = KeySet(self.auth_jwks_url)
            return JwtVerifier(keys, issuer=self.auth_issuer, audience=self.auth_audience)
        return None


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    surplus = parts.query or parts.fragment or "@" in parts.netloc or port == 0 or not url.isprintable() or " " in url
    if not host or surplus or parts.scheme not in ("https", "http"):
        raise ConfigurationError(f"{name} is not a URL.", hint="Use one like https://host/path and nothing more.")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(
            f"{name} asks for plain http to another machine.", hint="Use https, or http for 127.0.0.1 and localhost."
        )


def _check_all(name: str, values: tuple[str, ...], form: re.Pattern[str], example: str) -> None:
    if not all(form.fullmatch(value) for value in values):
        raise ConfigurationError(f"{name} is not of the right form.", hint=f"Use one like {example}, in lower case.")
