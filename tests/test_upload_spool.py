"""The people of a checked file on their way: kept, dropped, digested, cut into batches."""

from __future__ import annotations

import json
import random
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TARGET

from cams_mcp.operations.add_custom_audience_user import AddCustomAudienceUserRequest
from cams_mcp.upload.people import Person
from cams_mcp.upload.spool import Batches, Spool, encode_batch, encode_person

quick = settings(deadline=None)

EMAILS = st.integers(0, 8).map("p{}@example.com".format)
PHONES = st.integers(0, 8).map("1202555010{}".format)
PERSON = st.one_of(
    st.builds(Person, EMAILS, PHONES, st.just(1)),
    st.builds(Person, EMAILS, st.just(""), st.just(0)),
    st.builds(Person, st.just(""), PHONES, st.just(1)),
)
LISTS = st.lists(PERSON, max_size=40)


def spooled(people: list[Person], opted_out: list[Person] | None = None, directory: Path | None = None) -> Spool:
    spool = Spool(directory)
    for person in opted_out or []:
        spool.suppress(person)
    for number, person in enumerate(people):
        if person.email and person.phone and number % 2:
            spool.add_simple(person.email, person.phone)
        else:
            spool.add(person)
    spool.finish()
    return spool


def meets(person: Person, opted_out: list[Person]) -> bool:
    return any(
        (person.email and person.email == gone.email) or (person.phone and person.phone == gone.phone)
        for gone in opted_out
    )


@quick
@given(LISTS, st.lists(PERSON, max_size=4), st.integers(0, 10))
def test_kept_are_the_distinct_people_in_order_without_those_who_opted_out(
    people: list[Person], opted_out: list[Person], start: int
) -> None:
    wanted = [person for person in dict.fromkeys(people) if not meets(person, opted_out)]
    with spooled(people, opted_out) as spool:
        assert list(spool.people()) == [encode_person(person) for person in wanted]
        assert list(spool.people(start)) == list(spool.people())[start:]
        assert spool.kept == len(wanted)
        assert spool.suppressed == sum(meets(person, opted_out) for person in people)
        assert spool.added == len(people) == spool.kept + spool.suppressed + spool.duplicates


@quick
@given(LISTS, LISTS, st.randoms(use_true_random=False))
def test_the_digest_is_of_who_is_sent_whatever_the_order(
    people: list[Person], others: list[Person], order: random.Random
) -> None:
    shuffled = order.sample(people + people[:3], len(people) + len(people[:3]))
    with spooled(people) as first, spooled(shuffled) as second, spooled(others) as third:
        assert first.digest == second.digest
        assert (first.digest == third.digest) == (set(people) == set(others))


@quick
@given(st.lists(PERSON, min_size=1, max_size=20))
def test_the_digest_is_that_of_the_same_list_pasted_into_a_call(people: list[Person]) -> None:
    users = [
        {name: value for name, value in (("email", person.email.upper()), ("phone", f"+{person.phone}")) if value[1:]}
        for person in people
    ]
    request = AddCustomAudienceUserRequest.model_validate(TARGET | {"users": users})
    with spooled(people) as spool:
        assert spool.digest == request.contents()


def test_a_digest_leaves_out_who_is_not_sent() -> None:
    people = [Person(f"p{number}@example.com", "", 0) for number in range(10)]
    with spooled(people, people[:3]) as some, spooled(people[3:]) as rest:
        assert some.digest == rest.digest


@pytest.mark.slow
def test_more_people_than_stay_in_memory_are_the_same_people(tmp_path: Path) -> None:
    """Past the point where hashes go to disk, with every tenth a repetition from long before."""
    number = 150_000
    people = [
        Person(f"p{index if index % 10 else index // 2}@example.com", "12025550123", 1) for index in range(number)
    ]
    with spooled(people, [Person("p7@example.com", "", 0)], tmp_path) as spool:
        wanted = [person for person in dict.fromkeys(people) if person.email != "p7@example.com"]
        assert list(spool.people()) == [encode_person(person) for person in wanted]
    assert not list(tmp_path.iterdir())


# Batches

ITEMS = st.lists(st.binary(min_size=1, max_size=30), max_size=60)


def size_of(batch: list[bytes]) -> int:
    return len("Users=") + len(encode_batch(batch))


@quick
@given(ITEMS, st.integers(1, 20), st.integers(20, 200))
def test_batches_lose_nobody_double_nobody_and_stay_under_both_limits(
    people: list[bytes], users: int, size: int
) -> None:
    people = [person.hex().encode() for person in people]
    batches = list(Batches(iter(people), users, size))
    assert [person for batch in batches for person in batch] == people
    for number, batch in enumerate(batches):
        assert 1 <= len(batch) <= users
        assert len(batch) == 1 or size_of(batch) <= size
        if number + 1 < len(batches):
            # And none is smaller than it must be.
            assert len(batch) == users or size_of([*batch, batches[number + 1][0]]) > size


@quick
@given(ITEMS, st.integers(1, 20), st.integers(20, 200), st.data())
def test_giving_back_and_halving_keep_everybody_in_order(
    people: list[bytes], users: int, size: int, data: st.DataObject
) -> None:
    people = [person.hex().encode() for person in people]
    batches = Batches(iter(people), users, size)
    sent: list[bytes] = []
    limit, troubles = users, 0
    while (batch := next(batches, None)) is not None:
        assert len(batch) <= limit
        last = batches.is_last if data.draw(st.booleans()) else None
        assert last is None or last == (len(sent) + len(batch) == len(people))
        trouble = data.draw(st.sampled_from(["", "throttled", "large"])) if troubles < 20 else ""
        if trouble == "throttled":
            batches.give_back(batch)
        elif trouble == "large":
            batches.halve(batch)
            limit = max(1, len(batch) // 2)
        else:
            sent += batch
        troubles += bool(trouble)
    assert sent == people


@pytest.mark.parametrize(
    ("number", "sizes"),
    [
        (0, []),
        (1, [1]),
        (9_999, [9_999]),
        (10_000, [10_000]),
        (10_001, [10_000, 1]),
        (20_000, [10_000, 10_000]),
    ],
)
def test_a_batch_has_up_to_ten_thousand_people(number: int, sizes: list[int]) -> None:
    batches = Batches((b"x" for _ in range(number)), 10_000, 1_000_000)
    found = []
    for batch in batches:
        found.append(len(batch))
        assert batches.is_last == (len(found) == len(sizes))
    assert found == sizes


def test_a_person_larger_than_a_batch_may_be_goes_alone() -> None:
    people = [b"a", b"b" * 100, b"c", b"d"]
    assert list(Batches(iter(people), 10, 25)) == [[b"a"], [b"b" * 100], [b"c", b"d"]]


def test_a_batch_decodes_to_json() -> None:
    people = [Person("a@example.com", "12025550123", 1), Person('q"@example.com', "", 0)]
    text = encode_batch([encode_person(person) for person in people])
    assert json.loads(unquote(text)) == [
        {"Email": "a@example.com", "Phone": "12025550123"},
        {"Email": 'q"@example.com'},
    ]
