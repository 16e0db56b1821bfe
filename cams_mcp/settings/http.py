"""The options of an HTTP server."""

# No `from __future__ import annotations` here: options are made from the real types of the fields.

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cams_mcp.errors import ConfigurationError
from cams_mcp.hosts import is_loopback, require_loopback
from cams_mcp.settings.options import http

MCP_PATH = "/mcp"

_NAME = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\])(:\d{1,5})?"
_HOST = re.compile(_NAME)
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://{_NAME}")


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    """The settings of one HTTP server.

    Raises:
        ConfigurationError: a value has the wrong form, values contradict each other, or another machine could call
            without authentication.
    """

    host: str = http("127.0.0.1", "Address to listen on. Any address but loopback requires authentication.")
    port: int = http(8000, "Port to listen on. 0 picks a free port.", least=0, most=65535)
    public_url: str | None = http(
        None, f"URL that clients connect to through a proxy, for example https://mcp.example.com{MCP_PATH}."
    )
    auth_token_file: Path | None = http(
        None,
        "File with static bearer tokens, one per line: NAME TOKEN SCOPE [SCOPE]. Scopes are cams:read and cams:write.",
        path="file",
    )
    auth_issuer: str | None = http(None, "OAuth authorization server whose access tokens (JWT) are accepted.")
    auth_audience: str | None = http(None, "Audience that access tokens must have.")
    auth_jwks_url: str | None = http(None, "URL of the authorization server's public keys (JWKS).")
    allowed_hosts: tuple[str, ...] = http(
        (), "Host name to answer requests for, besides loopback, --host and --public-url.", metavar="HOST[:PORT]"
    )
    allowed_origins: tuple[str, ...] = http(
        (), "Origin whose web pages may call the server, for example https://app.example.com.", metavar="ORIGIN"
    )
    # 10,000 people, the most that CAMS accepts in a call, take about half of the default.
    max_body: int = http(4 * 1024 * 1024, "Maximum size of a request, in bytes.", least=1024, most=1024**3)
    max_sessions: int = http(10_000, "Maximum number of open sessions.", least=1, most=1_000_000)
    session_idle: float = http(1800, "How long an idle session stays open, in seconds.", least=1, most=86_400)
    workers: int = http(
        1,
        "Number of processes that share the port, and one state directory or store. At most --cams-at-once, which is "
        "divided among them.",
        least=1,
        most=64,
    )
    legacy_sessions: Literal["auto", "on", "off"] = http(
        "auto",
        "Whether clients that speak 2025-11-25 or earlier get a session, which lives in one process. auto: with one "
        "worker and the sqlite store. Without a session, such clients get neither questions nor cards.",
    )
    grace: float = http(
        20, "How long running calls may take to finish when the server shuts down, in seconds.", least=0, most=3600
    )
    calls_at_once: int = http(16, "Maximum concurrent calls of one authenticated caller.", least=1, most=10_000)
    calls_per_minute: int = http(300, "Maximum calls per minute of one authenticated caller.", least=1, most=1_000_000)

    def __post_init__(self) -> None:
        oauth = [self.auth_issuer, self.auth_audience, self.auth_jwks_url]
        if any(oauth) and not all(oauth):
            raise ConfigurationError("--auth-issuer, --auth-audience and --auth-jwks-url must be set together.")
        if self.auth_token_file and self.auth_issuer:
            raise ConfigurationError(
                "--auth-token-file and --auth-issuer exclude each other.", hint="Set only one of them."
            )
        if not self.has_auth:
            require_loopback(
                self.host,
                "--transport http",
                hint="Add --auth-token-file or --auth-issuer for other machines, or use --host 127.0.0.1.",
            )
        _check_url("--public-url", self.public_url)
        _check_url("--auth-issuer", self.auth_issuer)
        _check_url("--auth-jwks-url", self.auth_jwks_url)
        if self.auth_issuer and not self.public_url and not is_loopback(self.host):
            raise ConfigurationError(
                "--auth-issuer requires --public-url unless --host is loopback: clients look for the authorization "
                "server there.",
                hint=f"Use the URL that clients connect to, for example https://mcp.example.com{MCP_PATH}.",
            )
        if self.workers > 1 and self.legacy_sessions == "on":
            raise ConfigurationError(
                "--legacy-sessions on requires a single worker: a session lives in one process.",
                hint="Remove it, or use --workers 1.",
            )
        _check_all("--allowed-host", self.allowed_hosts, _HOST, "mcp.example.com or mcp.example.com:8443")
        _check_all("--allowed-origin", self.allowed_origins, _ORIGIN, "https://app.example.com")

    @property
    def has_auth(self) -> bool:
        return bool(self.auth_token_file or self.auth_issuer)


def _check_url(flag: str, url: str | None) -> None:
    if url is None:
        return
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    surplus = parts.query or parts.fragment or "@" in parts.netloc or port == 0 or not url.isprintable() or " " in url
    if not host or surplus or parts.scheme not in ("https", "http"):
        raise ConfigurationError(f"{flag} is not a valid URL.", hint="Use the form https://host/path.")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(
            f"{flag} uses plain http to another machine.", hint="Use https, or http for 127.0.0.1 and localhost."
        )


def _check_all(flag: str, values: tuple[str, ...], form: re.Pattern[str], example: str) -> None:
    if not all(form.fullmatch(value) for value in values):
        raise ConfigurationError(f"{flag} has the wrong form.", hint=f"Use lower case, for example {example}.")
