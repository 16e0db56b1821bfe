from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_worker import a_write, asked, begun
from support import AUDIENCE, ERAS, TARGET, VALID_ARGUMENTS, Person, mcp_client, text_of, yes
from support_redis import RedisServer

import cams_mcp
from cams_mcp.errors import NotConfirmed, StoreError
from cams_mcp.sandbox import Sandbox
from cams_mcp.store import FILE_NAME, Asking, BaseStore, Ending, Pending, Store, Write
from cams_mcp.store.redis import RedisStore

START = 1_800_000_000.0
DAY = 86_400.0
WRITE = "add_custom_audience_user"

posix = pytest.mark.skipif(os.name != "posix", reason="file modes and limits are POSIX's")


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


def events(store: BaseStore) -> list[str]:
    return [entry["event"] for entry in store.audit()]


def told_earlier(store: BaseStore, write: Write, seconds: float = DAY) -> dict[str, Any] | None:
    """What a question that is put now says about an earlier write of the same list."""
    another = replace(write, binding=f"another than {write.binding}")
    pending = store.ask(another, "token", Asking(facts=(), seconds=600, hold_seconds=seconds))
    assert pending is not None
    store.withdraw(another, "only looked", hold=False)
    return next((fact.value for fact in pending.facts if fact.key == "earlier"), None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[], BaseStore]:
    """Opens the same record once more: that of a process, or of a host."""
    if request.param == "sqlite":
        return lambda: Store(tmp_path / "state", clock)
    server: RedisServer = request.getfixturevalue("redis")
    return lambda: RedisStore(server.url, clock)


@pytest.fixture
def store(open_store: Callable[[], BaseStore]) -> Iterator[BaseStore]:
    """A store of each kind in turn."""
    with closing(open_store()) as store:
        yield store


@pytest.fixture
def sqlite_store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with closing(Store(tmp_path / "state", clock)) as store:
        yield store


# What voids an approval


def test_an_approval_is_good_once(store: BaseStore, clock: Clock) -> None:
    token = asked(store, a_write())
    number = begun(store, a_write(), "token", token)

    for channel, again in (("token", token), ("token", "made up"), ("elicitation", token), ("approve", None)):
        found = store.begin(a_write(), channel, again)
        assert isinstance(found, Pending)
        assert (found.state, found.write, found.outcome) == ("spent", number, None)
    assert events(store) == ["asked", "approved"]

    clock.time += 600
    with pytest.raises(NotConfirmed, match="already used"):
        store.begin(a_write(), "token", token)
    assert events(store) == ["asked", "approved", "blocked"]


@pytest.mark.parametrize("token", ["", "never-issued", "x" * 100_000, "\x00", "' OR 1=1 --", "\u4e2d"])
def test_a_token_that_was_never_issued_opens_nothing(store: BaseStore, token: str) -> None:
    asked(store, a_write())

    with pytest.raises(NotConfirmed):
        begun(store, a_write(), "token", token)


@pytest.mark.parametrize(
    ("later", "good"), [(0.0, True), (599.9, True), (600.0, False), (1e9, False), (-0.1, False), (-1e9, False)]
)
def test_an_approval_holds_from_its_issue_until_it_expires(
    store: BaseStore, clock: Clock, later: float, good: bool
) -> None:
    token = asked(store, a_write())
    clock.time += later

    if good:
        assert begun(store, a_write(), "token", token)
    else:
        with pytest.raises(NotConfirmed):
            begun(store, a_write(), "token", token)


def test_an_approval_from_before_the_clock_was_set_back_stays_void_when_the_clock_comes_round_again(
    store: BaseStore, clock: Clock
) -> None:
    token = asked(store, a_write())
    clock.time -= 3600
    asked(store, a_write())
    clock.time += 3600

    with pytest.raises(NotConfirmed):
        begun(store, a_write(), "token", token)


@pytest.mark.parametrize("issued", ["token", "elicitation", "terminal"])
@pytest.mark.parametrize("spent", ["token", "elicitation", "terminal"])
def test_an_approval_comes_by_the_channel_it_was_issued_for(store: BaseStore, issued: str, spent: str) -> None:
    token = asked(store, a_write(), issued)

    if issued == spent:
        assert begun(store, a_write(), spent, token)
    else:
        with pytest.raises(NotConfirmed):
            begun(store, a_write(), spent, token)


def test_an_approval_is_for_exactly_what_was_shown(store: BaseStore) -> None:
    token = asked(store, a_write("shown"))

    with pytest.raises(NotConfirmed, match="for a different call"):
        begun(store, a_write("changed"), "token", token)


@pytest.mark.parametrize("misfit", ["binding", "channel", "limit"])
def test_an_approval_that_does_not_fit_is_spent_all_the_same(store: BaseStore, misfit: str) -> None:
    token = asked(store, a_write())
    with pytest.raises(NotConfirmed):
        begun(
            store,
            a_write("changed") if misfit == "binding" else a_write(),
            "elicitation" if misfit == "channel" else "token",
            token,
            per_day=0 if misfit == "limit" else None,
        )

    with pytest.raises(NotConfirmed, match="already used"):
        begun(store, a_write(), "token", token)
    assert "approved" not in events(store)


@pytest.mark.parametrize(("hold", "words"), [(False, "already used"), (True, "a person declined this write")])
def test_a_decline_withdraws_the_approval(store: BaseStore, *, hold: bool, words: str) -> None:
    token = asked(store, a_write(), "elicitation")
    store.decline(a_write(), token, "the user declined", hold=hold)

    with pytest.raises(NotConfirmed, match=words):
        store.begin(a_write(), "elicitation", token)
    assert [entry.get("reason") for entry in store.audit()][1] == "the user declined"


@pytest.mark.parametrize("outcome", ["sent", "unknown", None])
def test_an_approval_is_void_once_the_same_list_went_out_another_way(store: BaseStore, outcome: str | None) -> None:
    first, second = (asked(store, a_write(binding)) for binding in ("first", "second"))
    number = begun(store, a_write("first"), "token", first)
    if outcome:
        store.finish(number, a_write("first"), "token", Ending(outcome=outcome))

    with pytest.raises(NotConfirmed, match="after this question was asked"):
        store.begin(a_write("second"), "token", second)
    with pytest.raises(NotConfirmed, match="already used"):
        store.begin(a_write("second"), "token", second)


def test_an_approval_outlasts_a_refused_attempt_with_the_same_list(store: BaseStore) -> None:
    first, second = (asked(store, a_write(binding)) for binding in ("first", "second"))
    number = begun(store, a_write("first"), "token", first)
    store.finish(number, a_write("first"), "token", Ending(outcome="refused", reason="Throttling"))

    assert begun(store, a_write("second"), "token", second)


def test_calls_without_people_do_not_void_each_other(store: BaseStore) -> None:
    writes = [a_write(binding, list_digest="") for binding in ("first", "second")]
    tokens = [asked(store, write) for write in writes]

    numbers = {begun(store, write, "token", token) for write, token in zip(writes, tokens, strict=True)}
    assert len(numbers) == 2
    assert told_earlier(store, writes[0]) is None


# What lasts


def test_approvals_ledger_and_trail_survive_reopening(open_store: Callable[[], BaseStore]) -> None:
    with closing(open_store()) as store:
        spent, kept = (asked(store, a_write(binding)) for binding in ("one", "two"))
        store.finish(
            begun(store, a_write("one"), "token", spent),
            a_write("one"),
            "token",
            Ending(outcome="refused", request_id="R-1", reason="Code"),
        )
        trail = store.audit()

    with closing(open_store()) as store:
        assert store.audit() == trail
        with pytest.raises(NotConfirmed):
            begun(store, a_write("one"), "token", spent)
        assert begun(store, a_write("two"), "token", kept)


def test_a_closed_store_opens_again_at_the_next_use(store: BaseStore) -> None:
    token = asked(store, a_write())
    store.close()
    store.close()

    assert begun(store, a_write(), "token", token)


def test_digests_are_salted_and_agree_within_one_store_only(
    open_store: Callable[[], BaseStore], tmp_path: Path
) -> None:
    with closing(open_store()) as store:
        first = store.digest("someone@example.com", {"a": 1, "b": 2})
    with closing(open_store()) as again, closing(Store(tmp_path / "other")) as other:
        assert again.digest("someone@example.com", {"b": 2, "a": 1}) == first
        assert again.digest("someone@example.com", {"a": 1, "b": 3}) != first
        assert other.digest("someone@example.com", {"a": 1, "b": 2}) != first
    assert first != hashlib.sha256(b'["someone@example.com", {"a": 1, "b": 2}]').hexdigest()


@given(st.lists(st.lists(st.text(), max_size=3), min_size=2, max_size=2, unique_by=tuple))
@settings(deadline=None)
def test_different_parts_have_different_digests(pair: list[list[str]]) -> None:
    with closing(Store(None)) as store:
        assert store.digest(*pair[0]) != store.digest(*pair[1])


# What is on disk


def files_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


def test_the_file_holds_no_token_but_its_hash(sqlite_store: Store, tmp_path: Path) -> None:
    token = asked(sqlite_store, a_write())
    found = files_of(tmp_path / "state")

    assert token.encode() not in found
    assert hashlib.sha256(token.encode()).hexdigest().encode() in found


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("action", ["accept", "decline", "two steps"])
async def test_no_address_is_on_disk_after_a_write(tmp_path: Path, mode: str, action: str) -> None:
    users = [{"email": f"Zoe.Recognisable{index}@example.com", "phone": f"+1202555{index:04}"} for index in range(120)]
    person = None if action == "two steps" else Person(action, {"confirm": True})
    store = Store(tmp_path)
    async with mcp_client(Sandbox(), mode=mode, store=store, elicitation_callback=person) as client:
        result = await client.call_tool(WRITE, TARGET | {"users": users})
        if action == "two steps":
            token = result.structured_content["confirmation_token"]
            await client.call_tool(WRITE, TARGET | {"users": users, "confirmation_token": token})
    found = files_of(tmp_path)
    store.close()
    found += files_of(tmp_path)

    assert AUDIENCE.encode() in found
    for user in users:
        for part in (user["email"].partition("@")[0], user["phone"].removeprefix("+")):
            assert part.lower().encode() not in found.lower()
            assert hashlib.sha256(part.encode()).hexdigest().encode() not in found
        for whole in user.values():
            assert hashlib.sha256(whole.encode()).hexdigest().encode() not in found


@pytest.mark.parametrize("place", ["audience", "target", "reason", "request id"])
def test_an_address_in_place_of_an_id_or_code_is_not_written(sqlite_store: Store, tmp_path: Path, place: str) -> None:
    address = "zoe.recognisable@example.com"
    write = {
        "audience": a_write(audience=address),
        "target": replace(a_write(), target=dict(a_write().target) | {"page_id": address}),
    }.get(place, a_write())
    number = begun(sqlite_store, write, "token", asked(sqlite_store, write))
    reason = f"No.{address}" if place == "reason" else "Code"
    ending = Ending(outcome="refused", request_id=address if place == "request id" else "R-1", reason=reason)
    sqlite_store.finish(number, write, "token", ending)

    assert b"recognisable" not in files_of(tmp_path / "state")


def test_audiences_that_do_not_look_like_ids_are_still_counted_apart(store: BaseStore) -> None:
    store.begin_unasked(a_write(audience="an audience", users=5))

    store.check_limit(a_write(audience="another audience", users=5), 5)
    with pytest.raises(NotConfirmed):
        store.check_limit(a_write(audience="an audience", users=1), 5)


@posix
def test_nobody_else_can_read_the_state(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        with closing(Store(tmp_path / "state")) as store:
            store.record("blocked", a_write(), "token")
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    finally:
        os.umask(previous)

    assert modes == {FILE_NAME: 0o600}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET event = 'sent'",
        "UPDATE audit SET time = 0 WHERE id = 1",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE id = 1",
        "REPLACE INTO audit (id, time, event, entry) VALUES (1, 0, 'sent', '{}')",
        "INSERT INTO audit (id, time, event, entry) VALUES (1, 0, 'sent', '{}') ON CONFLICT (id) DO NOTHING",
    ],
)
def test_the_trail_takes_no_change_even_from_a_raw_connection(
    sqlite_store: Store, tmp_path: Path, statement: str
) -> None:
    sqlite_store.record("blocked", a_write(), "token", "a limit")
    before = sqlite_store.audit()

    with closing(sqlite3.connect(tmp_path / "state" / FILE_NAME)) as raw:
        with pytest.raises(sqlite3.IntegrityError):
            raw.execute(statement)
        raw.rollback()
    assert sqlite_store.audit() == before


def test_reading_a_trail_that_never_was_makes_no_file(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "state")) as store:
        assert store.audit() == []

    assert not (tmp_path / "state").exists()


# Where no record can be kept


def below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "state"


def a_directory_in_place_of_the_file(tmp_path: Path) -> Path:
    (tmp_path / FILE_NAME).mkdir()
    return tmp_path


def not_a_database(tmp_path: Path) -> Path:
    (tmp_path / FILE_NAME).write_bytes(b"This is no database. " * 500)
    return tmp_path


def foreign_tables(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as raw:
        raw.execute("CREATE TABLE pending (something_else TEXT)")
        raw.execute("CREATE TABLE audit (something_else TEXT)")
        raw.commit()
    return tmp_path


def damaged(tmp_path: Path) -> Path:
    with closing(Store(tmp_path)) as store:
        for _ in range(50):
            store.record("blocked", a_write(), "token", "a limit")
    content = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    return tmp_path


BROKEN = [below_a_file, a_directory_in_place_of_the_file, not_a_database, foreign_tables, damaged]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_store_that_cannot_be_kept_says_what_to_do(tmp_path: Path, broken: Callable[[Path], Path]) -> None:
    with closing(Store(broken(tmp_path))) as store:
        for _ in range(2):
            with pytest.raises(StoreError, match=r"sends no writes without it.*--state-dir"):
                asked(store, a_write())


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("confirm", ["auto", "token", "off"])
@pytest.mark.parametrize("broken", BROKEN)
async def test_without_a_record_the_write_is_refused_and_reads_go_on(
    tmp_path: Path, broken: Callable[[Path], Path], confirm: str, mode: str
) -> None:
    sandbox, person = Sandbox(), yes()
    store = Store(broken(tmp_path))
    async with mcp_client(sandbox, mode=mode, confirm=confirm, store=store, elicitation_callback=person) as client:
        refused = await client.call_tool(WRITE, VALID_ARGUMENTS[WRITE])
        read = await client.call_tool("list_instance", {})
    store.close()

    assert refused.is_error
    assert "sends no writes without it" in text_of(refused)
    assert "--state-dir" in text_of(refused)
    assert not read.is_error
    assert "AddCustomAudienceUser" not in [call.action for call in sandbox.calls]


FULL_DISK = """
import os, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from store_worker import a_write, asked, begun
from cams_mcp.errors import StoreError
from cams_mcp.store import FILE_NAME, Store

store = Store(Path(sys.argv[1]))
kept = asked(store, a_write())
size = (Path(sys.argv[1]) / FILE_NAME).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * float(sys.argv[3])), resource.RLIM_INFINITY))
for attempt in (lambda: begun(store, a_write(), "token", kept), lambda: asked(store, a_write())):
    try:
        attempt()
        raise SystemExit("written although the disk is full")
    except StoreError:
        pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
begun(store, a_write(), "token", kept)
print([entry["event"] for entry in store.audit()])
"""


@posix
@pytest.mark.parametrize("part", [0, 0.01, 0.1, 0.3])
def test_a_full_disk_holds_the_write_back_and_undoes_the_step(tmp_path: Path, part: float) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path, Path(__file__).parent, str(part)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "['asked', 'approved']", "")


@posix
def test_a_record_that_is_taken_away_is_begun_anew_and_old_approvals_are_void(
    sqlite_store: Store, tmp_path: Path
) -> None:
    token = asked(sqlite_store, a_write())
    for path in (tmp_path / "state").iterdir():
        path.unlink()

    with pytest.raises(NotConfirmed):
        begun(sqlite_store, a_write(), "token", token)
    with closing(Store(tmp_path / "state")) as auditor:
        assert events(auditor) == ["blocked"]


# The day's limit


@pytest.mark.parametrize(("outcome", "counts"), [("sent", True), ("unknown", True), (None, True), ("refused", False)])
def test_the_day_counts_what_may_have_arrived(store: BaseStore, outcome: str | None, counts: bool) -> None:
    write = a_write(users=60)
    number = store.begin_unasked(write, per_day=100)
    if outcome:
        store.finish(number, write, "off", Ending(outcome=outcome))

    if counts:
        with pytest.raises(NotConfirmed, match=r"at most 100 users per day.*60 were sent"):
            store.check_limit(write, 100)
        with pytest.raises(NotConfirmed):
            store.begin_unasked(write, per_day=100)
    else:
        store.check_limit(write, 100)
        assert store.begin_unasked(write, per_day=100)


def test_the_day_slides(store: BaseStore, clock: Clock) -> None:
    write = a_write(users=50)
    store.begin_unasked(write, per_day=100)
    clock.time += DAY / 2
    store.begin_unasked(write, per_day=100)
    clock.time += DAY / 2 - 1
    with pytest.raises(NotConfirmed):
        store.begin_unasked(write, per_day=100)
    clock.time += 1
    store.begin_unasked(write, per_day=100)
    with pytest.raises(NotConfirmed):
        store.begin_unasked(write, per_day=100)


def test_the_day_is_not_lengthened_by_setting_the_clock_back(store: BaseStore, clock: Clock) -> None:
    store.begin_unasked(a_write(users=100), per_day=100)
    clock.time -= 10 * DAY

    with pytest.raises(NotConfirmed):
        store.begin_unasked(a_write(users=1), per_day=100)


def test_the_limit_is_each_audiences_own_and_reached_exactly(store: BaseStore) -> None:
    store.begin_unasked(a_write(users=100), per_day=100)
    store.begin_unasked(a_write(audience="another", users=100), per_day=100)
    store.begin_unasked(a_write(users=0), per_day=100)

    with pytest.raises(NotConfirmed):
        store.begin_unasked(a_write(users=1), per_day=100)
    store.check_limit(a_write(users=10_000), None)


def test_the_limit_holds_across_stores_on_one_record_whoever_comes_first(
    open_store: Callable[[], BaseStore],
) -> None:
    with closing(open_store()) as one, closing(open_store()) as two, ThreadPoolExecutor(8) as pool:

        def begin(number: int) -> bool:
            try:
                (one, two)[number % 2].begin_unasked(a_write(str(number), str(number), users=10), per_day=55)
            except NotConfirmed:
                return False
            return True

        assert sum(pool.map(begin, range(16))) == 5


# Earlier writes


@pytest.mark.parametrize("outcome", ["sent", "unknown"])
def test_an_earlier_write_is_told_with_its_time_and_outcome(store: BaseStore, clock: Clock, outcome: str) -> None:
    assert told_earlier(store, a_write()) is None
    number = store.begin_unasked(a_write())
    clock.time += 5
    store.finish(number, a_write(), "off", Ending(outcome=outcome))

    assert told_earlier(store, a_write()) == {"started": START, "outcome": outcome}
    assert told_earlier(store, a_write(list_digest="another list")) is None


def test_a_write_that_never_ended_counts_as_unknown(store: BaseStore) -> None:
    store.begin_unasked(a_write())

    assert told_earlier(store, a_write()) == {"started": START, "outcome": "unknown"}


def test_a_refused_write_is_no_earlier_one(store: BaseStore, clock: Clock) -> None:
    store.finish(store.begin_unasked(a_write()), a_write(), "off", Ending(outcome="sent"))
    clock.time += 5
    store.finish(store.begin_unasked(a_write()), a_write(), "off", Ending(outcome="refused", reason="Throttling"))

    assert told_earlier(store, a_write()) == {"started": START, "outcome": "sent"}


def test_an_earlier_write_is_forgotten_after_its_time_only(store: BaseStore, clock: Clock) -> None:
    store.begin_unasked(a_write())
    for later, known in ((DAY - 1, True), (DAY, False), (-DAY, True)):
        clock.time = START + later
        assert (told_earlier(store, a_write()) is not None) is known


def test_of_several_earlier_writes_the_last_is_told(store: BaseStore, clock: Clock) -> None:
    for _ in range(3):
        clock.time += 10
        store.begin_unasked(a_write())

    assert told_earlier(store, a_write()) == {"started": START + 30, "outcome": "unknown"}


def test_without_asking_a_repetition_is_rejected_until_its_time_is_over(store: BaseStore, clock: Clock) -> None:
    store.begin_unasked(a_write(), hold_seconds=DAY)
    clock.time += DAY - 1
    with pytest.raises(NotConfirmed, match="no one can approve sending it again"):
        store.begin_unasked(a_write("another"), hold_seconds=DAY)
    clock.time += 1

    assert store.begin_unasked(a_write("another"), hold_seconds=DAY)
    assert events(store) == ["approved", "blocked", "approved"]


# Many at once


ATTEMPTS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=2, max_size=6)
BINDINGS = st.lists(st.sampled_from("vwxyz"), min_size=5, max_size=5)


def spend_each_once(one: BaseStore, two: BaseStore, attempts: list[list[int]], bindings: list[str]) -> None:
    """Threads that spend the same approvals through two stores on one record; fails unless each is good once.

    Where two of the five tokens are for the same write, they are for one approval.
    """
    writes = [a_write(binding, f"list {binding}") for binding in bindings]
    tokens = [asked((one, two)[number % 2], write) for number, write in enumerate(writes)]
    won: dict[str, list[int]] = {}
    lost: list[tuple[str, int]] = []
    ready = threading.Barrier(len(attempts))

    def spend(thread: int) -> None:
        ready.wait(10)
        for index in attempts[thread]:
            found = (one, two)[thread % 2].begin(writes[index], "token", tokens[index])
            if isinstance(found, Pending):
                lost.append((bindings[index], found.write))
            else:
                won.setdefault(bindings[index], []).append(found[0])

    with ThreadPoolExecutor(len(attempts)) as pool:
        list(pool.map(spend, range(len(attempts))))

    tried = {bindings[index] for thread in attempts for index in thread}
    assert set(won) == tried
    assert [len(numbers) for numbers in won.values()] == [1] * len(tried)
    assert len({numbers[0] for numbers in won.values()}) == len(tried)
    assert len(lost) == sum(map(len, attempts)) - len(tried)
    assert all([number] == won[binding] for binding, number in lost)
    assert Counter(events(one)) == {"asked": len(set(bindings)), "approved": len(tried)}


@given(attempts=ATTEMPTS, bindings=BINDINGS)
@settings(deadline=None, max_examples=25)
def test_each_approval_is_spent_exactly_once_however_many_try(attempts: list[list[int]], bindings: list[str]) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(Store(Path(directory))) as one,
        closing(Store(Path(directory))) as two,
    ):
        spend_each_once(one, two, attempts, bindings)


def run_at_once(directory: Path | str, processes: int, times: int, name: str = "worker") -> None:
    """Processes that open the store at the same moment; fails if one of them does. Other names send other lists."""
    worker = Path(__file__).with_name("store_worker.py")
    running = [
        subprocess.Popen(
            [sys.executable, worker, directory, f"{name}{index}", str(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(cams_mcp.__file__).parents[1])},
            text=True,
        )
        for index in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in running]
    assert ended == [("", 0)] * processes


def test_several_processes_do_not_corrupt_or_block_each_other(tmp_path: Path) -> None:
    run_at_once(tmp_path / "state", processes=6, times=15)

    with closing(sqlite3.connect(tmp_path / "state" / FILE_NAME)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("SELECT count(*), count(DISTINCT request_id) FROM writes").fetchone() == (90, 90)
        assert raw.execute("SELECT count(*) FROM pending WHERE document LIKE '%\"sent\"%'").fetchone() == (90,)
        assert raw.execute("SELECT count(*) FROM pending_keys").fetchone() == (0,)
        assert raw.execute("SELECT count(*) FROM secret").fetchone() == (1,)
    with closing(Store(tmp_path / "state")) as store:
        assert Counter(events(store)) == {"asked": 90, "approved": 90, "sent": 90}


def test_several_processes_can_make_the_file_at_the_same_moment(tmp_path: Path) -> None:
    for attempt in range(5):
        run_at_once(tmp_path / str(attempt), processes=6, times=1)

        with closing(Store(tmp_path / str(attempt))) as store:
            assert Counter(events(store)) == {"asked": 6, "approved": 6, "sent": 6}


def test_what_a_store_writes_after_others_came_and_went_is_not_lost(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        store.record("blocked", a_write(), "token", "before")
        # Another store of this process, then another process: closing their files must not drop this one's locks.
        with closing(Store(tmp_path)) as neighbour:
            neighbour.record("blocked", a_write(), "token", "neighbour")
        run_at_once(tmp_path, processes=1, times=1)
        store.record("blocked", a_write(), "token", "after")
        run_at_once(tmp_path, processes=1, times=1, name="another")

    with closing(Store(tmp_path)) as store:
        reasons = [entry["reason"] for entry in store.audit() if "reason" in entry]
        assert reasons == ["before", "neighbour", "after"]
        assert Counter(events(store)) == {"blocked": 3, "asked": 2, "approved": 2, "sent": 2}


def test_a_step_that_fails_leaves_nothing_behind(store: BaseStore) -> None:
    token = asked(store, a_write())
    unwritable = replace(a_write(), counts={"users": 1, "emails": object()})

    with pytest.raises(TypeError):
        begun(store, unwritable, "token", token)

    assert events(store) == ["asked"]
    assert begun(store, a_write(), "token", token)
