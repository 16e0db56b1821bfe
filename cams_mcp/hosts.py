"""Host names and addresses, as options and URLs have them."""

from __future__ import annotations

from cams_mcp.errors import ConfigurationError


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback name or address. IPv6 addresses may have brackets."""
    if host.lower() == "localhost":
        return True
    import ipaddress  # rarely needed, and never at startup

    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_loopback(
    host: str, what: str, *, hint: str = "Use --host 127.0.0.1, and a reverse proxy with authentication."
) -> None:
    """Raise ConfigurationError unless `host` is a loopback address."""
    if not is_loopback(host):
        raise ConfigurationError(
            f"{what} has no authentication, so it can listen only on a loopback address.", hint=hint
        )


def authority(host: str) -> str:
    """Format a host for use in a URL."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
