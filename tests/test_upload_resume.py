"""What may be resumed without asking, what needs another approval, and what nobody may resume."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import httpx
import mcp_types as types
import pytest
from mcp import Client
from support import ERAS, TARGET, Person, text_of, yes
from support_uploads import FILE, UPLOAD, Way, batches_of, breaking, email, hanging, upload_client, write_people

from cams_mcp.guard.guard import APPROVAL_SECONDS
from cams_mcp.guard.policy import Policy
from cams_mcp.sandbox import Sandbox
from cams_mcp.store import Store
from cams_mcp.store.records import RESUME_SECONDS

both_eras = pytest.mark.parametrize("mode", ERAS)
Send = Callable[[], Awaitable[httpx.Response]]
OFF = Policy(confirm="off")
WHOLE = 450


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    write_people(folder / "people.csv", WHOLE)
    return folder


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(None, clock)


def refusing(sandbox: Sandbox, at: int) -> Way:
    """CAMS refuses this batch, so that nothing is in doubt."""

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        if number == at:
            return httpx.Response(403, json={"Code": "Forbidden.RAM", "Message": "no", "RequestId": "1"})
        return await send()

    return Way(sandbox, between)


async def upload(client: Client, **more: Any) -> types.CallToolResult:
    return await client.call_tool(UPLOAD, FILE | more)


async def stopped(sandbox: Sandbox, folder: Path, store: Store, at: int = 3, *, doubtful: bool = False) -> str:
    """An approved upload that stopped at a batch of 100; returns its id."""
    transport = breaking(sandbox, at) if doubtful else refusing(sandbox, at)
    async with upload_client(sandbox, folder, store=store, transport=transport, elicitation_callback=yes()) as client:
        result = (await upload(client)).structured_content
    assert result["sent"] == (at - 1) * 100
    return result["upload_id"]


async def cut_off(sandbox: Sandbox, folder: Path, store: Store, *, applied: bool) -> str:
    """An approved upload whose call was cancelled in its third batch of 100; returns its id."""
    reached = anyio.Event()
    transport = hanging(sandbox, 3, reached, applied=applied)
    async with (
        upload_client(sandbox, folder, store=store, transport=transport, elicitation_callback=yes()) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(upload, client)
        await reached.wait()
        group.cancel_scope.cancel()
    (job,) = store.journal.jobs()
    return job.id


def sent(sandbox: Sandbox) -> int:
    return sum(size for size, _, _ in batches_of(sandbox))


@both_eras
async def test_a_list_that_was_sent_whole_in_between_is_asked_about_before_the_rest_is_resumed(
    sandbox: Sandbox, folder: Path, store: Store, clock: Clock, mode: str
) -> None:
    job = await stopped(sandbox, folder, store)
    clock.time += APPROVAL_SECONDS  # or the same call would get the result of the first one
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=yes()) as client:
        await upload(client)
    before, person = sent(sandbox), Person("decline")
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=person) as client:
        result = await upload(client, resume=job)

    assert "the user declined" in text_of(result)
    assert "Warning: the same list was already sent to this audience" in person.asked[0]
    assert sent(sandbox) == before


@both_eras
@pytest.mark.parametrize("by", ["tool", "file"])
async def test_a_rest_that_was_sent_in_between_is_asked_about_before_it_is_resumed(
    sandbox: Sandbox, folder: Path, store: Store, mode: str, by: str
) -> None:
    job = await stopped(sandbox, folder, store)
    rest = [email(number) for number in range(200, WHOLE)]
    (folder / "rest.csv").write_text("\n".join(["email", *rest[::-1]]), encoding="utf-8")
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=yes()) as client:
        if by == "file":
            await upload(client, path="rest.csv")
        else:
            users = [{"email": address} for address in rest]
            await client.call_tool("add_custom_audience_user", TARGET | {"users": users})
    before, person = sent_people(sandbox), Person("decline")
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=person) as client:
        await upload(client, resume=job)

    assert "Warning: the same list was already sent to this audience" in person.asked[0]
    assert sent_people(sandbox) == before


def sent_people(sandbox: Sandbox) -> int:
    return len([call for call in sandbox.calls if call.action == "AddCustomAudienceUser"])


@both_eras
async def test_with_confirm_off_a_list_that_was_sent_in_between_is_not_resumed(
    sandbox: Sandbox, folder: Path, store: Store, clock: Clock, mode: str
) -> None:
    job = await stopped(sandbox, folder, store)
    clock.time += APPROVAL_SECONDS
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=yes()) as client:
        await upload(client)
    before = sent(sandbox)
    clock.time += 365 * 86_400
    async with upload_client(sandbox, folder, mode=mode, store=store, policy=OFF) as client:
        result = await upload(client, resume=job)

    assert "the same list was already sent to this audience" in text_of(result)
    assert sent(sandbox) == before


async def test_of_two_stopped_uploads_of_one_list_the_second_to_resume_asks(
    sandbox: Sandbox, folder: Path, store: Store, clock: Clock
) -> None:
    first = await stopped(sandbox, folder, store)
    clock.time += APPROVAL_SECONDS
    second = await stopped(sandbox, folder, store)
    person = Person("decline")
    async with upload_client(sandbox, folder, store=store, elicitation_callback=person) as client:
        done = await upload(client, resume=second)
        declined = await upload(client, resume=first)

    assert done.structured_content["state"] == "done"
    assert len(person.asked) == 1
    assert "the user declined" in text_of(declined)


async def test_an_upload_resumed_after_another_one_of_its_list_was_resumed_asks_too(
    sandbox: Sandbox, folder: Path, store: Store, clock: Clock
) -> None:
    """The other one began before this one did, but what it sent after its resume came later."""
    first = await stopped(sandbox, folder, store)
    clock.time += APPROVAL_SECONDS
    second = await stopped(sandbox, folder, store)
    person = yes()
    async with upload_client(sandbox, folder, store=store, elicitation_callback=person) as client:
        await upload(client, resume=first)
        assert len(person.asked) == 1
        await upload(client, resume=second)

    assert len(person.asked) == 2
    assert "Warning: the same list was already sent to this audience" in person.asked[1]


@both_eras
@pytest.mark.parametrize("policy", [OFF, Policy(confirm="off", hold_seconds=0)], ids=["hold", "no hold"])
async def test_with_confirm_off_a_batch_of_unknown_outcome_is_never_sent_again(
    sandbox: Sandbox, folder: Path, store: Store, mode: str, policy: Policy
) -> None:
    job = await stopped(sandbox, folder, store, doubtful=True)
    before = sent(sandbox)
    async with upload_client(sandbox, folder, mode=mode, store=store, policy=policy) as client:
        result = await upload(client, resume=job)

    assert text_of(result).startswith("Nothing was sent: this upload stopped at a batch with an unknown outcome")
    assert "--confirm off" in text_of(result)
    assert sent(sandbox) == before
    assert [entry["event"] for entry in store.audit()][-1] == "blocked"


@both_eras
async def test_of_several_approvals_to_repeat_a_batch_only_one_sends(
    sandbox: Sandbox, folder: Path, store: Store, mode: str
) -> None:
    job = await stopped(sandbox, folder, store, doubtful=True)
    policy = Policy(confirm="token")
    transport = breaking(sandbox, 1)
    async with upload_client(sandbox, folder, mode=mode, store=store, policy=policy, transport=transport) as client:
        tokens = [(await upload(client, resume=job)).structured_content["confirmation_token"] for _ in range(3)]
        results = [await upload(client, resume=job, confirmation_token=token) for token in tokens]

    assert results[0].structured_content["may_have_been_sent"] == 100
    assert all("already used" in text_of(each) for each in results[1:])
    assert sent(sandbox) == 400  # 200, the batch of unknown outcome, and the same batch once more


@both_eras
async def test_of_approvals_to_repeat_the_same_batch_of_two_uploads_only_one_sends(
    sandbox: Sandbox, folder: Path, store: Store, clock: Clock, mode: str
) -> None:
    jobs = [await stopped(sandbox, folder, store, doubtful=True)]
    clock.time += APPROVAL_SECONDS
    jobs.append(await stopped(sandbox, folder, store, doubtful=True))
    async with upload_client(sandbox, folder, mode=mode, store=store, policy=Policy(confirm="token")) as client:
        tokens = [(await upload(client, resume=job)).structured_content["confirmation_token"] for job in jobs]
        done, void = [
            await upload(client, resume=job, confirmation_token=token) for job, token in zip(jobs, tokens, strict=True)
        ]

    assert done.structured_content["state"] == "done"
    assert "the same list was sent to this audience after this question" in text_of(void)
    assert sent(sandbox) == 2 * 300 + 250


@both_eras
async def test_where_only_persons_approve_the_rest_is_asked_about(
    sandbox: Sandbox, folder: Path, store: Store, mode: str
) -> None:
    """The journal does not know who approved the upload: it may have been an assistant, in two steps."""
    job = await stopped(sandbox, folder, store)
    before, person, policy = sent(sandbox), Person("decline"), Policy(confirm="person")
    async with upload_client(
        sandbox, folder, mode=mode, store=store, policy=policy, elicitation_callback=person
    ) as client:
        result = await upload(client, resume=job)

    assert "the user declined" in text_of(result)
    assert len(person.asked) == 1
    assert sent(sandbox) == before


@both_eras
async def test_a_batch_whose_outcome_is_unknown_again_is_asked_about_again(
    sandbox: Sandbox, folder: Path, store: Store, mode: str
) -> None:
    """Resuming twice at the same place is not the same call twice."""
    job = await stopped(sandbox, folder, store, doubtful=True)
    person = yes()
    for transport in (breaking(sandbox, 1), None):
        async with upload_client(
            sandbox, folder, mode=mode, store=store, transport=transport, elicitation_callback=person
        ) as client:
            result = (await upload(client, resume=job)).structured_content

    assert len(person.asked) == 2
    assert result["state"] == "done"


@both_eras
async def test_an_approval_to_resume_lasts_a_day(
    sandbox: Sandbox, folder: Path, store: Store, clock: Clock, mode: str
) -> None:
    job = await stopped(sandbox, folder, store)
    clock.time += RESUME_SECONDS
    person = Person("decline")
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=person) as client:
        await upload(client, resume=job)
        assert len(person.asked) == 1
        assert "which stopped after 200 of 450 people" in person.asked[0]
        clock.time -= 1
        done = await upload(client, resume=job)

    assert len(person.asked) == 1
    assert done.structured_content["state"] == "done"


async def test_resuming_without_a_question_does_not_make_the_approval_last_longer(
    sandbox: Sandbox, folder: Path, store: Store, clock: Clock
) -> None:
    job = await stopped(sandbox, folder, store, at=2)
    clock.time += RESUME_SECONDS - 1
    person = Person("decline")
    async with upload_client(
        sandbox, folder, store=store, transport=refusing(sandbox, 2), elicitation_callback=person
    ) as client:
        assert (await upload(client, resume=job)).structured_content["sent"] == 200
        clock.time += 1
        await upload(client, resume=job)

    assert len(person.asked) == 1
    assert sent(sandbox) == 200


async def test_another_approval_starts_the_day_again(
    sandbox: Sandbox, folder: Path, store: Store, clock: Clock
) -> None:
    job = await stopped(sandbox, folder, store, at=2)
    clock.time += RESUME_SECONDS
    person = yes()
    async with upload_client(
        sandbox, folder, store=store, transport=refusing(sandbox, 2), elicitation_callback=person
    ) as client:
        await upload(client, resume=job)
        clock.time += RESUME_SECONDS - 1
        done = await upload(client, resume=job)

    assert len(person.asked) == 1
    assert done.structured_content["state"] == "done"


@both_eras
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"per_call": 249}, "at most 249 users per call"),
        ({"per_day": 449}, "at most 449 users per day"),
        ({"targets": frozenset({"1"})}, "does not allow writes to this audience"),
        ({"read_only": True}, "read-only"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("doubtful", [False, True])
async def test_limits_set_after_the_stop_hold_for_the_rest(
    sandbox: Sandbox, folder: Path, store: Store, mode: str, limits: dict[str, Any], words: str, doubtful: bool
) -> None:
    job = await stopped(sandbox, folder, store, doubtful=doubtful)
    before, person = sent(sandbox), yes()
    async with upload_client(
        sandbox, folder, mode=mode, store=store, policy=Policy(**limits), elicitation_callback=person
    ) as client:
        result = await upload(client, resume=job)

    assert words in text_of(result)
    assert not person.asked
    assert sent(sandbox) == before


async def test_a_rest_counts_in_the_limit_of_the_day_on_which_it_is_sent(
    sandbox: Sandbox, folder: Path, store: Store, clock: Clock
) -> None:
    job = await stopped(sandbox, folder, store)
    clock.time += RESUME_SECONDS
    policy = Policy(per_day=300)
    (folder / "more.csv").write_text("\n".join(["email", *map(email, range(1000, 1051))]), encoding="utf-8")
    async with upload_client(sandbox, folder, store=store, policy=policy, elicitation_callback=yes()) as client:
        done = await upload(client, resume=job)
        more = await upload(client, path="more.csv")

    assert done.structured_content["state"] == "done"
    assert "250 were sent in the last 24 hours" in text_of(more)
    assert more.is_error


@pytest.mark.parametrize("doubtful", [False, True])
async def test_people_that_were_not_sent_do_not_count_in_the_limit_of_the_day(
    sandbox: Sandbox, folder: Path, store: Store, doubtful: bool
) -> None:
    job = await stopped(sandbox, folder, store, doubtful=doubtful)
    policy = Policy(per_day=WHOLE + 100 * doubtful)
    async with upload_client(sandbox, folder, store=store, policy=policy, elicitation_callback=yes()) as client:
        done = await upload(client, resume=job)

    assert done.structured_content["state"] == "done"


async def test_a_rest_that_another_upload_was_sending_when_this_one_began_is_asked_about(
    sandbox: Sandbox, folder: Path, tmp_path: Path
) -> None:
    """The other upload has the lower number in the ledger, but it ended after this one had begun."""
    (folder / "rest.csv").write_text("\n".join(["email", *map(email, range(200, WHOLE))]), encoding="utf-8")
    reached, go_on, person = anyio.Event(), anyio.Event(), Person("decline")

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        if number == 1:
            reached.set()
            await go_on.wait()
        return await send()

    async def send_the_rest(store: Store) -> None:
        async with upload_client(
            sandbox, folder, store=store, transport=Way(sandbox, between), elicitation_callback=yes()
        ) as client:
            await upload(client, path="rest.csv")

    with closing(Store(tmp_path / "state")) as store:
        async with anyio.create_task_group() as group:
            group.start_soon(send_the_rest, store)
            await reached.wait()
            job = await stopped(sandbox, folder, store)
            go_on.set()
        before = sent(sandbox)
        async with upload_client(sandbox, folder, store=store, elicitation_callback=person) as client:
            await upload(client, resume=job)

    assert len(person.asked) == 1
    assert "the same list was already sent to this audience" in person.asked[0]
    assert sent(sandbox) == before


async def test_an_earlier_rest_that_was_sent_in_between_is_asked_about(
    sandbox: Sandbox, folder: Path, store: Store
) -> None:
    """The upload stopped at 100 and at 300; what somebody sent in between is what was left at 100."""
    job = await stopped(sandbox, folder, store, at=2)
    async with upload_client(
        sandbox, folder, store=store, transport=refusing(sandbox, 3), elicitation_callback=yes()
    ) as client:
        assert (await upload(client, resume=job)).structured_content["sent"] == 300
        users = [{"email": email(number)} for number in range(100, WHOLE)]
        await client.call_tool("add_custom_audience_user", TARGET | {"users": users})
    person = Person("decline")
    async with upload_client(sandbox, folder, store=store, elicitation_callback=person) as client:
        await upload(client, resume=job)

    assert "the same list was already sent to this audience" in person.asked[0]


@both_eras
async def test_a_refusal_the_second_time_does_not_make_an_unknown_batch_a_refused_one(
    sandbox: Sandbox, folder: Path, store: Store, mode: str
) -> None:
    job = await stopped(sandbox, folder, store, doubtful=True)
    async with upload_client(
        sandbox, folder, mode=mode, store=store, users=40, transport=refusing(sandbox, 2), elicitation_callback=yes()
    ) as client:
        result = (await upload(client, resume=job)).structured_content
    assert (result["sent"], result["may_have_been_sent"], result["not_sent"]) == (240, 60, 150)
    assert store.journal.job(job).position == (240, 60)
    before = sent(sandbox)
    async with upload_client(sandbox, folder, mode=mode, store=store, policy=OFF) as client:
        assert "with an unknown outcome" in text_of(await upload(client, resume=job))

    assert sent(sandbox) == before


async def test_nothing_is_given_back_to_the_days_limit_before_the_rest_is_resumed(
    sandbox: Sandbox, folder: Path, store: Store
) -> None:
    """A process that was only paused goes on with its upload: its people count until somebody takes it over."""
    job = await cut_off(sandbox, folder, store, applied=False)
    policy = Policy(per_day=WHOLE)
    async with upload_client(
        sandbox, folder, store=store, policy=policy, elicitation_callback=Person("decline")
    ) as client:
        await upload(client, resume=job)
        users = [{"email": "one@example.com"}]
        result = await client.call_tool("add_custom_audience_user", TARGET | {"users": users})

    assert f"{WHOLE} were sent in the last 24 hours" in text_of(result)


async def test_an_upload_whose_last_batch_was_sent_ends_as_sent(
    sandbox: Sandbox, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process died after the last batch, before it entered the end."""
    async with upload_client(sandbox, folder, store=store, elicitation_callback=yes()) as client:
        with monkeypatch.context() as patch:
            patch.setattr(store.journal, "end", Mock())
            job = (await upload(client)).structured_content["upload_id"]
        done = await upload(client, resume=job)

    assert (done.structured_content["status"], done.structured_content["sent"]) == ("sent", WHOLE)
    assert [entry["event"] for entry in store.audit()][-2:] == ["resumed", "sent"]


@pytest.mark.parametrize(
    "change", [{"path": "other.csv"}, {"custom_audience_id": "6000019000001"}], ids=["file", "audience"]
)
async def test_a_resume_of_something_else_is_on_record(
    sandbox: Sandbox, folder: Path, store: Store, change: dict[str, str]
) -> None:
    job = await stopped(sandbox, folder, store)
    write_people(folder / "other.csv", 449)
    async with upload_client(sandbox, folder, store=store, elicitation_callback=yes()) as client:
        await upload(client, resume=job, **change)

    entry = store.audit()[-1]
    assert (entry["event"], entry["channel"]) == ("blocked", "resumed")


@pytest.mark.parametrize(("limit", "is_done"), [(WHOLE + 100, True), (WHOLE + 99, False)])
async def test_of_a_run_that_was_cut_off_only_what_may_have_been_sent_counts(
    sandbox: Sandbox, folder: Path, store: Store, limit: int, *, is_done: bool
) -> None:
    """200 were sent and 100 more may have been; these are sent again with the other 150."""
    job = await cut_off(sandbox, folder, store, applied=True)
    policy = Policy(per_day=limit)
    async with upload_client(sandbox, folder, store=store, policy=policy, elicitation_callback=yes()) as client:
        result = await upload(client, resume=job)

    assert (result.structured_content is not None) is is_done
    assert ("in the last 24 hours" in text_of(result)) is not is_done
    more = Policy(per_day=limit + 1)
    async with upload_client(sandbox, folder, store=store, policy=more, elicitation_callback=yes()) as client:
        one = await client.call_tool("add_custom_audience_user", TARGET | {"users": [{"email": "one@example.com"}]})
    assert one.structured_content is not None


@both_eras
@pytest.mark.parametrize("confirm", ["person", "page", "card"])
async def test_where_a_person_must_approve_the_rest_is_asked_about_whoever_approved_the_beginning(
    sandbox: Sandbox, folder: Path, store: Store, confirm: Any, mode: str
) -> None:
    """The journal does not know at which door an upload was approved: it may have been that of an assistant."""
    resume = await stopped(sandbox, folder, store)
    sent = len(batches_of(sandbox))
    policy = Policy(confirm=confirm, wait_seconds=0)
    async with upload_client(sandbox, folder, mode=mode, store=store, policy=policy) as client:
        result = (await upload(client, resume=resume)).structured_content

    assert result["status"] == "awaiting_approval"
    assert len(batches_of(sandbox)) == sent
