"""A process that writes to a store: DIRECTORY-OR-URL NAME TIMES. Waits for a line, so that several begin at once."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

from cams_mcp.confirmation import Channel
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.store import Asking, BaseStore, Ending, Pending, Store, Write, open_store

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


def asked(store: BaseStore, write: Write, channel: Channel = "token", seconds: float = 600.0, **asking: Any) -> str:
    """Ask about a write, or join the question that is there; gives a token that approves it."""
    token = secrets.token_urlsafe(8)
    given: dict[str, Any] = {"facts": (), "seconds": seconds, "token": token, "token_seconds": seconds}
    pending = store.ask(write, channel, Asking(**given | asking))
    assert pending is not None
    assert pending.state == "waiting"
    return token


def begun(store: BaseStore, write: Write, channel: Channel, token: str | None, *, per_day: int | None = None) -> int:
    """Spend an approval that nobody has spent; gives the write's number in the ledger."""
    found = store.begin(write, channel, token, per_day=per_day)
    assert not isinstance(found, Pending), "somebody has spent it"
    return found[0]


def work(place: str, name: str, times: int) -> None:
    print("ready", flush=True)  # the test waits for this line
    sys.stdin.readline()
    store = open_store(place, None) if "://" in place else Store(Path(place))
    for number in range(times):
        write = a_write(f"{name}-{number}", f"{name}-{number}", name)
        started = begun(store, write, "token", asked(store, write))
        store.finish(started, write, "token", Ending(outcome="sent", request_id=f"{name}-{number}"))
    store.close()


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], int(sys.argv[3]))
