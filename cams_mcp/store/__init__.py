"""State that outlives a call: approvals, the ledger of writes, the audit trail, and upload jobs."""

from __future__ import annotations

from pathlib import Path

from cams_mcp.errors import ConfigurationError
from cams_mcp.models import Outcome
from cams_mcp.store.address import SQLITE, check_store_url
from cams_mcp.store.base import BaseStore
from cams_mcp.store.database import FILE_NAME
from cams_mcp.store.journal import Job, Journal
from cams_mcp.store.pending import Asking, Pending
from cams_mcp.store.records import Earlier, Ending, Event, Standing, Write
from cams_mcp.store.sqlite import Store

__all__ = [
    "FILE_NAME",
    "SQLITE",
    "Asking",
    "BaseStore",
    "Earlier",
    "Ending",
    "Event",
    "Job",
    "Journal",
    "Outcome",
    "Pending",
    "Standing",
    "Store",
    "Write",
    "check_store_url",
    "open_store",
]


def open_store(url: str, directory: Path | None) -> BaseStore:
    """The store at this URL, or the SQLite store in `directory`. It connects on first use.

    Raises:
        ConfigurationError: the URL is not supported, or its client library is not installed.
    """
    check_store_url(url)
    if url == SQLITE:
        return Store(directory)
    try:
        from cams_mcp.store.redis import RedisStore
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise ConfigurationError(
            "--store requires the package redis, which is not installed.", hint="Install cams-mcp[redis]."
        ) from None
    return RedisStore(url)
