"""A process that writes to a store: DIRECTORY-OR-URL NAME TIMES. Waits for a line, so that several begin at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.store import Store, Write, open_store

assert ADD_CUSTOM_AUDIENCE_USER.effect is not None
EFFECT = ADD_CUSTOM_AUDIENCE_USER.effect


def a_write(
    binding: str = "b", list_digest: str = "l", audience: str = "6000019000000", users: int = 1, **more: Any
) -> Write:
    fields: dict[str, Any] = {
        "operation": "AddCustomAudienceUser",
        "principal": "local",
        "client": "tester 1.0",
        "binding": binding,
        "list_digest": list_digest,
        "target": {"custom_audience_id": audience},
        "effect": EFFECT,
        "counts": {"users": users, "emails": users, "phones": 0, "duplicates": 0},
    }
    return Write(**fields | more)


def work(place: str, name: str, times: int) -> None:
    print("ready", flush=True)  # the test waits for this line
    sys.stdin.readline()
    store = open_store(place, None) if "://" in place else Store(Path(place))
    for number in range(times):
        write = a_write(f"{name}-{number}", f"{name}-{number}", name)
        started = store.begin(write, "token", store.issue(write, "token", 600))
        store.finish(started, write, "token", "sent", f"{name}-{number}", None)
    store.close()


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], int(sys.argv[3]))
