"""A write that waits: asked about, joined, decided, spent, settled, forgotten, expired; in each kind of store."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_worker import a_write, asked, begun
from support_redis import RedisServer

from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed
from cams_mcp.facts import Fact
from cams_mcp.store import FILE_NAME, Asking, BaseStore, Ending, Pending, Store, Write
from cams_mcp.store.pending import DECLINED_SECONDS, MOST_KEYS, MOST_WAITING
from cams_mcp.store.records import ENDED
from cams_mcp.store.redis import RedisStore
from cams_mcp.store.rules import NEVER_SENT, SAME_DECLINED, SENT_MEANWHILE

START = 1_800_000_000.0
SECONDS = 600.0
SAMPLE = "m***@example.com"
FACTS = (
    Fact("audience", "name", "VIP"),
    Fact("users", "number", 3),
    Fact("samples", "samples", [["email", SAMPLE]]),
    Fact("few", "warning", value=True),
)
OTHER_ORDER = a_write("the same people in another order")
OTHER_LIST = a_write("another", "another list")


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[], BaseStore]:
    """Opens the same record once more: that of another process, or of another host."""
    if request.param == "sqlite":
        return lambda: Store(tmp_path / "state", clock)
    server: RedisServer = request.getfixturevalue("redis")
    return lambda: RedisStore(server.url, clock)


@pytest.fixture
def store(open_store: Callable[[], BaseStore]) -> Iterator[BaseStore]:
    with closing(open_store()) as store:
        yield store


@pytest.fixture
def other(open_store: Callable[[], BaseStore]) -> Iterator[BaseStore]:
    with closing(open_store()) as store:
        yield store


def put(store: BaseStore, write: Write | None = None, channel: Channel = "page", **asking: Any) -> Pending:
    """Ask about a write at a door, or join the question that is there."""
    pending = store.ask(write or a_write(), channel, Asking(**{"facts": FACTS, "seconds": SECONDS} | asking))
    assert pending is not None
    return pending


def only(store: BaseStore) -> Pending:
    (pending,) = store.pending()
    return pending


def decide(store: BaseStore, write: Write, *, approve: bool) -> Pending | None:
    pending = store.pending_of(write.binding)
    assert pending is not None
    return store.decide(pending.id, approve=approve, channel="page")


def trail(store: BaseStore) -> list[str]:
    return [entry["event"] for entry in store.audit()]


# Asking and joining


def test_a_question_that_nobody_put_cannot_be_joined(store: BaseStore) -> None:
    assert store.ask(a_write(), "page", Asking(seconds=SECONDS)) is None
    assert store.pending() == []
    assert trail(store) == []


def test_a_question_is_put_with_all_that_a_door_shows(store: BaseStore, other: BaseStore) -> None:
    write = a_write(principal="ada", client="Desk 1.0")
    pending = put(store, write)

    assert only(other) == pending == other.pending_of(write.binding)
    assert (pending.state, pending.channel, pending.by, pending.decided) == ("waiting", "page", "", 0)
    assert (pending.principal, pending.client, pending.operation) == ("ada", "Desk 1.0", "AddCustomAudienceUser")
    assert (pending.asked, pending.expires) == (START, START + SECONDS)
    assert pending.facts == FACTS
    assert len(pending.id) == 8
    assert pending.id.isalnum()
    assert pending.id.isupper()


def test_identical_calls_join_one_question(store: BaseStore, other: BaseStore, clock: Clock) -> None:
    first = put(store)
    clock.time += 60
    joined = [other.ask(a_write(), "elicitation", Asking(seconds=SECONDS)), put(other, facts=())]

    assert [each and each.id for each in joined] == [first.id, first.id]
    found = only(store)
    assert (found.id, found.facts, found.expires) == (first.id, FACTS, START + SECONDS)
    assert trail(store) == ["asked"]


@pytest.mark.parametrize(
    "write",
    [OTHER_ORDER, OTHER_LIST, a_write("b of another principal", principal="ada")],
    ids=["order", "list", "principal"],
)
def test_other_calls_have_a_question_of_their_own(store: BaseStore, write: Write) -> None:
    ids = [put(store).id, put(store, write).id]

    assert {pending.id for pending in store.pending()} == set(ids)
    assert len(set(ids)) == 2
    assert trail(store) == ["asked", "asked"]


def test_questions_are_listed_oldest_first_whatever_became_of_them(store: BaseStore, clock: Clock) -> None:
    writes = [a_write(f"{9 - number}", f"{number}") for number in range(4)]
    ids: list[str] = []
    for write in writes:
        ids.append(put(store, write).id)
        clock.time += 1
    store.decide(ids[2], approve=True, channel="page")
    store.decide(ids[0], approve=False, channel="page")

    assert [(pending.id, pending.state) for pending in store.pending()] == [
        (ids[0], "declined"),
        (ids[1], "waiting"),
        (ids[2], "approved"),
        (ids[3], "waiting"),
    ]


def test_at_most_so_many_tokens_of_one_question_are_good_at_a_time(store: BaseStore) -> None:
    tokens = [asked(store, a_write()) for _ in range(MOST_KEYS + 1)]

    with pytest.raises(NotConfirmed, match="already used"):
        store.begin(a_write(), "token", tokens[0])
    assert begun(store, a_write(), "token", tokens[1])


def test_a_write_that_waits_for_a_person_cannot_be_approved_by_a_token(store: BaseStore) -> None:
    put(store, channel="page")
    token = asked(store, a_write())

    with pytest.raises(NotConfirmed, match="already used"):
        store.begin(a_write(), "token", token)
    assert only(store).state == "waiting"


def test_a_person_can_approve_a_write_whose_token_nobody_used(store: BaseStore) -> None:
    token = asked(store, a_write())
    store.decide(only(store).id, approve=True, channel="approve")

    assert store.begin(a_write(), "token", token) == (1, "approve")


def test_a_token_may_end_before_the_question_does(store: BaseStore, clock: Clock) -> None:
    token = asked(store, a_write(), "elicitation", token_seconds=120.0)
    put(store)
    clock.time += 120

    assert only(store).state == "waiting"
    with pytest.raises(NotConfirmed, match="already used, or expired"):
        store.begin(a_write(), "elicitation", token)
    assert "approved" not in trail(store)


def test_the_token_of_another_write_is_void_and_leaves_other_tokens_good(store: BaseStore) -> None:
    wrong, right = (asked(store, a_write()) for _ in range(2))
    put(store, OTHER_LIST)

    with pytest.raises(NotConfirmed, match="for a different call"):
        store.begin(OTHER_LIST, "token", wrong)
    with pytest.raises(NotConfirmed, match="already used"):
        store.begin(a_write(), "token", wrong)
    assert begun(store, a_write(), "token", right)
    assert store.pending_of(OTHER_LIST.binding) is not None


def test_asking_again_in_place_of_a_question_keeps_the_write_and_voids_the_token(store: BaseStore) -> None:
    first = asked(store, a_write(), "elicitation")
    waiting = only(store)
    second = asked(store, a_write(), "elicitation", replaces=first)

    assert only(store).id == waiting.id
    with pytest.raises(NotConfirmed):
        store.begin(a_write(), "elicitation", first)
    assert begun(store, a_write(), "elicitation", second)


# Deciding


@pytest.mark.parametrize(("approve", "state"), [(True, "approved"), (False, "declined")])
def test_a_decision_says_where_by_whom_and_when(
    store: BaseStore, other: BaseStore, clock: Clock, state: str, *, approve: bool
) -> None:
    pending = put(store)
    clock.time += 60
    decided = other.decide(pending.id, approve=approve, channel="card", by="ada@laptop")

    assert decided is not None
    assert only(store) == decided
    assert (decided.state, decided.channel, decided.by, decided.decided) == (state, "card", "ada@laptop", START + 60)
    assert [fact.kind for fact in decided.facts] == ["name", "number", "warning"]
    entry = store.audit()[-1]
    assert (entry["event"], entry["channel"], entry["by"]) == (state, "card", "ada@laptop")
    assert entry["digest"] == a_write().binding


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_the_first_decision_counts(store: BaseStore, other: BaseStore, *, first: bool, second: bool) -> None:
    pending = put(store)
    decided = store.decide(pending.id, approve=first, channel="page", by="ada")

    assert other.decide(pending.id, approve=second, channel="card", by="eve") == decided
    assert only(store) == decided
    assert trail(store) == ["asked", "approved" if first else "declined"]


def test_what_was_sent_cannot_be_decided_any_more(store: BaseStore) -> None:
    begun(store, a_write(), "token", asked(store, a_write()))
    spent = only(store)

    for approve in (True, False):
        assert store.decide(spent.id, approve=approve, channel="page") == spent
    assert trail(store) == ["asked", "approved"]


@pytest.mark.parametrize("approval_id", ["", "22222222", "b", "' OR 1=1 --", "k7qx2mpd"])
@pytest.mark.parametrize("approve", [True, False])
def test_an_id_that_nobody_gave_decides_nothing(store: BaseStore, approval_id: str, *, approve: bool) -> None:
    put(store)

    assert store.decide(approval_id, approve=approve, channel="page") is None
    assert only(store).state == "waiting"
    assert trail(store) == ["asked"]


@pytest.mark.parametrize("approve", [True, False])
def test_somebody_elses_write_cannot_be_decided_by_its_id(store: BaseStore, *, approve: bool) -> None:
    pending = put(store, a_write(principal="ada"))

    assert store.decide(pending.id, approve=approve, channel="card", principal="eve") is None
    assert only(store).state == "waiting"
    assert store.decide(pending.id, approve=approve, channel="card", principal="ada") is not None


@pytest.mark.parametrize("later", [SECONDS, 1e6, -0.1, -1e6])
@pytest.mark.parametrize("approve", [True, False])
def test_a_question_that_is_over_cannot_be_decided(
    store: BaseStore, clock: Clock, later: float, *, approve: bool
) -> None:
    pending = put(store)
    clock.time += later

    assert store.decide(pending.id, approve=approve, channel="page") is None
    assert store.pending() == []
    assert trail(store) == ["asked", "expired"]


def test_a_write_that_waits_is_not_sent(store: BaseStore) -> None:
    put(store)

    with pytest.raises(NotConfirmed):
        store.begin(a_write(), "page", None)
    assert only(store).state == "waiting"
    assert trail(store) == ["asked", "blocked"]


@pytest.mark.parametrize("sends", ["page", "approve", "elicitation", "token"])
def test_an_approved_write_is_sent_once_by_whoever_comes(store: BaseStore, other: BaseStore, sends: Channel) -> None:
    store.decide(put(store).id, approve=True, channel="card", by="ada")

    assert other.begin(a_write(), sends, None) == (1, "card")
    again = store.begin(a_write(), sends, None)
    assert isinstance(again, Pending)
    assert (again.state, again.write, again.channel, again.by, again.outcome) == ("spent", 1, "card", "ada", None)
    assert trail(store) == ["asked", "approved"]


def test_an_approved_write_is_not_asked_about_again(store: BaseStore) -> None:
    approved = store.decide(put(store).id, approve=True, channel="page")

    assert put(store, channel="elicitation") == approved
    assert trail(store) == ["asked", "approved"]


def test_an_approval_for_one_list_is_none_for_another(store: BaseStore) -> None:
    store.decide(put(store).id, approve=True, channel="page")

    for write in (OTHER_ORDER, OTHER_LIST, a_write("b of another principal", principal="ada")):
        with pytest.raises(NotConfirmed):
            store.begin(write, "page", None)
    assert only(store).state == "approved"


def test_an_approval_is_void_once_the_same_list_was_sent(store: BaseStore) -> None:
    store.decide(put(store).id, approve=True, channel="page")
    store.begin_unasked(OTHER_ORDER)

    with pytest.raises(NotConfirmed, match="after this question was asked"):
        store.begin(a_write(), "page", None)
    assert store.pending() == []
    assert [entry["reason"] for entry in store.audit() if entry["event"] == "expired"] == [SENT_MEANWHILE]


@pytest.mark.parametrize("state", ["waiting", "approved"])
def test_a_question_is_put_anew_once_the_same_list_was_sent(store: BaseStore, clock: Clock, state: str) -> None:
    first = put(store)
    if state == "approved":
        store.decide(first.id, approve=True, channel="page")
    clock.time += 5
    store.begin_unasked(OTHER_ORDER)
    assert store.ask(a_write(), "page", Asking(seconds=SECONDS)) is None
    second = put(store, hold_seconds=60.0)

    assert (second.state, second.asked) == ("waiting", START + 5)
    assert second.id != first.id
    assert second.facts == (Fact("earlier", "warning", {"started": START + 5, "outcome": "unknown"}), *FACTS)
    assert [entry["reason"] for entry in store.audit() if entry["event"] == "expired"] == [SENT_MEANWHILE]
    assert only(store) == second


def test_an_approved_write_over_the_days_limit_is_not_sent_and_not_approved_any_more(store: BaseStore) -> None:
    store.decide(put(store).id, approve=True, channel="page")

    with pytest.raises(NotConfirmed, match="at most 0 users per day"):
        store.begin(a_write(), "page", None, per_day=0)
    with pytest.raises(NotConfirmed, match="already used"):
        store.begin(a_write(), "page", None)
    assert trail(store)[:3] == ["asked", "approved", "blocked"]


# A no


def test_after_a_no_nobody_is_asked_about_the_list_for_ten_minutes(store: BaseStore, clock: Clock) -> None:
    pending = put(store)
    clock.time += SECONDS - 1  # counted from the no, not from the question
    store.decide(pending.id, approve=False, channel="page")

    for later in (0, DECLINED_SECONDS - 1):
        clock.time = START + SECONDS - 1 + later
        for write in (a_write(), OTHER_ORDER):
            with pytest.raises(NotConfirmed, match="a person declined this write"):
                put(store, write)
        with pytest.raises(NotConfirmed, match="a person declined this write"):
            store.begin(a_write(), "page", None)
    clock.time += 1
    assert {put(store, write).state for write in (a_write(), OTHER_ORDER)} == {"waiting"}


@pytest.mark.parametrize("write", [OTHER_LIST, a_write("of another", principal="ada")], ids=["list", "principal"])
def test_a_no_is_about_this_list_of_this_principal(store: BaseStore, write: Write) -> None:
    store.decide(put(store).id, approve=False, channel="page")

    assert put(store, write).state == "waiting"


def test_a_no_to_the_rest_of_an_upload_is_about_its_whole_list_too(store: BaseStore) -> None:
    rest = a_write("rest", "whole", part_digest="part")
    store.decide(put(store, rest).id, approve=False, channel="page")

    for write in (a_write("whole", "whole"), a_write("part", "part")):
        with pytest.raises(NotConfirmed, match="a person declined"):
            put(store, write)


@pytest.mark.parametrize("state", ["waiting", "approved"])
def test_a_no_ends_every_write_of_the_same_contents_that_is_not_sent_yet(store: BaseStore, state: str) -> None:
    same, different = put(store, OTHER_ORDER), put(store, OTHER_LIST)
    if state == "approved":
        store.decide(same.id, approve=True, channel="page")
    store.decide(put(store).id, approve=False, channel="card")

    with pytest.raises(NotConfirmed, match="a person declined"):
        store.begin(OTHER_ORDER, "page", None)
    assert {pending.state for pending in store.pending() if pending.id != different.id} == {"declined"}
    assert store.pending_of(OTHER_LIST.binding) == different
    assert [entry.get("reason") for entry in store.audit()][-2:-1] == [SAME_DECLINED]


def test_a_list_without_people_is_held_by_itself_only(store: BaseStore) -> None:
    one, two = (a_write(binding, list_digest="") for binding in ("one", "two"))
    store.decide(put(store, one).id, approve=False, channel="page")

    assert put(store, two).state == "waiting"
    with pytest.raises(NotConfirmed, match="a person declined"):
        put(store, one)


def end_by_token(store: BaseStore, *, hold: bool) -> object:
    token = asked(store, a_write(), "elicitation", facts=FACTS)
    return store.decline(a_write(), token, "the person's answer", hold=hold)


def end_in_the_call(store: BaseStore, *, hold: bool) -> object:
    put(store, channel="elicitation")
    return store.withdraw(a_write(), "the person's answer", hold=hold)


@pytest.mark.parametrize("end", [end_by_token, end_in_the_call])
def test_only_a_no_holds_the_list(store: BaseStore, end: Callable[..., object]) -> None:
    assert end(store, hold=False) is None
    assert store.pending() == []
    assert end(store, hold=True) is None
    assert only(store).state == "declined"
    with pytest.raises(NotConfirmed, match="a person declined"):
        put(store)
    assert trail(store) == ["asked", "declined", "asked", "declined", "blocked"]
    assert {entry["reason"] for entry in store.audit() if entry["event"] == "declined"} == {"the person's answer"}


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("state", ["approved", "spent"])
def test_a_late_answer_does_not_undo_a_yes_from_another_door(store: BaseStore, state: str, *, hold: bool) -> None:
    token = asked(store, a_write(), "elicitation")
    store.decide(only(store).id, approve=True, channel="page")
    if state == "spent":
        begun(store, a_write(), "page", None)
    before = only(store)

    assert store.decline(a_write(), token, "the user declined", hold=hold) == before
    assert store.withdraw(a_write(), "the user declined", hold=hold) == before
    assert only(store) == before
    assert trail(store) == ["asked", "approved"]


def test_only_a_no_ends_a_question_that_others_have_joined(store: BaseStore, other: BaseStore) -> None:
    first = put(store, channel="elicitation")
    assert store.withdraw(OTHER_LIST, "the call ended", hold=False) is None
    put(other, channel="elicitation")
    store.withdraw(a_write(), "the user dismissed the question", hold=False)
    assert (only(store).id, only(store).state) == (first.id, "waiting")

    store.withdraw(a_write(), "the user declined", hold=True)
    assert only(store).state == "declined"


def test_a_question_is_only_dismissed_where_it_waits_and_the_trail_names_the_door_of_a_no(store: BaseStore) -> None:
    put(store, channel="page")
    store.withdraw(a_write(), "the user dismissed the question", hold=False, channel="elicitation")
    assert only(store).state == "waiting"

    store.withdraw(a_write(), "the user declined", hold=True, channel="elicitation")
    assert only(store).channel == "elicitation"
    assert [(entry["event"], entry["channel"]) for entry in store.audit()] == [
        ("asked", "page"),
        ("declined", "elicitation"),
    ]


def test_a_person_at_a_terminal_may_reconsider_and_nobody_else(store: BaseStore, clock: Clock) -> None:
    store.decide(put(store).id, approve=False, channel="page")
    clock.time += 60
    reconsidered = put(store, channel="terminal", by_hand=True)
    assert reconsidered.state == "waiting"
    with pytest.raises(NotConfirmed, match="a person declined"):
        put(store)
    with pytest.raises(NotConfirmed, match="a person declined"):
        put(store, OTHER_ORDER)

    store.decide(reconsidered.id, approve=True, channel="terminal", by="ada@laptop")
    assert store.begin(a_write(), "terminal", None) == (1, "terminal")


def test_a_person_who_closes_the_terminal_has_still_said_no(store: BaseStore, clock: Clock) -> None:
    store.decide(put(store).id, approve=False, channel="page")
    clock.time += 60
    put(store, channel="terminal", by_hand=True)
    store.withdraw(a_write(), "the user dismissed the question", hold=False)

    clock.time = START + DECLINED_SECONDS - 1
    with pytest.raises(NotConfirmed, match="a person declined"):
        put(store)
    clock.time += 1
    assert put(store).state == "waiting"


# Five at most


def test_five_writes_of_a_principal_wait_at_a_time(store: BaseStore, clock: Clock) -> None:
    writes = [a_write(f"{number}", f"list {number}") for number in range(MOST_WAITING + 1)]
    waiting = [put(store, write) for write in writes[:-1]]
    for given in ({}, {"facts": None}):
        with pytest.raises(NotConfirmed, match="5 writes are already waiting"):
            put(store, writes[-1], **given)
    assert trail(store) == [*["asked"] * 5, "blocked", "blocked"]

    assert put(store, writes[0]).id == waiting[0].id, "joining is no new question"
    assert put(store, replace(writes[-1], principal="ada")).state == "waiting", "another principal"
    store.decide(waiting[0].id, approve=True, channel="page")
    assert put(store, replace(writes[-1], binding="the sixth")).state == "waiting", "a decided one waits no more"
    clock.time += SECONDS
    assert put(store, a_write("after they expired", "later")).state == "waiting"


def test_the_oldest_preview_gives_way_to_a_new_one_and_to_nothing_else(store: BaseStore, clock: Clock) -> None:
    """Nobody can decline a preview through the assistant; a question in front of a person stays."""
    put(store, a_write("at the page", "at the page"))
    tokens: list[str] = []
    for number in range(MOST_WAITING):
        clock.time += 1
        tokens.append(asked(store, a_write(f"{number}", f"list {number}")))

    assert [pending.binding for pending in store.pending()] == ["at the page", "1", "2", "3", "4"]
    assert Counter(trail(store)) == {"asked": MOST_WAITING + 1, "expired": 1}
    with pytest.raises(NotConfirmed, match="already used"):
        store.begin(a_write("0", "list 0"), "token", tokens[0])
    with pytest.raises(NotConfirmed, match="5 writes are already waiting"):
        put(store, a_write("another at the page", "another"))
    assert begun(store, a_write("4", "list 4"), "token", tokens[4])


def test_a_question_does_not_give_way_to_a_preview(store: BaseStore) -> None:
    for number in range(MOST_WAITING):
        put(store, a_write(f"{number}", f"list {number}"))

    with pytest.raises(NotConfirmed, match="5 writes are already waiting"):
        asked(store, a_write())
    assert [pending.state for pending in store.pending()] == ["waiting"] * MOST_WAITING


def test_a_question_that_its_client_did_not_answer_in_time_keeps_nobody_from_being_asked(
    store: BaseStore, clock: Clock
) -> None:
    for number in range(MOST_WAITING):
        asked(store, a_write(f"{number}", f"list {number}"), "elicitation", token_seconds=120.0)
    clock.time += 119
    with pytest.raises(NotConfirmed, match="5 writes are already waiting"):
        put(store)
    clock.time += 1

    assert put(store).state == "waiting"
    assert len(store.pending()) == MOST_WAITING + 1


def test_a_write_reaches_the_card_only_while_it_waits(store: BaseStore, clock: Clock) -> None:
    assert put(store, OTHER_LIST, channel="card").at_card
    pending = put(store, channel="elicitation")
    assert not pending.at_card
    for channel in ("page", "approve"):
        assert store.reached(pending, channel) == only_of(store, pending)
        assert not only_of(store, pending).at_card
    reached = store.reached(pending, "card")
    assert reached == only_of(store, pending) == replace(pending, at_card=True)

    decided = store.decide(pending.id, approve=False, channel="page")
    assert store.reached(pending, "card") == decided
    clock.time += DECLINED_SECONDS
    assert store.reached(pending, "card") is None


def only_of(store: BaseStore, pending: Pending) -> Pending:
    found = store.pending_of(pending.binding)
    assert found is not None
    return found


def test_a_thousand_asks_leave_five_waiting(store: BaseStore, other: BaseStore) -> None:
    def ask(number: int) -> bool:
        try:
            put((store, other)[number % 2], a_write(f"{number}", f"list {number}"))
        except NotConfirmed:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(ask, range(1000))) == MOST_WAITING
    assert [pending.state for pending in store.pending()] == ["waiting"] * MOST_WAITING
    assert Counter(trail(store)) == {"asked": MOST_WAITING, "blocked": 1000 - MOST_WAITING}


# What becomes of it

SENT = {"outcome": "sent", "result": {"status": "sent", "request_id": "R-1"}}


def test_the_outcome_is_kept_for_identical_calls_until_the_approval_would_have_expired(
    open_store: Callable[[], BaseStore], clock: Clock
) -> None:
    with closing(open_store()) as store:
        store.decide(put(store).id, approve=True, channel="page")
        clock.time += 30
        number = begun(store, a_write(), "page", None)
        store.finish(number, a_write(), "page", Ending(outcome="sent", request_id="R-1", result=SENT["result"]))

    clock.time = START + SECONDS - 1
    with closing(open_store()) as store:
        for found in (store.begin(a_write(), "page", None), put(store), store.pending_of("b"), only(store)):
            assert isinstance(found, Pending)
            assert (found.state, found.write, found.outcome, found.keys) == ("spent", number, SENT, ())
        clock.time += 1
        assert store.pending_of("b") is None
        assert store.pending() == []
        with pytest.raises(NotConfirmed, match="already used"):
            store.begin(a_write(), "page", None)
        assert trail(store) == ["asked", "approved", "sent", "blocked"]


def test_an_unknown_outcome_is_kept_too(store: BaseStore) -> None:
    number = begun(store, a_write(), "token", asked(store, a_write()))
    store.finish(number, a_write(), "token", Ending(outcome="unknown", error="no answer"))

    assert only(store).outcome == {"outcome": "unknown", "error": "no answer"}


def test_a_refused_write_may_be_asked_about_anew_once_the_caller_has_heard_of_it(store: BaseStore) -> None:
    number = begun(store, a_write(), "token", asked(store, a_write()))
    store.finish(number, a_write(), "token", Ending(outcome="refused", error="Throttling"))

    assert store.pending() == []
    assert put(store).state == "waiting"


def test_a_refusal_that_nobody_heard_of_is_kept_until_somebody_has(store: BaseStore, other: BaseStore) -> None:
    store.decide(put(store).id, approve=True, channel="page")
    number = begun(store, a_write(), "approve", None)
    store.finish(number, a_write(), "page", Ending(outcome="refused", error="Throttling", is_reported=False))

    told = other.begin(a_write(), "page", None)
    assert isinstance(told, Pending)
    assert told.outcome == {"outcome": "refused", "error": "Throttling"}
    other.forget(told)
    assert store.pending() == []
    other.forget(told)
    assert put(store).state == "waiting"


def test_only_the_write_that_was_told_is_forgotten(store: BaseStore) -> None:
    store.decide(put(store).id, approve=True, channel="page")
    number = begun(store, a_write(), "approve", None)
    store.finish(number, a_write(), "page", Ending(outcome="refused", is_reported=False))
    told = only(store)
    store.forget(told)
    second = put(store)
    store.forget(told)
    assert only(store) == second

    store.decide(second.id, approve=True, channel="page")
    number = begun(store, a_write(), "approve", None)
    store.finish(number, a_write(), "page", Ending(outcome="refused", is_reported=False))
    assert only(store).outcome == told.outcome
    store.forget(told)
    assert only(store).state == "spent"


def test_the_outcome_of_an_earlier_write_is_not_that_of_a_later_one(store: BaseStore, clock: Clock) -> None:
    """The first one's answer comes after its approval expired, and the same list was approved and begun again."""
    first = begun(store, a_write(), "token", asked(store, a_write()))
    clock.time += SECONDS
    second = begun(store, a_write(), "token", asked(store, a_write()))
    store.finish(first, a_write(), "token", Ending(outcome="refused", error="the first one"))
    assert (only(store).write, only(store).outcome) == (second, None)

    store.finish(second, a_write(), "token", Ending(outcome="sent", result=SENT["result"]))
    assert only(store).outcome == SENT


def test_a_write_without_a_question_leaves_none_behind(store: BaseStore) -> None:
    number = store.begin_unasked(a_write())
    store.finish(number, a_write(), "off", Ending(outcome="sent", result=SENT["result"]))

    assert store.pending() == []


# When it is over


@pytest.mark.parametrize("later", [SECONDS, 1e6, -0.1, -1e6])
@pytest.mark.parametrize(
    ("state", "ends"),
    [
        ("waiting", [("expired", None)]),
        ("approved", [("approved", None), ("expired", NEVER_SENT)]),
        ("declined", [("declined", "a person declined")]),
        ("spent", [("approved", None), ("sent", None)]),
    ],
)
def test_what_has_expired_or_comes_from_the_future_is_over_once(
    store: BaseStore, other: BaseStore, clock: Clock, state: str, ends: list[tuple[str, str | None]], later: float
) -> None:
    pending = put(store)
    if state != "waiting":
        store.decide(pending.id, approve=state != "declined", channel="page")
    if state == "spent":
        number = begun(store, a_write(), "page", None)
        store.finish(number, a_write(), "page", Ending(outcome="sent"))
    assert only(other).state == state
    clock.time += later

    assert store.pending_of("b") is None, "although nobody has recorded its end yet"
    for each in (store, other, store):
        assert each.pending() == []
        assert each.pending_of("b") is None
        with pytest.raises(NotConfirmed, match="already used, or expired"):
            each.begin(a_write(), "page", None)
    found = [(entry["event"], entry.get("reason")) for entry in store.audit() if entry["event"] != "blocked"]
    assert found == [("asked", None), *ends]
    assert put(other).state == "waiting"


def test_an_approval_from_before_the_clock_was_set_back_stays_void_when_the_clock_comes_round_again(
    store: BaseStore, clock: Clock
) -> None:
    store.decide(put(store).id, approve=True, channel="page")
    clock.time -= 3600
    assert store.pending() == []
    clock.time += 3600

    with pytest.raises(NotConfirmed):
        store.begin(a_write(), "page", None)


def test_what_a_person_approved_outlives_the_process_and_is_sent_once_in_its_time(
    open_store: Callable[[], BaseStore], clock: Clock
) -> None:
    with closing(open_store()) as store:
        store.decide(put(store).id, approve=True, channel="page")
    clock.time += SECONDS - 1
    with closing(open_store()) as store:
        assert put(store).state == "approved"
        assert store.begin(a_write(), "page", None) == (1, "page")
    with closing(open_store()) as store:
        assert isinstance(store.begin(a_write(), "page", None), Pending)


# A process that is killed

CRASHING = str(Path(__file__).with_name("crashing_store.py"))


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "state") if request.param == "sqlite" else request.getfixturevalue("redis").url


def test_the_outcome_of_a_write_whose_process_was_killed_is_unknown_to_identical_calls(place: str) -> None:
    done = subprocess.run([sys.executable, CRASHING, place], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with closing(RedisStore(place) if "://" in place else Store(Path(place))) as store:
        if isinstance(store, RedisStore):
            with closing(store._database._client) as client:  # noqa: SLF001 - as if it had not renewed its name
                for key in client.scan_iter("cams-mcp:running:*"):
                    client.delete(key)
        found = store.begin(a_write(), "token", "whatever")

        assert isinstance(found, Pending)
        assert (found.state, found.write) == ("spent", 1)
        assert found.outcome == {"outcome": "unknown", "error": ENDED}
        assert trail(store) == ["asked", "approved", "unknown"]


def test_a_killed_write_is_not_taken_for_a_later_one_of_the_same_list(
    store: BaseStore, open_store: Callable[[], BaseStore], clock: Clock, request: pytest.FixtureRequest
) -> None:
    first = open_store()
    begun(first, a_write(), "token", asked(first, a_write()))
    clock.time += SECONDS
    second = begun(store, a_write(), "token", asked(store, a_write()))
    if isinstance(first, RedisStore):
        server: RedisServer = request.getfixturevalue("redis")
        with server.connect() as client:
            client.delete(f"cams-mcp:running:{first._name}")  # noqa: SLF001 - as if it had not renewed its name
    first.close()

    found = only(store)
    assert trail(store).count("unknown") == 1
    assert (found.write, found.outcome) == (second, None)


# Many at once


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    ready = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        ready.wait(10)
        try:
            return act()
        except NotConfirmed as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def test_of_two_stores_that_decide_at_once_one_wins(store: BaseStore, other: BaseStore) -> None:
    for number in range(20):
        write = a_write(f"{number}", f"list {number}")
        pending = put(store, write)
        one, two = at_once(
            lambda pending=pending: store.decide(pending.id, approve=True, channel="page"),
            lambda pending=pending: other.decide(pending.id, approve=False, channel="card"),
        )

        assert one == two == store.pending_of(write.binding)
        assert one.state in ("approved", "declined")
        assert one.channel == {"approved": "page", "declined": "card"}[one.state]
        assert trail(store)[2 * number :] == ["asked", one.state]


NOES: dict[str, Callable[[BaseStore, Write, str], object]] = {
    "at a door": lambda store, write, _: decide(store, write, approve=False),
    "in the call": lambda store, write, _: store.withdraw(write, "no", hold=True),
    "with the question": lambda store, write, token: store.decline(write, token, "no", hold=True),
    "dismissed": lambda store, write, _: store.withdraw(write, "dismissed", hold=False),
}


@pytest.mark.parametrize("way", NOES)
def test_a_no_and_the_token_at_once_come_to_one_of_both(store: BaseStore, other: BaseStore, way: str) -> None:
    for number in range(20):
        write = a_write(f"{number}", f"list {number}")
        token = asked(store, write)
        begin, _ = at_once(
            lambda write=write, token=token: store.begin(write, "token", token),
            lambda write=write, token=token: NOES[way](other, write, token),
        )

        left = store.pending_of(write.binding)
        if isinstance(begin, NotConfirmed):
            assert left is None if way == "dismissed" else left is not None and left.state == "declined"
        else:
            assert left is not None
            assert (left.state, left.write) == ("spent", begin[0])
    events = Counter(trail(store))
    assert events["approved"] + events["declined"] == events["asked"] == 20


def test_identical_calls_at_once_put_one_question_and_send_once(store: BaseStore, other: BaseStore) -> None:
    found = at_once(*[lambda each=each: put(each) for each in (store, other) * 4])
    assert len({pending.id for pending in found}) == 1
    store.decide(found[0].id, approve=True, channel="page")
    begun_ = at_once(*[lambda each=each: each.begin(a_write(), "page", None) for each in (store, other) * 4])

    ((number, channel),) = [each for each in begun_ if isinstance(each, tuple)]
    assert channel == "page"
    # A step of Redis that starts over leaves a number unused.
    assert [each.write for each in begun_ if isinstance(each, Pending)] == [number] * 7
    assert trail(store) == ["asked", "approved"]


# Samples


DECISIONS: dict[str, Callable[[BaseStore], object]] = {
    "approved": lambda store: decide(store, a_write(), approve=True),
    "declined": lambda store: decide(store, a_write(), approve=False),
    "withdrawn": lambda store: store.withdraw(a_write(), "dismissed", hold=False),
    "declined in the call": lambda store: store.withdraw(a_write(), "no", hold=True),
    "sent with a token": lambda store: begun(store, a_write(), "token", asked(store, a_write())),
    "expired": lambda store: store.pending(),
}


@pytest.mark.parametrize("decision", DECISIONS)
def test_samples_are_gone_from_the_bytes_of_the_file_once_the_write_is_decided(
    tmp_path: Path, clock: Clock, decision: str
) -> None:
    def content() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    with closing(Store(tmp_path / "state", clock)) as store:
        put(store, channel="token")
        for number in range(4):  # enough for the file to have pages that are free afterwards
            put(store, a_write(f"{number}", f"{number}"), facts=(Fact("note", "note", "x" * 5000),))
        assert content().count(SAMPLE.encode()) == 1
        clock.time += SECONDS if decision == "expired" else 0
        DECISIONS[decision](store)

        assert SAMPLE.encode() not in content()


@pytest.mark.parametrize("decision", DECISIONS)
def test_samples_are_gone_from_redis_once_the_write_is_decided(redis: RedisServer, clock: Clock, decision: str) -> None:
    with closing(RedisStore(redis.url, clock)) as store:
        put(store, channel="token")
        assert SAMPLE in redis.content()
        clock.time += SECONDS if decision == "expired" else 0
        DECISIONS[decision](store)

        assert SAMPLE not in redis.content()


def test_redis_keeps_no_index_of_what_is_over(redis: RedisServer, clock: Clock) -> None:
    with closing(RedisStore(redis.url, clock)) as store:
        asked(store, a_write())
        put(store, OTHER_LIST)
        store.withdraw(OTHER_LIST, "dismissed", hold=False)
        clock.time += SECONDS
        store.pending()

    assert "pending" not in redis.content()


# The file of an older version

OLDER = """
DROP TABLE pending;
DROP TABLE pending_keys;
CREATE TABLE approvals (
    token_hash TEXT PRIMARY KEY,
    binding TEXT NOT NULL,
    channel TEXT NOT NULL,
    issued REAL NOT NULL,
    expires REAL NOT NULL,
    seen_write INTEGER NOT NULL,
    entry TEXT NOT NULL DEFAULT '{}'
);
"""


def test_a_file_of_0_2_0_is_taken_over_and_its_open_approvals_are_void(tmp_path: Path, clock: Clock) -> None:
    with closing(Store(tmp_path, clock)) as store:
        salted = store.digest("x")
        store.finish(store.begin_unasked(a_write()), a_write(), "off", Ending(outcome="sent"))
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as raw:
        raw.executescript(OLDER)
        key = hashlib.sha256(b"the token of an older version").hexdigest()
        row = (key, "other", "token", START, START + SECONDS, 1, '{"operation": "AddCustomAudienceUser"}')
        raw.execute("INSERT INTO approvals VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        raw.commit()

    with closing(Store(tmp_path, clock)) as store:
        assert store.digest("x") == salted
        assert trail(store) == ["approved", "sent", "expired"]
        with pytest.raises(NotConfirmed, match="already used"):
            store.begin(a_write("other", "other"), "token", "the token of an older version")
        assert put(store, OTHER_ORDER, hold_seconds=60.0).facts[0].key == "earlier"
        assert begun(store, a_write("third", "third"), "token", asked(store, a_write("third", "third"))) == 2
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as raw:
        assert raw.execute("SELECT * FROM approvals").fetchall() == []
