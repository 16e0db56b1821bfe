"""Validate the --store option."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from cams_mcp.errors import ConfigurationError

SQLITE = "sqlite"
"""Selects the SQLite file in the state directory."""

_TLS_FILES = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


def check_store_url(url: str) -> None:
    """Raise ConfigurationError unless this is "sqlite" or a Redis URL. The error doesn't repeat the value."""
    if url == SQLITE:
        return
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        parts, good, options = urlsplit(""), False, {}
    allowed = _TLS_FILES if parts.scheme == "rediss" else frozenset[str]()
    good = good and parts.scheme in ("redis", "rediss") and not parts.fragment and url.isprintable() and " " not in url
    if not good or not re.fullmatch(r"/?|/\d{1,5}", parts.path) or not options.keys() <= allowed:
        raise ConfigurationError(
            "--store is neither sqlite nor a Redis URL.",
            hint="Use a URL like redis://127.0.0.1:6379/0, or rediss://USER:PASSWORD@HOST:PORT/NUMBER for TLS, with "
            "?ssl_ca_certs=FILE for a private CA. Percent-encode special characters of the password.",
        )
