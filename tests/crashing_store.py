"""A process that begins a write in the store DIRECTORY-OR-URL and is killed before it can record the outcome."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from store_worker import a_write

from cams_mcp.store import Store, open_store

if __name__ == "__main__":
    place = sys.argv[1]
    store = open_store(place, None) if "://" in place else Store(Path(place))
    store.begin(a_write(), "token", store.issue(a_write(), "token", 600))
    os.kill(os.getpid(), signal.SIGKILL)
