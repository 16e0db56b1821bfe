"""The hosts, origins and URLs that the server answers to."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from cams_mcp.hosts import authority
from cams_mcp.settings import MCP_PATH, HttpSettings

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def allowed_hosts(settings: HttpSettings) -> list[str]:
    """What `Host` may be; ":*" is any port."""
    named = [*_LOOPBACK, authority(settings.host), *settings.allowed_hosts]
    if settings.public_url:
        named.append(urlsplit(settings.public_url).netloc.lower())
    return [*named, *(f"{name}:*" for name in named if not re.search(r":\d+$", name))]


def allowed_origins(settings: HttpSettings) -> list[str]:
    """What `Origin` may be, if it is there."""
    own = [f"http://{name}" for name in (*_LOOPBACK, authority(settings.host))]
    public = urlsplit(settings.public_url) if settings.public_url else None
    more = [f"{public.scheme}://{public.netloc.lower()}"] if public else []
    return [*own, *(f"{origin}:*" for origin in own), *more, *settings.allowed_origins]


def is_hidden(settings: HttpSettings) -> bool:
    """Whether the server listens on all addresses and knows no name that other machines could call it by."""
    on_all = settings.host.strip("[]") in ("0.0.0.0", "::")  # noqa: S104
    return on_all and not settings.public_url and not settings.allowed_hosts


def url_on(settings: HttpSettings, port: int) -> str:
    """The URL of the endpoint on this machine."""
    return f"http://{authority(settings.host)}:{port}{MCP_PATH}"
