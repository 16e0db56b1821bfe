"""A write that waits: calls that join it, return, end or are called off, and the process that sends it in the end."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import mcp_types as types
import pytest
from mcp import Client
from support import (
    ERAS,
    TARGET,
    client_of,
    mcp_server,
    people,
    text_of,
    toolbox_over,
    writes_that_arrived,
    yes,
)
from support_approval import (
    AT_ONCE,
    CARDS,
    LIST,
    OTHERS,
    WRITE,
    FakePage,
    bytes_in,
    connected,
    decide,
    events,
    only,
    seen,
    unreachable,
)
from support_raw import LEGACY, raw_client
from support_redis import RedisServer
from support_uploads import Way, breaking, write_people

from cams_mcp.confirmation import Caller, Question, Reply
from cams_mcp.errors import NotConfirmed, StoreError
from cams_mcp.guard import doors, waiting
from cams_mcp.guard.guard import Guard
from cams_mcp.guard.policy import Policy
from cams_mcp.guard.waiting import Watch
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.sandbox import Sandbox
from cams_mcp.store import Store, open_store

both_eras = pytest.mark.parametrize("mode", ERAS)
UPLOAD = "upload_audience_file"
FILE = TARGET | {"path": "people.csv"}
REQUEST = ADD_CUSTOM_AUDIENCE_USER.request.model_validate(LIST)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision in another process is noticed soon."""
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)


class Calls:
    """Calls that run at the same time, and their results in order of their end."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self.results: list[types.CallToolResult] = []
        self._group = group

    def start(self, client: Client, arguments: dict[str, Any] = LIST, tool: str = WRITE, **more: Any) -> None:
        async def run() -> None:
            self.results.append(await client.call_tool(tool, arguments, **more))

        self._group.start_soon(run)


# A call waits


@both_eras
async def test_a_call_waits_reports_that_it_does_and_returns_the_outcome(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(doors, "PROGRESS_SECONDS", 0.001)
    heard: list[tuple[float, str | None]] = []
    enough = anyio.Event()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append((done, message))
        if len(heard) >= 3:
            enough.set()

    store, page = Store(None), FakePage()
    async with connected(sandbox, mode=mode, store=store, page=page) as client, anyio.create_task_group() as group:
        calls = Calls(group)
        calls.start(client, progress_callback=progress)
        await enough.wait()
        assert not calls.results
        await decide(store)

    assert calls.results[0].structured_content["status"] == "sent"
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})
    assert {message for _, message in heard} == {
        f"Waiting for a person to decide on the approval page (id {only(store).id})"
    }
    assert len(writes_that_arrived(sandbox)) == 1


@both_eras
async def test_a_call_that_waited_long_enough_returns_and_the_server_sends_once_it_is_approved(
    sandbox: Sandbox, mode: str
) -> None:
    store, page = Store(None), FakePage()
    policy = Policy(wait_seconds=0.01)
    async with connected(
        sandbox, mode=mode, policy=policy, store=store, page=page, command="cams-mcp approve"
    ) as client:
        waits = await client.call_tool(WRITE, LIST)
        await decide(store)
        await seen(store, "sent")
        again = [await client.call_tool(WRITE, LIST) for _ in range(2)]

    pending = only(store)
    assert waits.structured_content == {
        "status": "awaiting_approval",
        "approval_id": pending.id,
        "preview": 'Add 120 people to the Meta custom audience "VIP-Q1-1"?',
        "next": waits.structured_content["next"],
    }
    assert f"`cams-mcp approve {pending.id}`" in waits.structured_content["next"]
    assert "Once they approve, the server sends the write" in waits.structured_content["next"]
    for result in again:
        assert result.structured_content["status"] == "sent"
        assert "Nothing was sent again" in result.structured_content["next"]
    assert page.shown == 1
    assert len(writes_that_arrived(sandbox)) == 1
    assert events(store) == ["asked", "approved", "sent"]


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_a_server_that_stops_lets_calls_return_and_leaves_their_question_open(
    sandbox: Sandbox, *, is_waiting: bool
) -> None:
    store, page = Store(None), FakePage()
    async with toolbox_over(sandbox, store=store, page=page) as tools, anyio.create_task_group() as group:
        results: list[Any] = []

        async def call() -> None:
            results.append(await tools.call(WRITE, LIST, Caller()))

        if is_waiting:
            group.start_soon(call)
            await page.opened.wait()
            await anyio.wait_all_tasks_blocked()
        assert tools.stop_waiting() == is_waiting
        if not is_waiting:
            group.start_soon(call)

    assert results[0].content["status"] == "awaiting_approval"
    assert only(store).state == "waiting"


@both_eras
@pytest.mark.parametrize(
    ("confirm", "client"), [("card", CARDS), ("person", {}), ("auto", CARDS)], ids=["card", "person", "auto"]
)
async def test_at_the_card_and_the_terminal_a_call_returns_at_once(
    sandbox: Sandbox, confirm: Any, client: dict[str, Any], mode: str
) -> None:
    store = Store(None)
    async with connected(
        sandbox, mode=mode, client=client, policy=Policy(confirm=confirm, wait_seconds=3600), store=store
    ) as connection:
        result = await connection.call_tool(WRITE, LIST)
        await decide(store)
        await seen(store, "sent")

    assert result.structured_content["status"] == "awaiting_approval"
    assert len(writes_that_arrived(sandbox)) == 1


@both_eras
async def test_a_call_that_is_called_off_ends_the_wait_and_not_the_question(sandbox: Sandbox, mode: str) -> None:
    store, page = Store(None), FakePage()
    async with connected(sandbox, mode=mode, store=store, page=page) as client:
        async with anyio.create_task_group() as group:
            Calls(group).start(client)
            await page.opened.wait()
            group.cancel_scope.cancel()
        await client.call_tool("list_instance", {})
        assert only(store).state == "waiting"
        await decide(store)
        await seen(store, "sent")
        again = await client.call_tool(WRITE, LIST)

    assert again.structured_content["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1
    assert events(store) == ["asked", "approved", "sent"]


async def test_a_question_in_the_client_that_is_called_off_stays_open_for_the_call_that_joined_it(
    sandbox: Sandbox,
) -> None:
    withdrawn = threading.Event()

    class Noticing(Store):
        def withdraw(self, *args: Any, **more: Any) -> Any:
            result = super().withdraw(*args, **more)
            withdrawn.set()
            return result

    store = Noticing(None)
    forms = {"elicitation": {"form": {}}}
    async with (
        mcp_server(sandbox, store=store) as server,
        raw_client(server, LEGACY, forms) as first,
        raw_client(server, LEGACY, forms) as second,
    ):
        await first.call(WRITE, LIST)
        asked = await second.call(WRITE, LIST)
        await first.send({"method": "notifications/cancelled", "params": {"requestId": 2}})
        await anyio.to_thread.run_sync(withdrawn.wait, 10)
        await second.answer(asked, {"action": "accept", "content": {"confirm": True}})
        result = (await second.receive())["result"]

    assert result["structuredContent"]["status"] == "sent"
    assert events(store) == ["asked", "approved", "sent"]


# Calls at the same time


@both_eras
async def test_identical_calls_join_one_question_and_all_get_its_outcome(sandbox: Sandbox, mode: str) -> None:
    store, page = Store(None), FakePage()
    async with (
        mcp_server(sandbox, store=store, page=page) as server,
        Client(server, mode=mode) as one,
        Client(server, mode=mode) as other,
        anyio.create_task_group() as group,
    ):
        calls = Calls(group)
        for client in (one, one, other):
            calls.start(client)
        while page.shown < 3:
            await anyio.wait_all_tasks_blocked()
        await decide(store)

    assert [result.structured_content["status"] for result in calls.results] == ["sent"] * 3
    assert len({result.structured_content["request_id"] for result in calls.results}) == 1
    assert len(writes_that_arrived(sandbox)) == 1
    assert events(store) == ["asked", "approved", "sent"]


@both_eras
async def test_different_writes_wait_side_by_side(sandbox: Sandbox, mode: str) -> None:
    store, page = Store(None), FakePage()
    async with (
        connected(sandbox, mode=mode, store=store, page=page) as client,
        anyio.create_task_group() as group,
    ):
        calls = Calls(group)
        for arguments in OTHERS[:5]:
            calls.start(client, arguments)
        while page.shown < 5:
            await anyio.wait_all_tasks_blocked()
        assert not calls.results
        for pending in store.pending():
            await decide(store, approval_id=pending.id)

    assert [result.structured_content["status"] for result in calls.results] == ["sent"] * 5
    assert len(writes_that_arrived(sandbox)) == 5


async def test_calls_of_two_processes_join_too(sandbox: Sandbox, tmp_path: Path) -> None:
    pages = [FakePage(), FakePage()]
    stores = [Store(tmp_path), Store(tmp_path)]
    async with (
        connected(sandbox, store=stores[0], page=pages[0]) as one,
        connected(sandbox, store=stores[1], page=pages[1]) as other,
        anyio.create_task_group() as group,
    ):
        calls = Calls(group)
        calls.start(one)
        calls.start(other)
        for page in pages:
            await page.opened.wait()
        await decide(stores[0])

    assert [result.structured_content["status"] for result in calls.results] == ["sent"] * 2
    assert len(writes_that_arrived(sandbox)) == 1
    assert events(stores[0]) == ["asked", "approved", "sent"]
    for store in stores:
        store.close()


async def test_processes_on_redis_join_and_send_once(sandbox: Sandbox, redis: RedisServer) -> None:
    pages = [FakePage(), FakePage()]
    stores: list[Any] = [open_store(redis.url, None) for _ in range(3)]
    async with (
        connected(sandbox, store=stores[0], page=pages[0]) as one,
        connected(sandbox, store=stores[1], page=pages[1]) as other,
        anyio.create_task_group() as group,
    ):
        calls = Calls(group)
        calls.start(one)
        calls.start(other)
        for page in pages:
            await page.opened.wait()
        await decide(stores[2])

    assert [result.structured_content["status"] for result in calls.results] == ["sent"] * 2
    assert len(writes_that_arrived(sandbox)) == 1
    assert events(stores[2]) == ["asked", "approved", "sent"]
    assert "customer" not in redis.content()
    for store in stores:
        store.close()


@pytest.mark.parametrize("answer", ["accept", "decline", "cancel"])
async def test_an_answer_in_the_client_that_comes_after_a_yes_elsewhere_ends_in_the_outcome(
    sandbox: Sandbox, answer: str
) -> None:
    """The first decision counts, and nobody is told that nothing was sent."""
    store = Store(None)

    async def late(context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        # In the same instant, before this server could notice.
        store.decide(only(store).id, approve=True, channel="approve")
        return types.ElicitResult(action=answer, content={"confirm": True} if answer == "accept" else None)

    async with connected(sandbox, mode="legacy", client={"elicitation_callback": late}, store=store) as client:
        result = await client.call_tool(WRITE, LIST)

    assert result.structured_content["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1
    assert events(store) == ["asked", "approved", "sent"]


async def test_a_yes_in_the_client_that_comes_after_a_no_elsewhere_sends_nothing(sandbox: Sandbox) -> None:
    store = Store(None)

    async def late(context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        store.decide(only(store).id, approve=False, channel="approve")
        return types.ElicitResult(action="accept", content={"confirm": True})

    async with connected(sandbox, mode="legacy", client={"elicitation_callback": late}, store=store) as client:
        result = await client.call_tool(WRITE, LIST)

    assert "a person declined this write" in text_of(result)
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_a_question_that_is_decided_elsewhere_ends_the_one_in_the_client(sandbox: Sandbox, mode: str) -> None:
    store, asked = Store(None), anyio.Event()

    async def think(context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.set()
        if mode == "auto":  # the client of a round trip cannot be told
            await decide(store)
            return types.ElicitResult(action="cancel")
        await anyio.sleep_forever()
        raise AssertionError

    async with (
        connected(sandbox, mode=mode, client={"elicitation_callback": think}, store=store) as client,
        anyio.create_task_group() as group,
    ):
        calls = Calls(group)
        calls.start(client)
        await asked.wait()
        if mode == "legacy":
            await decide(store)

    assert calls.results[0].structured_content["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1


# No


@both_eras
async def test_a_call_that_waits_hears_a_no(sandbox: Sandbox, mode: str) -> None:
    store = Store(None)
    page = FakePage(then=lambda: decide(store, approve=False))
    async with connected(sandbox, mode=mode, store=store, page=page) as client:
        result = await client.call_tool(WRITE, LIST)

    assert result.is_error
    assert "a person declined this write" in text_of(result)
    assert not writes_that_arrived(sandbox)


async def test_a_call_that_waits_hears_that_the_question_ended(sandbox: Sandbox) -> None:
    clock = [1_800_000_000.0]
    store, page = Store(None, now=lambda: clock[0]), FakePage()
    async with (
        connected(sandbox, policy=Policy(wait_seconds=3600), store=store, page=page) as client,
        anyio.create_task_group() as group,
    ):
        calls = Calls(group)
        calls.start(client)
        await page.opened.wait()
        clock[0] += 600

    assert text_of(calls.results[0]).startswith("Nothing was sent")
    assert events(store)[:2] == ["asked", "expired"]
    assert not writes_that_arrived(sandbox)


def by_hand(answer: str) -> Caller:
    """Somebody on a terminal."""

    async def ask(question: Question) -> Reply:
        return Reply(answer, {"confirm": True} if answer == "accept" else None)

    return Caller(ask=ask, ask_channel="terminal")


@pytest.mark.parametrize("answer", ["accept", "decline", "cancel"])
async def test_a_declined_write_can_be_reconsidered_on_a_terminal_and_nowhere_else(
    sandbox: Sandbox, answer: str
) -> None:
    clock = [1_800_000_000.0]
    store = Store(None, now=lambda: clock[0])
    async with client_of(sandbox) as service:
        guard = Guard(service, store, AT_ONCE, page=(page := FakePage()))

        async def submit(caller: Caller) -> str:
            try:
                outcome = await guard.submit(ADD_CUSTOM_AUDIENCE_USER, REQUEST, caller)
            except NotConfirmed as error:
                return str(error)
            return type(outcome).__name__

        assert await submit(Caller()) == "Awaiting"
        await decide(store, approve=False)
        clock[0] += 500
        outcome = await submit(by_hand(answer))
        in_time = await submit(Caller())
        clock[0] += 100
        later = await submit(Caller())

    assert page.shown == (1 if answer != "cancel" else 2)
    if answer == "accept":
        assert (outcome, in_time) == ("AddCustomAudienceUserResponse", "RecordedResult")
    else:
        assert "a person declined this write" in in_time
        assert (later == "Awaiting") == (answer == "cancel")
    assert len(writes_that_arrived(sandbox)) == (answer == "accept")


# What the process holds


@both_eras
@pytest.mark.parametrize("limit", ["MOST_HELD", "MOST_HELD_BYTES"])
async def test_what_the_server_does_not_hold_is_sent_by_the_same_call_made_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, limit: str, mode: str
) -> None:
    monkeypatch.setattr(waiting, limit, {"MOST_HELD": 1, "MOST_HELD_BYTES": 8000}[limit])
    store, page = Store(None), FakePage()
    async with connected(sandbox, mode=mode, policy=AT_ONCE, store=store, page=page) as client:
        held, not_held = [await client.call_tool(WRITE, arguments) for arguments in OTHERS[:2]]
        for pending in store.pending():
            await decide(store, approval_id=pending.id)
        await seen(store, "sent")
        assert len(writes_that_arrived(sandbox)) == 1
        again = await client.call_tool(WRITE, OTHERS[1])
        freed = await client.call_tool(WRITE, OTHERS[2])

    assert "Once they approve, the server sends the write" in held.structured_content["next"]
    assert "make exactly the same call again: it sends the write" in not_held.structured_content["next"]
    assert again.structured_content["status"] == "sent"
    assert "Once they approve, the server sends the write" in freed.structured_content["next"]
    assert len(writes_that_arrived(sandbox)) == 2


@both_eras
async def test_a_write_whose_process_is_gone_is_sent_by_the_same_call_made_again(
    sandbox: Sandbox, tmp_path: Path, mode: str
) -> None:
    store = Store(tmp_path)
    async with connected(sandbox, mode=mode, policy=AT_ONCE, store=store, page=FakePage()) as client:
        await client.call_tool(WRITE, LIST)
    await decide(store)
    store.close()
    page, store = FakePage(), Store(tmp_path)
    async with connected(sandbox, mode=mode, policy=AT_ONCE, store=store, page=page) as client:
        assert not writes_that_arrived(sandbox)
        again = [await client.call_tool(WRITE, LIST) for _ in range(2)]

    assert [result.structured_content["status"] for result in again] == ["sent"] * 2
    assert not page.shown
    assert len(writes_that_arrived(sandbox)) == 1
    store.close()


@both_eras
@pytest.mark.parametrize(
    ("fault", "words"), [("refused", "failed; nothing was sent"), ("unknown", "it may have been applied")]
)
async def test_an_outcome_that_nobody_waited_for_is_told_to_the_next_identical_call(
    sandbox: Sandbox, fault: str, words: str, mode: str
) -> None:
    store, page = Store(None), FakePage()
    transport = unreachable(sandbox) if fault == "refused" else breaking(sandbox, 1)
    async with connected(sandbox, mode=mode, policy=AT_ONCE, store=store, page=page, transport=transport) as client:
        await client.call_tool(WRITE, LIST)
        await decide(store)
        await seen(store, fault)
        told, again = [await client.call_tool(WRITE, LIST) for _ in range(2)]

    assert told.is_error
    assert words in text_of(told)
    if fault == "refused":
        assert again.structured_content["status"] == "awaiting_approval"
    else:
        assert words in text_of(again)
    assert page.shown == (2 if fault == "refused" else 1)
    assert len(writes_that_arrived(sandbox)) == (fault == "unknown")


@both_eras
async def test_a_refusal_is_told_to_every_call_that_waits_and_may_be_tried_again(sandbox: Sandbox, mode: str) -> None:
    store, page = Store(None), FakePage()
    async with (
        connected(sandbox, mode=mode, store=store, page=page, transport=unreachable(sandbox)) as client,
        anyio.create_task_group() as group,
    ):
        calls = Calls(group)
        calls.start(client)
        calls.start(client)
        while page.shown < 2:
            await anyio.wait_all_tasks_blocked()
        await decide(store)

    assert [text_of(result).startswith("AddCustomAudienceUser") for result in calls.results] == [True, True]
    assert not store.pending()
    assert events(store) == ["asked", "approved", "failed"]


@both_eras
async def test_the_limit_of_the_day_counts_when_the_write_is_sent_and_not_when_its_outcome_is_asked_for(
    sandbox: Sandbox, mode: str
) -> None:
    store, page = Store(None), FakePage()
    policy = Policy(wait_seconds=0, per_day=200)
    async with connected(sandbox, mode=mode, policy=policy, store=store, page=page) as client:
        await client.call_tool(WRITE, LIST)
        await client.call_tool(WRITE, OTHERS[0])
        one, other = store.pending()
        await decide(store, approval_id=one.id)
        await seen(store, "sent")
        again = await client.call_tool(WRITE, LIST)
        await decide(store, approval_id=other.id)
        over = await client.call_tool(WRITE, OTHERS[0])

    assert again.structured_content["status"] == "sent"
    assert "at most 200 users per day" in text_of(over)
    assert len(writes_that_arrived(sandbox)) == 1


class Unwilling(Store):
    """A store that some steps fail in."""

    def __init__(self, directory: Path | None = None) -> None:
        super().__init__(directory)
        self.failing: dict[str, int] = {}
        self._is_away = False

    def _fail(self, step: str) -> None:
        if self.failing.get(step, 0) > 0:
            self.failing[step] -= 1
            raise StoreError("The record is busy.")

    def begin(self, *args: Any, **more: Any) -> Any:
        self._fail("begin")
        return super().begin(*args, **more)

    def pending(self) -> Any:
        self._fail("pending")
        return super().pending()

    def finish(self, *args: Any, **more: Any) -> Any:
        self._is_away = self.failing.pop("finish", 0) > 0
        try:
            return super().finish(*args, **more)
        finally:
            self._is_away = False

    def _run(self, work: Callable[[Any], Any]) -> Any:
        if self._is_away:
            raise StoreError("The record is busy.")
        return super()._run(work)


@both_eras
@pytest.mark.parametrize("step", ["pending", "begin", "finish"])
@pytest.mark.parametrize("policy", [AT_ONCE, Policy()], ids=["returned", "waits"])
async def test_a_store_that_is_busy_for_a_moment_costs_no_approval(
    sandbox: Sandbox, policy: Policy, step: str, mode: str
) -> None:
    store = Unwilling()
    page = FakePage()
    async with connected(sandbox, mode=mode, policy=policy, store=store, page=page) as client:
        async with anyio.create_task_group() as group:
            calls = Calls(group)
            store.failing = {"pending": 3} if step == "pending" else {}
            calls.start(client)
            await page.opened.wait()
            store.failing |= {step: 3}
            (pending,) = Store.pending(store)
            await decide(store, approval_id=pending.id)
        with anyio.fail_after(10):
            while not writes_that_arrived(sandbox) or Store.pending(store)[0].outcome is None:  # noqa: ASYNC110 - a thread
                await anyio.sleep(0.002)
        again = await client.call_tool(WRITE, LIST)

    if policy is AT_ONCE:
        # The decision came in the moment in which the call gave up waiting.
        assert "was approved and is being sent right now" in text_of(calls.results[0])
    else:
        assert calls.results[0].structured_content["status"] == "sent"
    assert again.structured_content["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1
    assert events(store) == ["asked", "approved", "sent"]


async def test_a_server_that_ends_begins_to_send_nothing_more(sandbox: Sandbox) -> None:
    store = Store(None)
    async with client_of(sandbox) as service, anyio.create_task_group() as group:
        guard = Guard(service, store, AT_ONCE, page=FakePage(), group=group)
        await guard.submit(ADD_CUSTOM_AUDIENCE_USER, REQUEST, Caller())
        await guard.held.finish_sending(10)
        await decide(store)
        guard.watch.poke()
        with anyio.move_on_after(10):
            await guard.watch.decided(only(store).binding)
        await anyio.wait_all_tasks_blocked()
        assert only(store).state == "approved"

    assert not writes_that_arrived(sandbox)


async def test_a_server_that_ends_waits_for_what_it_is_sending(sandbox: Sandbox) -> None:
    store, arrived, go_on = Store(None), anyio.Event(), anyio.Event()

    async def between(number: int, size: int, send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        arrived.set()
        await go_on.wait()
        return await send()

    async with client_of(sandbox, transport=Way(sandbox, between)) as service, anyio.create_task_group() as group:
        guard = Guard(service, store, AT_ONCE, page=FakePage(), group=group)
        await guard.submit(ADD_CUSTOM_AUDIENCE_USER, REQUEST, Caller())
        await decide(store)
        await arrived.wait()
        group.start_soon(guard.held.finish_sending, 10)
        await anyio.wait_all_tasks_blocked()
        go_on.set()

    assert events(store) == ["asked", "approved", "sent"]


# Files


def upload_options(folder: Path, number: int = 120) -> dict[str, Any]:
    write_people(folder / "people.csv", number)
    return {"folder": folder}


@both_eras
@pytest.mark.parametrize(
    ("confirm", "client", "has_page"),
    [("auto", {}, True), ("card", CARDS, False), ("person", {}, False), ("auto", CARDS, False)],
    ids=["page", "card", "terminal", "auto-card"],
)
async def test_an_upload_waits_at_the_same_doors_and_starts_only_inside_a_call(
    sandbox: Sandbox, tmp_path: Path, confirm: Any, client: dict[str, Any], mode: str, *, has_page: bool
) -> None:
    store, page = Store(None), FakePage()
    async with connected(
        sandbox,
        mode=mode,
        client=client,
        policy=Policy(confirm=confirm, wait_seconds=0),
        store=store,
        page=page if has_page else None,
        **upload_options(tmp_path),
    ) as connection:
        waits = await connection.call_tool(UPLOAD, FILE)
        await decide(store)
        await Watch(store).decided(only(store).binding)
        await connection.call_tool("list_instance", {})
        assert only(store).state == "approved"
        assert not writes_that_arrived(sandbox)
        sent, again = [await connection.call_tool(UPLOAD, FILE) for _ in range(2)]

    assert waits.structured_content["status"] == "awaiting_approval"
    if has_page:
        assert "make exactly the same call again: it sends the write" in waits.structured_content["next"]
    assert sent.structured_content["state"] == again.structured_content["state"] == "done"
    assert page.shown == has_page
    assert len(writes_that_arrived(sandbox)) == 1
    assert "customer" not in json.dumps(store.audit())


@both_eras
async def test_an_upload_whose_call_waits_starts_as_soon_as_it_is_approved(
    sandbox: Sandbox, tmp_path: Path, mode: str
) -> None:
    store = Store(None)
    page = FakePage(then=lambda: decide(store))
    async with connected(sandbox, mode=mode, store=store, page=page, **upload_options(tmp_path)) as client:
        result = await client.call_tool(UPLOAD, FILE)

    assert result.structured_content["state"] == "done"
    assert len(writes_that_arrived(sandbox)) == 1


@both_eras
async def test_a_declined_file_is_declined_in_any_order_and_as_a_list(
    sandbox: Sandbox, tmp_path: Path, mode: str
) -> None:
    store, page = Store(None), FakePage()
    async with connected(
        sandbox, mode=mode, policy=AT_ONCE, store=store, page=page, **upload_options(tmp_path)
    ) as client:
        await client.call_tool(UPLOAD, FILE)
        await decide(store, approve=False)
        result = await client.call_tool(WRITE, TARGET | {"users": people(120)[::-1]})

    assert "a person declined this write" in text_of(result)
    assert page.shown == 1


# Secrets


@both_eras
@pytest.mark.parametrize("client", [{}, CARDS, {"elicitation_callback": yes()}], ids=["nothing", "cards", "forms"])
async def test_nothing_that_is_kept_or_logged_holds_an_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, client: dict[str, Any], mode: str
) -> None:
    caplog.set_level(logging.DEBUG)
    sandbox, store = Sandbox(), Store(tmp_path)
    async with connected(
        sandbox, mode=mode, client=client, policy=AT_ONCE, store=store, page=None if client else FakePage()
    ) as connection:
        await connection.call_tool(WRITE, LIST)
        (waits,) = store.pending()
        written = bytes_in(tmp_path)
        await decide(store, approval_id=waits.id)
        await seen(store, "sent")
        after = bytes_in(tmp_path)
    store.close()

    assert b"customer0" not in written + after
    assert b"c***@example.com" not in after
    assert "customer0" not in caplog.text + json.dumps(store.audit())
