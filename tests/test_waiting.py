"""How calls notice that a waiting write was decided: one look at the store for all of them, and none too old."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.from_thread
import pytest
from store_worker import a_write

from cams_mcp.errors import StoreError
from cams_mcp.guard import waiting
from cams_mcp.guard.waiting import Watch
from cams_mcp.store import Asking, Ending, Pending, Store

SECOND = a_write("second", "second")


class Looked(Store):
    """A store that counts looks, and in which something can happen during one of them.

    Attributes:
        fails: how many looks to come meet a store that is busy.
        then: called once, at the end of the next look.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self.looks = 0
        self.fails = 0
        self.then: Any = None

    def pending(self) -> list[Pending]:
        self.looks += 1
        if self.fails:
            self.fails -= 1
            raise StoreError("busy")
        found = super().pending()
        then, self.then = self.then, None
        if then is not None:
            then()
        return found


@pytest.fixture
def store() -> Looked:
    store = Looked()
    put(store)
    return store


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks again on their own."""
    monkeypatch.setattr(waiting, "POLL_SECONDS", 1000.0)


def put(store: Store, write: Any = None) -> Pending:
    pending = store.ask(write or a_write(), "page", Asking(facts=(), seconds=600))
    assert pending is not None
    return pending


async def until(condition: Any) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - what happens in the store raises no event
            await anyio.sleep(0.001)


class Waiters:
    """Calls that wait for decisions."""

    def __init__(self, watch: Watch, group: Any) -> None:
        self.watch = watch
        self.group = group
        self.told: dict[str, Pending | None] = {}

    def start(self, binding: str) -> None:
        async def wait() -> None:
            self.told[binding] = await self.watch.decided(binding)

        self.group.start_soon(wait)


@pytest.mark.usefixtures("never")
async def test_a_write_that_is_asked_about_right_after_a_look_is_not_taken_for_a_withdrawn_one(store: Looked) -> None:
    watch = Watch(store)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            waiters = Waiters(watch, group)
            waiters.start("b")
            await until(lambda: store.looks == 1)
            second = put(store, SECOND)
            waiters.start("second")
            await until(lambda: store.looks == 2)
            await anyio.wait_all_tasks_blocked()
            assert waiters.told == {}
            store.decide(second.id, approve=True, channel="page")
            watch.poke()
            await until(lambda: waiters.told)
            assert [pending and pending.state for pending in waiters.told.values()] == ["approved"]
            group.cancel_scope.cancel()


async def test_a_store_that_is_busy_for_a_moment_decides_nothing(
    store: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.001)
    store.fails = 5
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            waiters = Waiters(Watch(store), group)
            waiters.start("b")
            await until(lambda: store.looks > 6)
            assert waiters.told == {}
            store.decide(put(store).id, approve=False, channel="page")
            await until(lambda: waiters.told)

    told = waiters.told["b"]
    assert told is not None
    assert told.state == "declined"


@pytest.mark.usefixtures("never")
async def test_all_who_wait_share_one_look(store: Looked) -> None:
    async with anyio.create_task_group() as group:
        waiters = Waiters(Watch(store), group)
        for _ in range(100):
            waiters.start("b")
        await until(lambda: store.looks)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert store.looks == 1


@pytest.mark.usefixtures("never")
async def test_a_decision_in_this_process_is_noticed_at_once_even_during_a_look(store: Looked) -> None:
    watch = Watch(store)
    pending = put(store)

    def decide() -> None:
        store.decide(pending.id, approve=True, channel="page")
        anyio.from_thread.run_sync(watch.poke)

    store.then = decide
    with anyio.fail_after(10):
        told = await watch.decided("b")

    assert told is not None
    assert told.state == "approved"


@pytest.mark.usefixtures("never")
async def test_a_write_that_was_withdrawn_is_told_as_none(store: Looked) -> None:
    store.withdraw(a_write(), "dismissed", hold=False)

    assert await Watch(store).decided("b") is None
    assert await Watch(store).outcome("b") is None


@pytest.mark.usefixtures("never")
async def test_an_outcome_is_waited_for_from_the_sending_on(store: Looked) -> None:
    watch = Watch(store)
    store.decide(put(store).id, approve=True, channel="page")
    store.begin(a_write(), "page", None)
    told: list[Pending | None] = []

    async def wait() -> None:
        told.append(await watch.outcome("b"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await until(lambda: store.looks)
            await anyio.wait_all_tasks_blocked()
            assert told == []
            store.finish(1, a_write(), "page", Ending(outcome="unknown"))
            watch.poke()

    assert [pending and pending.outcome for pending in told] == [{"outcome": "unknown"}]
