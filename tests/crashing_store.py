"""A process that begins a write in the store DIRECTORY-OR-URL and is killed before it can record the outcome.

A second argument is the digest of the write.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from store_worker import a_write, asked, begun

from cams_mcp.store import Store, open_store

if __name__ == "__main__":
    place = sys.argv[1]
    store = open_store(place, None) if "://" in place else Store(Path(place))
    write = a_write(*sys.argv[2:])
    begun(store, write, "token", asked(store, write))
    os.kill(os.getpid(), signal.SIGKILL)
