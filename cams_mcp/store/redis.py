"""The Redis store, for several hosts: approvals, the ledger of writes and the audit trail.

All keys start with `cams-mcp:`. The next step removes a waiting write that has expired, and records its end. Ledger
entries expire long after any check for repetitions would read them. The audit trail is a stream (XADD). cams-mcp never
changes or deletes an entry, but Redis, unlike the triggers of the SQLite store, does not prevent others from doing so.
Create a dedicated Redis user for this server.

    pending:DIGEST              a write that waits for a person, as JSON; pending-asked and pending-expires index them
    pending-key:HASH            the digest of the write that the token of a preview, or of a question, belongs to
    writes                      the number of the last write
    write:NUMBER                a write, as a hash
    open                        numbers of the writes whose outcome has not been recorded yet
    running:OWNER               expires unless the process with this name renews it
    list:DIGEST                 numbers of the writes of a list that were or may have been applied
    audience:ID                 NUMBER:AMOUNT of such writes to a target, by time
    audit                       the audit trail
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from cams_mcp.models import Outcome
from cams_mcp.store.base import BaseStore
from cams_mcp.store.pending import Pending
from cams_mcp.store.records import Earlier, Event, Write
from cams_mcp.store.redis_database import RedisDatabase, Transaction
from cams_mcp.store.redis_journal import RedisJournal
from cams_mcp.store.rules import record_ends
from cams_mcp.store.step import Entry, Step

KEEP_SECONDS = 400 * 86_400
"""Longer than any lookup in the ledger reaches back: --hold-hours allows a year at most."""

ALIVE_SECONDS = 12.0
"""How long a process counts as alive after it last renewed its key."""

PAGE = 1000

T = TypeVar("T")


class RedisStore(BaseStore):
    """Shared by all processes and hosts that use the same Redis database.

    Args:
        url: redis:// or rediss://, already validated.
        now: seconds since 1970, UTC. Defaults to Redis's clock, so the hosts' clocks may differ.
    """

    renew_seconds = ALIVE_SECONDS / 4

    def __init__(self, url: str, now: Callable[[], float] | None = None) -> None:
        super().__init__()
        self._database = RedisDatabase(url, now)
        self._name = secrets.token_hex(8)
        self.journal = RedisJournal(self._database)

    def close(self) -> None:
        self._try_catch_up()
        self._database.close()

    def audit(self, since: float = 0.0) -> list[dict[str, Any]]:
        self._run(record_ends)
        found = self._database.run(lambda transaction: list(_entries(transaction)))
        return [entry for entry in found if entry["time"] >= since]

    def renew(self) -> None:
        self._database.run(lambda transaction: _mark_alive(transaction, self._name))

    def _run(self, work: Callable[[Step], T]) -> T:
        return self._database.run(lambda transaction: work(_RedisStep(transaction, self._name)))


def _mark_alive(transaction: Transaction, name: str) -> None:
    transaction.write("SET", f"running:{name}", 1, "PX", round(ALIVE_SECONDS * 1000))


def _entries(transaction: Transaction) -> Iterator[dict[str, Any]]:
    start = "-"
    page: list[tuple[str, dict[str, str]]]
    while page := transaction.peek("XRANGE", "audit", start, "+", "COUNT", PAGE):
        for number, entry in page:
            yield {"id": number, "time": float(entry["time"]), "event": entry["event"], **json.loads(entry["entry"])}
        start = f"({page[-1][0]}"


class _RedisStep(Step):
    def __init__(self, transaction: Transaction, name: str) -> None:
        super().__init__(transaction.salt, transaction.now)
        self._transaction = transaction
        self._name = name

    def put_pending(self, pending: Pending) -> None:
        self.drop_pending(pending)
        self._transaction.write("SET", f"pending:{pending.binding}", json.dumps(pending.to_json(), ensure_ascii=False))
        self._transaction.write("ZADD", "pending-asked", repr(pending.asked), pending.binding)
        self._transaction.write("ZADD", "pending-expires", repr(pending.expires), pending.binding)
        for key in pending.keys:
            self._transaction.write("SET", f"pending-key:{key.hash}", pending.binding)

    def drop_pending(self, pending: Pending) -> None:
        stored = self.pending_of(pending.binding)
        for key in stored.keys if stored is not None else ():
            self._transaction.write("DEL", f"pending-key:{key.hash}")
        self._transaction.write("DEL", f"pending:{pending.binding}")
        self._transaction.write("ZREM", "pending-asked", pending.binding)
        self._transaction.write("ZREM", "pending-expires", pending.binding)

    def pending_of(self, binding: str) -> Pending | None:
        document = self._transaction.read("GET", f"pending:{binding}")
        return Pending.from_json(json.loads(document)) if document is not None else None

    def pending_with_key(self, hashed: str) -> Pending | None:
        binding = self._transaction.read("GET", f"pending-key:{hashed}")
        return self.pending_of(binding) if binding is not None else None

    def all_pending(self) -> list[Pending]:
        bindings = self._transaction.read("ZRANGE", "pending-asked", 0, -1)
        found = self._transaction.read_texts([f"pending:{binding}" for binding in bindings])
        return [Pending.from_json(json.loads(document)) for document in found if document is not None]

    def take_expired(self) -> list[Pending]:
        expired = self._transaction.peek("ZRANGEBYSCORE", "pending-expires", "-inf", self.now)
        asked = self._transaction.peek("ZRANGEBYSCORE", "pending-asked", f"({self.now!r}", "+inf", "WITHSCORES")
        # Writes asked about after this step began are not from the future.
        time = self._transaction.time() if asked else 0.0
        future = [name for name, when in zip(asked[::2], asked[1::2], strict=True) if float(when) > time]
        found = map(self.pending_of, dict.fromkeys([*expired, *future]))
        taken = [pending for pending in found if pending is not None]
        for each in taken:
            self.drop_pending(each)
        return taken

    def last_write(self, digests: Sequence[str]) -> int:
        last = [self._transaction.read("ZREVRANGE", f"list:{digest}", 0, 0) for digest in digests]
        return max((int(found[0]) for found in last if found), default=0)

    def earlier(self, digests: Sequence[str], since: float) -> Earlier | None:
        for _, row in self._of_lists(digests):
            if float(row["started"]) > since:
                return Earlier(float(row["started"]), row["outcome"])  # type: ignore[arg-type]
        return None

    def overlapping(self, write: Write, number: int) -> Earlier | None:
        began = float((self._row(number) or {}).get("started", "inf"))
        rests = {row.get("part", "") for _, row in self._of_lists([write.list_digest])}
        for other, row in self._of_lists(list({*write.digests, *rests} - {""})):
            in_flight = row.get("entry") or float(row.get("ended") or 0) > began
            if other != number and (other > number or in_flight):
                return Earlier(float(row["started"]), row["outcome"])  # type: ignore[arg-type]
        return None

    def _of_lists(self, digests: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
        """The writes of these lists that were or may have been applied, newest first."""
        found = {
            int(number) for digest in digests for number in self._transaction.read("ZREVRANGE", f"list:{digest}", 0, -1)
        }
        for number in sorted(found, reverse=True):
            row = self._row(number)
            if row is not None:
                yield number, row

    def sent_since(self, target_id: str, since: float) -> int:
        found = self._transaction.read("ZRANGEBYSCORE", f"audience:{target_id}", f"({since!r}", "+inf")
        return sum(int(member.partition(":")[2]) for member in found)

    def enter(self, write: Write, target_id: str, entry: Entry) -> int:
        number = self._transaction.count("writes")
        row = {
            "list": write.list_digest,
            "part": write.part_digest,
            "audience": target_id,
            "users": write.amount,
            "started": repr(self.now),
            "outcome": "unknown",
            "owner": self._name,
            "entry": json.dumps(entry),
        }
        self._transaction.write("HSET", f"write:{number}", *(part for pair in row.items() for part in pair))
        self._index(number, write.digests, target_id, write.amount, repr(self.now))
        self._transaction.write("SADD", "open", number)
        _mark_alive(self._transaction, self._name)
        return number

    def _index(self, number: int, digests: Sequence[str], target_id: str, amount: int, started: str) -> None:
        indexes = {f"audience:{target_id}": (started, f"{number}:{amount}")}
        indexes |= {f"list:{digest}": (str(number), str(number)) for digest in digests}
        for key, (score, member) in indexes.items():
            self._transaction.write("ZADD", key, score, member)
            self._transaction.write("EXPIRE", key, KEEP_SECONDS)
        self._transaction.write("EXPIRE", f"write:{number}", KEEP_SECONDS)

    def finish(self, number: int, outcome: Outcome, request_id: str | None, amount: int | None) -> None:
        row = self._row(number)
        if row is None:
            return
        changes = {"outcome": outcome, "request_id": request_id or "", "entry": "", "ended": repr(self.now)}
        if outcome != "unknown" or amount is not None:
            changes["owner"] = ""
        self._change(number, row, row["users"] if amount is None else str(amount), changes)
        self._transaction.write("SREM", "open", number)
        if outcome == "refused":
            for digest in _digests(row):
                self._transaction.write("ZREM", f"list:{digest}", number)
            counted = row["users"] if amount is None else amount
            self._transaction.write("ZREM", f"audience:{row['audience']}", f"{number}:{counted}")

    def take_abandoned(self) -> list[tuple[int, Entry]]:
        abandoned: list[tuple[int, Entry]] = []
        for number in map(int, self._transaction.peek("SMEMBERS", "open")):
            owner = self._transaction.peek("HGET", f"write:{number}", "owner")
            if owner is not None and self._transaction.peek("EXISTS", f"running:{owner}"):
                continue
            row = self._row(number)
            self._transaction.write("SREM", "open", number)
            if row is not None and row["entry"]:
                self._transaction.write("HSET", f"write:{number}", "entry", "", "ended", repr(self.now))
                abandoned.append((number, json.loads(row["entry"])))
        return abandoned

    def may_release(self, number: int) -> bool:
        return _may_release(self._row(number))

    def release(self, number: int, amount: int) -> None:
        row = self._row(number)
        if row is not None and _may_release(row):
            self._change(number, row, str(max(0, int(row["users"]) - amount)), {"owner": ""})

    def _row(self, number: int) -> dict[str, str] | None:
        return self._transaction.read("HGETALL", f"write:{number}") or None

    def _change(self, number: int, row: Mapping[str, str], amount: str, changes: Mapping[str, str]) -> None:
        """Update a write, and what it counts in the index of its target."""
        changed = {**changes, "users": amount}
        self._transaction.write("HSET", f"write:{number}", *(part for pair in changed.items() for part in pair))
        self._transaction.write("ZREM", f"audience:{row['audience']}", f"{number}:{row['users']}")
        self._index(number, _digests(row), row["audience"], int(amount), row["started"])

    def append(self, event: Event, entry: Entry) -> None:
        text = json.dumps(entry, ensure_ascii=False)
        self._transaction.write("XADD", "audit", "*", "time", repr(self.now), "event", event, "entry", text)


def _may_release(row: Mapping[str, str] | None) -> bool:
    return row is not None and bool(row.get("owner")) and not row.get("entry")


def _digests(row: Mapping[str, str]) -> list[str]:
    return [digest for digest in (row["list"], row.get("part", "")) if digest]
