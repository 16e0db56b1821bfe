"""Takes over files that earlier versions of cams-mcp wrote."""

from __future__ import annotations

import sqlite3
import time

_ADDED_COLUMNS = {
    "writes": {
        "part_digest": "TEXT NOT NULL DEFAULT ''",
        "owner": "TEXT NOT NULL DEFAULT ''",
        "entry": "TEXT NOT NULL DEFAULT ''",
        "ended": "REAL NOT NULL DEFAULT 0",
    },
    "uploads": {"approved": "REAL NOT NULL DEFAULT 0", "doubted": "INTEGER NOT NULL DEFAULT 0"},
}
"""Columns missing from files created by cams-mcp 0.1.0."""


def end_old_approvals(database: sqlite3.Connection) -> None:
    """Record the end of approvals that cams-mcp 0.2 opened: this version does not accept them."""
    columns = {row[1] for row in database.execute("PRAGMA table_info(approvals)")}
    if "entry" in columns:
        database.execute(
            "INSERT INTO audit (time, event, entry) SELECT ?, 'expired', entry FROM approvals", (time.time(),)
        )
    if columns:
        database.execute("DELETE FROM approvals")


def add_columns(database: sqlite3.Connection) -> None:
    for table, columns in _ADDED_COLUMNS.items():
        present = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        for column, kind in columns.items():
            if present and column not in present:
                database.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
