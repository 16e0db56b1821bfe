"""Host names and addresses, as options and URLs have them."""

from __future__ import annotations

from cams_mcp.errors import ConfigurationError


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address, IPv6 with or without brackets) is this machine's loopback."""
    if host.lower() == "localhost":
        return True
    import ipaddress  # seldom needed, never at start

    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_loopback(
    host: str, what: str, *, hint: str = "Use --host 127.0.0.1, and a reverse proxy with authentication."
) -> None:
    """Raise ConfigurationError unless `host` is this machine only."""
    if not is_loopback(host):
        raise ConfigurationError(f"{what} only listens on loopback, because it has no authentication.", hint=hint)


def authority(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
