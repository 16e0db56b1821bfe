"""Every question and every write gets an end in the audit trail, whatever happened to its process."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from store_worker import a_write, asked, begun
from support_redis import RedisServer

from cams_mcp.errors import NotConfirmed, StoreError
from cams_mcp.store import BaseStore, Ending, Store
from cams_mcp.store.records import ENDED
from cams_mcp.store.redis import RedisStore

CRASHING = str(Path(__file__).with_name("crashing_store.py"))


class Record:
    """One record in a kind of store, opened as often as there are processes."""

    def __init__(self, place: str, open_store: Callable[[], BaseStore], redis: RedisServer | None) -> None:
        self.place = place
        self.time: float | None = None
        self._open = open_store
        self._redis = redis
        self._stack = ExitStack()

    def open(self) -> BaseStore:
        store = self._open()
        self._stack.callback(store.close)
        return store

    def begin_and_die(self, binding: str = "b") -> None:
        done = subprocess.run([sys.executable, CRASHING, self.place, binding], check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL
        self.miss_renewals()

    def miss_renewals(self) -> None:
        """What happens in Redis once a process has not renewed its name for some seconds."""
        if self._redis is not None:
            with self._redis.connect() as client:
                for key in client.scan_iter("cams-mcp:running:*"):
                    client.delete(key)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(params=["sqlite", "redis"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    if request.param == "sqlite":
        made = Record(str(tmp_path / "state"), lambda: Store(tmp_path / "state", clock), None)
    else:
        server: RedisServer = request.getfixturevalue("redis")
        made = Record(server.url, lambda: RedisStore(server.url, clock), server)

    def clock() -> float:
        return made.time if made.time is not None else time.time()

    yield made
    made.close()


def events(store: BaseStore) -> list[str]:
    return [entry["event"] for entry in store.audit()]


STEPS: dict[str, Callable[[BaseStore], object]] = {
    "audit": lambda store: store.audit(),
    "ask": lambda store: asked(store, a_write("other", "other")),
    "check_limit": lambda store: store.check_limit(a_write(), 10),
    "begin": lambda store: store.begin_unasked(a_write("other", "other")),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_write_whose_process_was_killed_is_recorded_as_unknown_by_the_next_step_of_anyone(
    record: Record, step: str
) -> None:
    record.begin_and_die()
    store = record.open()
    STEPS[step](store)

    (entry,) = [entry for entry in store.audit() if entry["event"] == "unknown"]
    (approved,) = [each for each in store.audit() if each["event"] == "approved" and each["channel"] == "token"]
    assert entry["reason"] == ENDED
    for name in ("operation", "principal", "client", "channel", "target", "counts", "digest"):
        assert entry[name] == approved[name]


def test_the_end_of_a_killed_process_is_recorded_once_by_all_who_see_it(record: Record) -> None:
    for binding in ("one", "two", "three"):
        record.begin_and_die(binding)
    stores = [record.open() for _ in range(3)]
    for store in [*stores, *stores]:
        store.check_limit(a_write(), None)

    assert events(stores[0]).count("unknown") == 3


def test_a_write_in_flight_is_not_recorded_as_unknown_by_others(record: Record) -> None:
    first, second = record.open(), record.open()
    number = first.begin_unasked(a_write())
    second.check_limit(a_write(), None)
    assert events(second) == ["approved"]

    first.finish(number, a_write(), "off", Ending(outcome="sent", request_id="R-1"))
    first.close()
    assert events(second) == ["approved", "sent"]


def test_a_process_that_was_only_late_still_records_what_came_of_its_write(record: Record) -> None:
    first, second = record.open(), record.open()
    number = first.begin_unasked(a_write())
    if isinstance(first, Store):
        first.close()  # its lock ends, as at the end of the process
    record.miss_renewals()
    assert events(second) == ["approved", "unknown"]

    first.finish(number, a_write(), "off", Ending(outcome="sent", request_id="R-1"))
    assert events(second) == ["approved", "unknown", "sent"]
    with pytest.raises(NotConfirmed, match="already sent to this audience"):
        second.begin_unasked(a_write(), hold_seconds=60)


def test_a_process_that_renews_its_name_counts_as_alive(record: Record) -> None:
    first, second = record.open(), record.open()
    first.begin_unasked(a_write())
    record.miss_renewals()
    first.renew()

    assert events(second) == ["approved"]


@pytest.mark.parametrize("later", [600.0, 1e6, -1.0])
def test_a_question_that_nobody_answered_is_recorded_as_expired_once(record: Record, later: float) -> None:
    record.time = 1_800_000_000.0
    stores = [record.open() for _ in range(2)]
    asked(stores[0], a_write(), "elicitation")
    assert events(stores[1]) == ["asked"]
    record.time += later
    for store in [*stores, *stores]:
        store.check_limit(a_write(), None)

    put, expired = stores[0].audit()
    assert (put["event"], expired["event"]) == ("asked", "expired")
    assert {**put, "id": 0, "event": "", "time": 0} == {**expired, "id": 0, "event": "", "time": 0}


def test_a_question_that_is_asked_again_ends_the_first_one(record: Record) -> None:
    store = record.open()
    first = asked(store, a_write(), "elicitation")
    second = asked(store, a_write(), "elicitation", replaces=first)

    assert events(store) == ["asked", "expired", "asked"]
    with pytest.raises(NotConfirmed):
        begun(store, a_write(), "elicitation", first)
    assert begun(store, a_write(), "elicitation", second)


def test_a_store_leaves_no_file_of_its_own_behind_and_removes_those_of_killed_processes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for binding in ("one", "two"):
        subprocess.run([sys.executable, CRASHING, str(state), binding], check=False, timeout=60)
    store = Store(state)
    store.begin_unasked(a_write("b", "other"))
    assert len(list(state.glob("cams-mcp.running-*"))) == 1
    store.close()

    assert not list(state.glob("cams-mcp.running-*"))


def test_a_store_made_by_an_older_version_is_taken_over(tmp_path: Path) -> None:
    """The columns that were added since 0.1.0 are added to its file, and what it held still counts."""
    store = Store(tmp_path)
    store.begin_unasked(a_write())
    store.journal.start("people.csv", {}, "b", 10, 1)
    store.close()
    with sqlite3.connect(tmp_path / "cams-mcp.sqlite3") as raw:
        raw.executescript(
            "DROP INDEX writes_by_part; DROP INDEX writes_open;"
            "ALTER TABLE writes DROP COLUMN part_digest; ALTER TABLE writes DROP COLUMN owner;"
            "ALTER TABLE writes DROP COLUMN entry; ALTER TABLE uploads DROP COLUMN approved;"
        )
    raw.close()

    with pytest.raises(NotConfirmed, match="same list"):
        store.begin_unasked(a_write(), hold_seconds=3600)
    (job,) = store.journal.jobs()
    assert job.approved == 0
    store.close()


def test_an_outcome_that_could_not_be_recorded_is_recorded_by_the_next_step(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = record.open()
    number = store.begin_unasked(a_write())

    def busy(work: object) -> None:
        raise StoreError("busy")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_run", busy)
        with pytest.raises(StoreError):
            store.finish(number, a_write(), "off", Ending(outcome="sent", request_id="R-1"))
    store.check_limit(a_write(), None)

    assert events(store) == ["approved", "sent"]


@pytest.mark.parametrize("hold", [False, True])
def test_a_decline_without_a_question_leaves_no_entry(record: Record, *, hold: bool) -> None:
    store = record.open()
    token = asked(store, a_write(), "elicitation")
    for state in ("forged", token, token):
        store.decline(a_write(), state, "the user declined", hold=hold)

    assert events(store) == ["asked", "declined"]


def test_a_question_is_not_ended_by_asking_another_one_again(record: Record) -> None:
    store = record.open()
    first = asked(store, a_write("first"), "elicitation")
    asked(store, a_write("second"), "elicitation", replaces=first)

    assert events(store) == ["asked", "asked"]
    assert begun(store, a_write("first"), "elicitation", first)


def test_an_approval_that_is_used_for_something_else_ends_under_its_own_digest(record: Record) -> None:
    store = record.open()
    token = asked(store, a_write("asked"))
    with pytest.raises(NotConfirmed):
        begun(store, a_write("other"), "token", token)

    found = [(entry["event"], entry["digest"]) for entry in store.audit()]
    assert found == [("asked", "asked"), ("expired", "asked"), ("blocked", "other")]


def test_a_process_whose_directory_was_replaced_still_counts_as_alive(tmp_path: Path) -> None:
    first, second = Store(tmp_path / "state"), Store(tmp_path / "state")
    first.begin_unasked(a_write())
    shutil.rmtree(tmp_path / "state")
    first.begin_unasked(a_write())

    assert events(second) == ["approved"]
    first.close()
    second.close()
