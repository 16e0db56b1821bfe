"""The Redis journal: upload jobs and their batches.

upload:ID                   a job, as a hash
batches:ID                  its batches, as JSON, keyed by their first item
uploads                     all job ids, by time
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from cams_mcp.store.journal import Batch, BatchState, Job, JobState, Journal, progressed, taken_over
from cams_mcp.store.redis_database import RedisDatabase, Transaction


class RedisJournal(Journal):
    """Upload jobs in the store's Redis database."""

    def __init__(self, database: RedisDatabase) -> None:
        self._database = database

    def start(self, path: str, arguments: Mapping[str, Any], binding: str, total: int, write: int) -> tuple[str, str]:
        job, owner = secrets.token_hex(5), secrets.token_hex(8)

        def work(step: Transaction) -> None:
            row = {
                "created": repr(step.now),
                "path": path,
                "arguments": json.dumps(dict(arguments)),
                "binding": binding,
                "total": total,
                "write": write,
                "state": "running",
                "reason": "",
                "owner": owner,
                "approved": repr(step.now),
            }
            step.write("HSET", f"upload:{job}", *(part for pair in row.items() for part in pair))
            step.write("ZADD", "uploads", step.now, job)

        self._database.run(work)
        return job, owner

    def take(self, job: str, position: tuple[int, int], write: int, *, approved: bool) -> str:
        owner = secrets.token_hex(8)

        def work(step: Transaction) -> None:
            # Watch both keys, so that the step starts over if a batch begins or ends meanwhile.
            step.read("EXISTS", f"batches:{job}")
            step.read("EXISTS", f"upload:{job}")
            found = _job(step, job)
            if found is None or not found.is_at(position):
                raise progressed()
            changes = {
                "owner": owner,
                "state": "running",
                "reason": "",
                "write": write,
                "approved": repr(step.now if approved else found.approved),
            }
            step.write("HSET", f"upload:{job}", *(part for pair in changes.items() for part in pair))

        self._database.run(work)
        return owner

    def before(self, job: str, owner: str, first: int, count: int) -> None:
        def work(step: Transaction) -> None:
            if step.read("HGET", f"upload:{job}", "owner") != owner:
                raise taken_over()
            doubted = int(step.read("HGET", f"upload:{job}", "doubted") or 0)
            for text in step.read("HVALS", f"batches:{job}"):
                old, size, state, _ = json.loads(text)
                if old >= first:
                    step.write("HDEL", f"batches:{job}", old)
                    doubted = max(doubted, old + size if state in ("sending", "unknown") else 0)
            step.write("HSET", f"upload:{job}", "doubted", doubted)
            step.write("HSET", f"batches:{job}", first, json.dumps((first, count, "sending", None)))

        self._database.run(work)

    def after(self, job: str, owner: str, first: int, state: BatchState, request_id: str | None) -> None:
        def work(step: Transaction) -> None:
            if step.read("HGET", f"upload:{job}", "owner") != owner:
                return
            old = step.read("HGET", f"batches:{job}", first)
            if old is not None:
                count = json.loads(old)[1]
                step.write("HSET", f"batches:{job}", first, json.dumps((first, count, state, request_id)))

        self._database.run(work)

    def end(self, job: str, owner: str, state: JobState, reason: str) -> None:
        def work(step: Transaction) -> None:
            if step.read("HGET", f"upload:{job}", "owner") == owner:
                step.write("HSET", f"upload:{job}", "state", state, "reason", reason)

        self._database.run(work)

    def jobs(self) -> list[Job]:
        def work(step: Transaction) -> list[Job]:
            found = [_job(step, job) for job in step.peek("ZREVRANGE", "uploads", 0, -1)]
            return [job for job in found if job is not None]

        return sorted(self._database.run(work), key=lambda job: (-job.created, job.id))

    def job(self, job: str) -> Job | None:
        return self._database.run(lambda step: _job(step, job))


def _job(step: Transaction, job: str) -> Job | None:
    row: dict[str, str] = step.peek("HGETALL", f"upload:{job}")
    if not row:
        return None
    batches = sorted(json.loads(batch) for batch in step.peek("HVALS", f"batches:{job}"))
    return Job(
        id=job,
        created=float(row["created"]),
        path=row["path"],
        arguments=json.loads(row["arguments"]),
        binding=row["binding"],
        total=int(row["total"]),
        write=int(row["write"]),
        approved=float(row.get("approved", 0)),
        doubted=int(row.get("doubted", 0)),
        state=row["state"],  # type: ignore[arg-type]
        reason=row["reason"],
        batches=tuple(Batch(*batch) for batch in batches),
    )
