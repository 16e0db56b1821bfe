"""Parse and validate the CAMS endpoint from the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from cams_mcp.errors import ConfigurationError
from cams_mcp.hosts import is_loopback

_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The scheme and authority of the service, e.g. https and cams.ap-southeast-1.aliyuncs.com."""

    scheme: str
    authority: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}/"

    @classmethod
    def of_region(cls, region: str) -> Endpoint:
        """The public endpoint of a region, e.g. ap-southeast-1.

        Raises:
            ConfigurationError: `region` is not formatted like a region id.
        """
        if not _REGION.fullmatch(region):
            raise ConfigurationError(
                "--region (CAMS_MCP_REGION) is not a valid region id.", hint="Use an id like ap-southeast-1."
            )
        return cls("https", f"cams.{region}.aliyuncs.com")

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Parse a host, host:port, or URL. Plain http is allowed for loopback only: requests contain personal data.

        Raises:
            ConfigurationError: not a host or URL, or plain http to another machine.
        """
        invalid = ConfigurationError(
            "--endpoint (CAMS_MCP_ENDPOINT) is not a host or URL.",
            hint="Use a host like cams.ap-southeast-1.aliyuncs.com, or https://host[:port] without a path.",
        )
        try:
            parts = urlsplit(text if "://" in text else f"https://{text}")
            port = parts.port
        except ValueError:
            raise invalid from None
        host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc
        surplus = parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc
        if parts.scheme not in ("http", "https") or surplus or not _HOST.fullmatch(host):
            raise invalid
        if parts.scheme == "http" and not is_loopback(host):
            raise ConfigurationError(
                "--endpoint (CAMS_MCP_ENDPOINT) uses plain http to another machine.",
                hint="Requests contain personal data. Use https; http is allowed for 127.0.0.1 and localhost only.",
            )
        return cls(parts.scheme, parts.netloc)
