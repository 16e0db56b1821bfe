"""Approvals, the ledger of writes and the audit trail, in Redis, for several hosts.

All keys begin with `cams-mcp:`. Approvals go away by themselves (EXPIRE); the ledger is kept for longer than any
repetition is looked for. The audit trail is a stream (XADD): nothing here changes or deletes an entry, but Redis itself
does not forbid it to others, as the triggers of the SQLite store do. Give this server a Redis user of its own.

    approval:HASH               an approval, as JSON; approvals:issued and approvals:expires index them
    writes                      the number of the last write
    write:NUMBER                a write, as a hash
    list:DIGEST                 numbers of the writes of a list that were or may have been applied
    audience:ID                 NUMBER:USERS of those to an audience, by time
    audit                       the trail
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from cams_mcp.models import Outcome
from cams_mcp.store.base import BaseStore, Step
from cams_mcp.store.records import Approval, Earlier, Event
from cams_mcp.store.redis_database import RedisDatabase, Transaction
from cams_mcp.store.redis_journal import RedisJournal

KEEP_SECONDS = 400 * 86_400
"""The ledger is asked for a year at the most (--hold-hours)."""

PAGE = 1000

T = TypeVar("T")


class RedisStore(BaseStore):
    """Shared by all processes and hosts that use the same Redis database.

    Args:
        url: redis:// or rediss://, checked already.
        now: seconds since 1970, UTC; without it Redis's own clock, so that the clocks of hosts may differ.
    """

    def __init__(self, url: str, now: Callable[[], float] | None = None) -> None:
        self._database = RedisDatabase(url, now)
        self.journal = RedisJournal(self._database)

    def close(self) -> None:
        self._database.close()

    def audit(self, since: float = 0.0) -> list[dict[str, Any]]:
        found = self._database.run(lambda transaction: list(_entries(transaction)))
        return [entry for entry in found if entry["time"] >= since]

    def _run(self, work: Callable[[Step], T]) -> T:
        return self._database.run(lambda transaction: work(_RedisStep(transaction)))


def _entries(transaction: Transaction) -> Iterator[dict[str, Any]]:
    start = "-"
    page: list[tuple[str, dict[str, str]]]
    while page := transaction.peek("XRANGE", "audit", start, "+", "COUNT", PAGE):
        for number, entry in page:
            yield {"id": number, "time": float(entry["time"]), "event": entry["event"], **json.loads(entry["entry"])}
        start = f"({page[-1][0]}"


class _RedisStep(Step):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction.salt, transaction.now)
        self._in = transaction

    def put_approval(self, key: str, approval: Approval) -> None:
        old = self._in.peek("ZRANGEBYSCORE", "approvals:expires", "-inf", self.now)
        later = self._in.peek("ZRANGEBYSCORE", "approvals:issued", f"({self.now!r}", "+inf", "WITHSCORES")
        # Some of these were issued since this step began.
        time = self._in.time()
        early = [name for name, issued in zip(later[::2], later[1::2], strict=True) if float(issued) > time]
        for dead in {*old, *early}:
            self._forget(dead)
        row = (approval.binding, approval.channel, approval.issued, approval.expires, approval.seen_write)
        milliseconds = max(1, math.ceil((approval.expires - self.now) * 1000))
        self._in.write("SET", f"approval:{key}", json.dumps(row), "PX", milliseconds)
        self._in.write("ZADD", "approvals:issued", approval.issued, key)
        self._in.write("ZADD", "approvals:expires", approval.expires, key)

    def take_approval(self, key: str) -> Approval | None:
        row = self._in.read("GET", f"approval:{key}")
        if row is None:
            return None
        self._forget(key)
        return Approval(*json.loads(row))

    def _forget(self, key: str) -> None:
        self._in.write("DEL", f"approval:{key}")
        self._in.write("ZREM", "approvals:issued", key)
        self._in.write("ZREM", "approvals:expires", key)

    def last_write(self, list_digest: str) -> int:
        found = self._in.read("ZREVRANGE", f"list:{list_digest}", 0, 0)
        return int(found[0]) if found else 0

    def last_write_since(self, list_digest: str, since: float) -> Earlier | None:
        for number in self._in.read("ZREVRANGE", f"list:{list_digest}", 0, -1):
            started, outcome = self._in.peek("HMGET", f"write:{number}", "started", "outcome")
            if started is not None and float(started) > since:
                return Earlier(float(started), outcome)
        return None

    def users_since(self, audience: str, since: float) -> int:
        found = self._in.read("ZRANGEBYSCORE", f"audience:{audience}", f"({since!r}", "+inf")
        return sum(int(member.partition(":")[2]) for member in found)

    def enter(self, list_digest: str, audience: str, users: int) -> int:
        number = self._in.count("writes")
        row = {
            "list": list_digest,
            "audience": audience,
            "users": users,
            "started": repr(self.now),
            "outcome": "unknown",
        }
        self._in.write("HSET", f"write:{number}", *(part for pair in row.items() for part in pair))
        self._index(number, list_digest, audience, users, repr(self.now))
        return number

    def _index(self, number: int, list_digest: str, audience: str, users: int, started: str) -> None:
        indexes = {f"audience:{audience}": (started, f"{number}:{users}")}
        indexes |= {f"list:{list_digest}": (str(number), str(number))} if list_digest else {}
        for key, (score, member) in indexes.items():
            self._in.write("ZADD", key, score, member)
            self._in.write("EXPIRE", key, KEEP_SECONDS)
        self._in.write("EXPIRE", f"write:{number}", KEEP_SECONDS)

    def finish(self, number: int, outcome: Outcome, request_id: str | None) -> None:
        fields = ("list", "audience", "users", "started")
        list_digest, audience, users, started = self._in.read("HMGET", f"write:{number}", *fields)
        if started is None:
            return
        self._in.write("HSET", f"write:{number}", "outcome", outcome, "request_id", request_id or "")
        if outcome == "refused":
            self._in.write("ZREM", f"list:{list_digest}", number)
            self._in.write("ZREM", f"audience:{audience}", f"{number}:{users}")
        else:
            self._index(number, list_digest, audience, int(users), started)

    def append(self, event: Event, entry: Mapping[str, Any]) -> None:
        text = json.dumps(entry, ensure_ascii=False)
        self._in.write("XADD", "audit", "*", "time", repr(self.now), "event", event, "entry", text)
