"""Files of customers to audiences, seen from a client: one yes, batches, stops, and going on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import httpx
import mcp_types as types
import pytest
from mcp import Client
from support import AUDIENCE, ERAS, TARGET, Person, people, text_of, writes_that_arrived, yes
from support_uploads import (
    CHECK,
    FILE,
    UPLOAD,
    Way,
    batches_of,
    breaking,
    email,
    hanging,
    upload_client,
    write_people,
)

from cams_mcp.access import Access
from cams_mcp.errors import NotConfirmed
from cams_mcp.guard.policy import Policy
from cams_mcp.sandbox import Fault, Faults, Sandbox
from cams_mcp.store import FILE_NAME, Journal, Store, open_store
from cams_mcp.tools.definitions import load_catalog

both_eras = pytest.mark.parametrize("mode", ERAS)
Send = Callable[[], Awaitable[httpx.Response]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    return folder


async def uploaded(client: Client, arguments: dict[str, Any] = FILE, **more: Any) -> dict[str, Any]:
    result = await client.call_tool(UPLOAD, arguments, **more)
    assert not result.is_error, text_of(result)
    return result.structured_content


def events(store: Store) -> list[str]:
    return [entry["event"] for entry in store.audit()]


# Which tools there are


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("uploads", [False, True])
def test_the_file_tools_are_there_only_with_a_folder_and_without_read_only(uploads: bool, read_only: bool) -> None:
    names = set(load_catalog(uploads=uploads, read_only=read_only).names)

    assert bool({CHECK, UPLOAD} & names) == (uploads and not read_only)


async def test_checking_is_a_read_and_uploading_a_write() -> None:
    tools = {tool.name: tool.annotations for tool in load_catalog(uploads=True)}
    assert tools[CHECK].read_only_hint
    assert tools[UPLOAD].destructive_hint
    assert not tools[UPLOAD].read_only_hint


# Checking


@both_eras
async def test_a_check_tells_what_the_file_holds_and_sends_nothing(sandbox: Sandbox, folder: Path, mode: str) -> None:
    (folder / "people.csv").write_text(
        "Name,E-Mail,Phone\n"
        "a,Jane.Roe@example.com,+1 202 555 0123\n"
        "b,jane.roe@example.com,+12025550123\n"
        "c,nobody,\n"
        "d,,+8613800000000\n"
        "e,gone@example.com,\n",
        encoding="utf-8",
    )
    (folder / "out.csv").write_text("email\ngone@example.com\n", encoding="utf-8")
    async with upload_client(sandbox, folder, mode=mode, users=1) as client:
        result = await client.call_tool(CHECK, {"path": "people.csv", "suppression_path": "out.csv"})

    assert result.structured_content == {
        "path": str(folder / "people.csv"),
        "format": "csv",
        "encoding": "utf-8-sig",
        "columns": {"email": "E-Mail", "phone": "Phone"},
        "rows": 5,
        "valid": 4,
        "invalid": [{"reason": "the e-mail address is invalid", "rows": 1, "first_lines": [4]}],
        "duplicates": 1,
        "suppressed": 1,
        "people": 2,
        "phones_by_country_code": {"+1": 2, "+86": 1},
        "sample": ["j***@example.com", "+120****0123"] * 2,
        "calls": 2,
        "under_100": True,
    }
    assert not sandbox.calls


@both_eras
@pytest.mark.parametrize("tool", [CHECK, UPLOAD])
@pytest.mark.parametrize("path", ["../secret.csv", "/etc/passwd", "missing.csv", "link.csv", "pipe"])
async def test_a_file_outside_of_the_folder_is_not_read(
    sandbox: Sandbox, folder: Path, tmp_path: Path, mode: str, tool: str, path: str
) -> None:
    write_people(tmp_path / "secret.csv", 100)
    (folder / "link.csv").symlink_to("../secret.csv")
    os.mkfifo(folder / "pipe")
    person = yes()
    for where in ("path", "suppression_path"):
        write_people(folder / "people.csv", 100)
        arguments = (FILE if tool == UPLOAD else {"path": "people.csv"}) | {where: path}
        async with upload_client(sandbox, folder, mode=mode, elicitation_callback=person) as client:
            result = await client.call_tool(tool, arguments)
        assert result.is_error
        assert text_of(result).startswith("Nothing was sent:")
        assert "customer" not in text_of(result)
    assert not sandbox.calls
    assert not person.asked


# One yes for the whole file


@both_eras
@pytest.mark.parametrize("number", [250, 100, 101, 1])
async def test_one_yes_sends_the_whole_file_in_batches(sandbox: Sandbox, folder: Path, mode: str, number: int) -> None:
    write_people(folder / "people.csv", number)
    person, store = yes(), Store(None)
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=person) as client:
        result = await uploaded(client)

    sizes = [100] * (number // 100) + ([number % 100] if number % 100 else [])
    assert batches_of(sandbox) == [(size, place == len(sizes), number) for place, size in enumerate(sizes, 1)]
    sent = [user["Email"] for call in writes_that_arrived(sandbox) for user in json.loads(call.parameters["Users"])]
    assert sent == [email(index) for index in range(number)]
    assert (result["state"], result["sent"], result["calls"]) == ("done", number, len(sizes))
    assert len(person.asked) == 1
    assert events(store) == ["asked", "approved", "sent"]


@both_eras
async def test_two_steps_send_the_whole_file(sandbox: Sandbox, folder: Path, mode: str) -> None:
    wanted = write_people(folder / "people.csv", 250)
    async with upload_client(sandbox, folder, mode=mode, confirm="token") as client:
        preview = await uploaded(client)
        assert preview["status"] == "confirmation_required"
        assert not writes_that_arrived(sandbox)
        token = {"confirmation_token": preview["confirmation_token"]}
        result = await uploaded(client, FILE | token)
        again = await client.call_tool(UPLOAD, FILE | token)

    assert result["state"] == "done"
    repeated = dict(again.structured_content)
    assert "This is its recorded result. Nothing was sent again." in repeated.pop("next")
    assert repeated == result
    assert sandbox.people(AUDIENCE) == wanted
    assert len(batches_of(sandbox)) == 3


async def test_a_recorded_result_names_the_upload_whatever_its_id_looks_like(
    sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_people(folder / "people.csv", 120)
    monkeypatch.setattr("cams_mcp.store.sqlite_journal.secrets", Mock(token_hex=Mock(return_value="2025550123")))
    async with upload_client(sandbox, folder, elicitation_callback=yes()) as client:
        results = [await uploaded(client) for _ in range(2)]

    assert [result["upload_id"] for result in results] == ["2025550123"] * 2
    assert "recorded result" in results[1]["next"]


@both_eras
async def test_the_question_tells_where_how_many_and_what_is_left_out(
    sandbox: Sandbox, folder: Path, mode: str
) -> None:
    rows = ["email", *(email(index) for index in range(240)), email(0), "nobody", "x@"]
    (folder / "people.csv").write_text("\n".join(rows), encoding="utf-8")
    (folder / "out.csv").write_text(f"email\n{email(5)}\n{email(6)}\nother@example.com\n", encoding="utf-8")
    person = Person("decline")
    async with upload_client(sandbox, folder, mode=mode, elicitation_callback=person) as client:
        result = await client.call_tool(UPLOAD, FILE | {"suppression_path": "out.csv"})

    assert result.is_error
    assert not writes_that_arrived(sandbox)
    (text,) = person.asked
    lines = text.splitlines()
    assert lines[0] == 'Add 238 people to the Meta custom audience "VIP-Q1-1"?'
    assert 'The file "people.csv" has 243 rows. Left out: 2 invalid, 1 duplicate, 2 opted out.' in lines
    assert "Valid rows: 241 with an e-mail, 0 with a phone." in lines
    assert any(line.startswith('For example: e-mail "c***@') for line in lines)
    assert "The upload takes 3 calls. This confirmation covers the whole file." in lines
    assert "customer" not in text


async def test_a_file_name_cannot_forge_the_question(sandbox: Sandbox, folder: Path) -> None:
    name = 'x".\nNothing is sent.\u202e.csv'
    write_people(folder / name, 100)
    async with upload_client(sandbox, folder, confirm="token") as client:
        forged = (await uploaded(client, FILE | {"path": name}))["preview"]
        write_people(folder / "people.csv", 100)
        honest = (await uploaded(client))["preview"]

    assert len(forged.splitlines()) == len(honest.splitlines())
    assert [line.count('"') for line in forged.splitlines()] == [line.count('"') for line in honest.splitlines()]


@both_eras
@pytest.mark.parametrize("person", [Person("decline"), Person("cancel"), Person("accept", {})], ids=str)
async def test_without_a_yes_nothing_is_sent(sandbox: Sandbox, folder: Path, mode: str, person: Person) -> None:
    write_people(folder / "people.csv", 250)
    store = Store(None)
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=person) as client:
        result = await client.call_tool(UPLOAD, FILE)

    assert result.is_error
    assert text_of(result).startswith("Nothing was sent:")
    assert not writes_that_arrived(sandbox)
    assert store.journal.jobs() == []


CHANGES = [
    {"custom_audience_id": "6000019000001"},
    {"default_region": "US", "path": "other.csv"},
    {"suppression_path": "out.csv"},
]


@both_eras
@pytest.mark.parametrize("change", ["one more", "one other", "one less", "an invalid row", *CHANGES], ids=str)
async def test_a_yes_is_bound_to_the_contents_and_the_target(
    sandbox: Sandbox, folder: Path, mode: str, change: str | dict[str, str]
) -> None:
    write_people(folder / "people.csv", 150)
    write_people(folder / "other.csv", 151)
    (folder / "out.csv").write_text(f"email\n{email(0)}\n", encoding="utf-8")
    async with upload_client(sandbox, folder, mode=mode, confirm="token") as client:
        token = (await uploaded(client))["confirmation_token"]
        text = (folder / "people.csv").read_text()
        texts = {
            "one more": f"{text}more@example.com\n",
            "one other": text.replace("000001", "900001"),
            "one less": text.replace(f"{email(149)}\n", ""),
            "an invalid row": f"{text}nobody\n",
        }
        arguments = FILE | {"confirmation_token": token}
        if isinstance(change, str):
            (folder / "people.csv").write_text(texts[change])
        else:
            arguments |= change
        result = await client.call_tool(UPLOAD, arguments)

    assert result.is_error
    assert "for a different call" in text_of(result)
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_a_file_that_changes_while_the_person_reads_is_not_sent(
    sandbox: Sandbox, folder: Path, mode: str
) -> None:
    """By round trip the file is read again. Asked mid-call, what was checked is what is sent."""
    wanted = write_people(folder / "people.csv", 150)
    checked = yes()

    async def change(context: object, params: types.ElicitRequestFormParams) -> types.ElicitResult:
        write_people(folder / "people.csv", 200)
        return await checked(context, params)

    async with upload_client(sandbox, folder, mode=mode, elicitation_callback=change) as client:
        result = await client.call_tool(UPLOAD, FILE)

    assert result.is_error == (mode == "auto")
    assert sandbox.people(AUDIENCE) == (set() if result.is_error else wanted)


@pytest.mark.parametrize("rows", ["email\n", "email\nnobody\n", f"email\n{email(0)}\n"])
async def test_a_file_without_anybody_to_send_is_refused(sandbox: Sandbox, folder: Path, rows: str) -> None:
    (folder / "people.csv").write_text(rows, encoding="utf-8")
    (folder / "out.csv").write_text(f"email\n{email(0)}\n", encoding="utf-8")
    person = yes()
    async with upload_client(sandbox, folder, elicitation_callback=person) as client:
        result = await client.call_tool(UPLOAD, FILE | {"suppression_path": "out.csv"})

    assert text_of(result).startswith("Nothing was sent: no people are left to send")
    assert not person.asked


@both_eras
async def test_invalid_rows_are_skipped_or_refuse_the_file(sandbox: Sandbox, folder: Path, mode: str) -> None:
    rows = ["email", *(email(index) for index in range(150)), "nobody"]
    (folder / "people.csv").write_text("\n".join(rows), encoding="utf-8")
    async with upload_client(sandbox, folder, mode=mode, elicitation_callback=yes()) as client:
        refused = await client.call_tool(UPLOAD, FILE | {"on_invalid": "refuse"})
        arrived = len(writes_that_arrived(sandbox))
        skipped = await uploaded(client, FILE | {"on_invalid": "skip"})

    assert "the first at line 152" in text_of(refused)
    assert arrived == 0
    assert (skipped["sent"], skipped["skipped_rows"]) == (150, 1)


# Limits


@both_eras
@pytest.mark.parametrize("confirm", ["auto", "token", "off"])
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"per_call": 149}, "at most 149 users per call"),
        ({"per_day": 149}, "at most 149 users per day"),
        ({"targets": frozenset({"1"})}, "does not allow writes to this audience"),
    ],
    ids=str,
)
async def test_the_operators_limits_hold_for_files(
    sandbox: Sandbox, folder: Path, limits: dict[str, Any], words: str, confirm: Any, mode: str
) -> None:
    write_people(folder / "people.csv", 150)
    person, policy = yes(), Policy(confirm=confirm, **limits)
    async with upload_client(sandbox, folder, mode=mode, policy=policy, elicitation_callback=person) as client:
        result = await client.call_tool(UPLOAD, FILE)

    assert words in text_of(result)
    assert not person.asked
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_going_on_with_an_upload_that_sent_nobody_keeps_the_limit_of_the_day(
    sandbox: Sandbox, folder: Path, mode: str
) -> None:
    write_people(folder / "people.csv", 150)
    others = TARGET | {"users": people(120, start=5000)}

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        if number == 1:
            return httpx.Response(403, json={"Code": "Forbidden.RAM", "Message": "no", "RequestId": "1"})
        return await send()

    way, policy = Way(sandbox, between), Policy(per_day=200)
    async with upload_client(
        sandbox, folder, mode=mode, policy=policy, transport=way, elicitation_callback=yes()
    ) as client:
        stopped = await uploaded(client)
        sent = await client.call_tool("add_custom_audience_user", others)
        over = await client.call_tool(UPLOAD, FILE | {"resume": stopped["upload_id"]})

    assert (stopped["state"], stopped["sent"]) == ("stopped", 0)
    assert not sent.is_error
    assert "120 were sent in the last 24 hours" in text_of(over)
    assert len(writes_that_arrived(sandbox)) == 1


@both_eras
async def test_the_same_list_pasted_after_its_upload_is_told_and_the_other_way_round(
    sandbox: Sandbox, folder: Path, mode: str
) -> None:
    write_people(folder / "people.csv", 120)
    person, clock = yes(), [1_800_000_000.0]
    store = Store(None, now=lambda: clock[0])
    pasted = TARGET | {"users": people(120)[::-1]}
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=person) as client:
        await uploaded(client)
        await client.call_tool("add_custom_audience_user", pasted)
        clock[0] += 600
        await uploaded(client)

    assert ["the same list was already sent to this audience" in text for text in person.asked] == [False, True, True]


# Batches


async def test_a_batch_has_at_most_so_many_bytes(sandbox: Sandbox, folder: Path) -> None:
    wanted = write_people(folder / "people.csv", 300)
    sizes: list[int] = []

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        sizes.append(size)
        return await send()

    transport = Way(sandbox, between)
    async with upload_client(
        sandbox, folder, users=10_000, encoded_bytes=3_000, transport=transport, confirm="off"
    ) as client:
        result = await uploaded(client)

    assert max(sizes) <= 3_000
    assert min(sizes[:-1]) > 2_900
    assert sandbox.people(AUDIENCE) == wanted
    assert result["calls"] == len(sizes)


@both_eras
async def test_a_413_halves_the_batch_and_goes_on(sandbox: Sandbox, folder: Path, mode: str) -> None:
    wanted = write_people(folder / "people.csv", 500)
    seen: list[int] = []

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        seen.append(size)
        if size > 2_000:
            return httpx.Response(413, headers={"content-type": "text/html"}, content=b"<html>too large</html>")
        return await send()

    store = Store(None)
    async with upload_client(
        sandbox, folder, mode=mode, users=200, store=store, transport=Way(sandbox, between), elicitation_callback=yes()
    ) as client:
        result = await uploaded(client)

    assert (result["state"], result["sent"]) == ("done", 500)
    assert sandbox.people(AUDIENCE) == wanted
    batches = batches_of(sandbox)
    assert sum(size for size, _, _ in batches) == 500
    assert [last for _, last, _ in batches] == [False] * (len(batches) - 1) + [True]
    (job,) = store.journal.jobs()
    assert (job.state, job.sent, job.ambiguous) == ("done", 500, None)


async def test_a_413_for_one_person_stops_with_nothing_in_doubt(folder: Path) -> None:
    sandbox = Sandbox(Faults([Fault.parse("html413")]))
    write_people(folder / "people.csv", 8)
    async with upload_client(sandbox, folder, confirm="off") as client:
        result = await uploaded(client)

    assert (result["state"], result["sent"], result["not_sent"], result["calls"]) == ("stopped", 0, 8, 4)
    assert "413" in result["reason"]


async def test_throttling_waits_longer_each_time_and_loses_nobody(sandbox: Sandbox, folder: Path) -> None:
    wanted = write_people(folder / "people.csv", 250)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    def throttled(after: str | None = None) -> httpx.Response:
        headers = {"x-acs-retry-after": after} if after else {}
        return httpx.Response(400, headers=headers, json={"Code": "Throttling.User", "Message": "", "RequestId": "1"})

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        # The client itself tries three times before it gives up.
        return throttled() if 4 <= number <= 12 else throttled("30000") if number == 14 else await send()

    async with upload_client(
        sandbox, folder, users=50, transport=Way(sandbox, between), sleep=sleep, confirm="off"
    ) as client:
        result = await uploaded(client)

    assert waits == [5.0, 10.0, 20.0, 30.0]
    assert result["state"] == "done"
    assert sandbox.people(AUDIENCE) == wanted
    assert sum(size for size, _, _ in batches_of(sandbox)) == 250


async def test_throttling_without_end_stops_with_nothing_in_doubt(folder: Path) -> None:
    sandbox = Sandbox(Faults([Fault.parse("throttle")]))
    write_people(folder / "people.csv", 150)
    store = Store(None)
    async with upload_client(sandbox, folder, store=store, confirm="off") as client:
        result = await uploaded(client)

    assert (result["state"], result["sent"], result["not_sent"]) == ("stopped", 0, 150)
    assert "Throttling.User" in result["reason"]
    (job,) = store.journal.jobs()
    assert job.ambiguous is None


@both_eras
async def test_progress_only_grows_and_ends_at_the_total(sandbox: Sandbox, folder: Path, mode: str) -> None:
    write_people(folder / "people.csv", 950)
    told: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    async with upload_client(sandbox, folder, mode=mode, elicitation_callback=yes()) as client:
        await uploaded(client, progress_callback=progress)

    numbers = [done for done, _, _ in told]
    assert all(one < other for one, other in pairwise(numbers))
    assert (told[-1][0], told[-1][1], told[-1][2]) == (950, 950, "950 of 950 people sent")
    assert len([total for _, total, _ in told if total == 950]) == 10


# Stops


@both_eras
@pytest.mark.parametrize("applied", [True, False])
async def test_an_ambiguous_batch_stops_the_upload_and_is_asked_for_again(
    sandbox: Sandbox, folder: Path, mode: str, applied: bool
) -> None:
    wanted = write_people(folder / "people.csv", 450)
    person, store = yes(), Store(None)
    transport = breaking(sandbox, 3, applied=applied)
    async with upload_client(
        sandbox, folder, mode=mode, store=store, transport=transport, elicitation_callback=person
    ) as client:
        stopped = await uploaded(client)
        done = await uploaded(client, FILE | {"resume": stopped["upload_id"]})

    assert (stopped["status"], stopped["state"], stopped["sent"]) == ("stopped", "stopped", 200)
    assert "resume" in stopped["next"]
    assert (stopped["may_have_been_sent"], stopped["not_sent"]) == (100, 150)
    assert stopped["reason"].startswith("the 100 people after the first 200 may have been applied:")
    assert (done["status"], done["sent"], done["upload_id"]) == ("sent", 450, stopped["upload_id"])
    assert sandbox.people(AUDIENCE) == wanted
    assert len(person.asked) == 2
    lines = person.asked[1].splitlines()
    assert lines[0] == 'Add 250 people to the Meta custom audience "VIP-Q1-1"?'
    resumes = f'This resumes the upload {stopped["upload_id"]} of the file "people.csv", '
    assert f"{resumes}which stopped after 200 of 450 people." in lines
    assert any(line.startswith("Warning: 100 of these 250 people may already have been sent:") for line in lines)
    assert events(store) == ["asked", "approved", "unknown", "asked", "approved", "sent"]
    sizes = [size for size, _, _ in batches_of(sandbox)]
    assert sizes == [100] * (5 if applied else 4) + [50]


@both_eras
async def test_a_no_to_the_repetition_sends_nothing_more(sandbox: Sandbox, folder: Path, mode: str) -> None:
    write_people(folder / "people.csv", 450)
    store = Store(None)
    async with upload_client(
        sandbox, folder, mode=mode, store=store, transport=breaking(sandbox, 3), elicitation_callback=yes()
    ) as client:
        stopped = await uploaded(client)
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=Person("decline")) as client:
        declined = await client.call_tool(UPLOAD, FILE | {"resume": stopped["upload_id"]})

    assert "the user declined" in text_of(declined)
    assert len(batches_of(sandbox)) == 3
    (job,) = store.journal.jobs()
    assert (job.state, job.sent, job.ambiguous.count) == ("stopped", 200, 100)


@both_eras
async def test_a_refusal_stops_and_going_on_asks_nothing(sandbox: Sandbox, folder: Path, mode: str) -> None:
    wanted = write_people(folder / "people.csv", 450)
    person, store = yes(), Store(None)

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        if number == 3:
            return httpx.Response(403, json={"Code": "Forbidden.RAM", "Message": "no", "RequestId": "1"})
        return await send()

    async with upload_client(
        sandbox, folder, mode=mode, store=store, transport=Way(sandbox, between), elicitation_callback=person
    ) as client:
        stopped = await uploaded(client)
        done = await uploaded(client, FILE | {"resume": stopped["upload_id"]})
        over = await client.call_tool(UPLOAD, FILE | {"resume": stopped["upload_id"]})

    assert (stopped["state"], stopped["sent"], stopped["may_have_been_sent"]) == ("stopped", 200, 0)
    assert "Forbidden.RAM" in stopped["reason"]
    assert (done["state"], done["sent"], done["calls"]) == ("done", 450, 3)
    assert "this upload is complete" in text_of(over)
    assert len(person.asked) == 1
    assert sandbox.people(AUDIENCE) == wanted
    assert [size for size, _, _ in batches_of(sandbox)] == [100] * 4 + [50]
    assert events(store) == ["asked", "approved", "sent", "resumed", "sent"]


@both_eras
@pytest.mark.parametrize("applied", [True, False])
async def test_a_cancelled_upload_goes_on_where_it_was(
    sandbox: Sandbox, folder: Path, mode: str, applied: bool
) -> None:
    wanted = write_people(folder / "people.csv", 450)
    person, store, reached = yes(), Store(None), anyio.Event()
    transport = hanging(sandbox, 3, reached, applied=applied)
    async with (
        upload_client(
            sandbox, folder, mode=mode, store=store, transport=transport, elicitation_callback=person
        ) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.call_tool, UPLOAD, FILE)
        await reached.wait()
        group.cancel_scope.cancel()
    (job,) = store.journal.jobs()
    assert (job.state, job.sent, job.ambiguous.count) == ("stopped", 200, 100)

    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=person) as client:
        done = await uploaded(client, FILE | {"resume": job.id})
    assert (done["state"], done["sent"]) == ("done", 450)
    assert sandbox.people(AUDIENCE) == wanted
    assert events(store) == ["asked", "approved", "unknown", "asked", "approved", "sent"]


@pytest.mark.parametrize("broken", [2, 3])
async def test_a_record_that_fails_in_between_stops_and_tells_what_was_sent(
    sandbox: Sandbox, tmp_path: Path, folder: Path, broken: int
) -> None:
    write_people(folder / "people.csv", 450)
    store = Store(tmp_path / "state")

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        if number == broken:
            (tmp_path / "state" / FILE_NAME).rename(tmp_path / "away")
            (tmp_path / "state" / FILE_NAME).mkdir()
        return await send()

    async with upload_client(sandbox, folder, store=store, transport=Way(sandbox, between), confirm="off") as client:
        result = await uploaded(client)
    store.close()
    (tmp_path / "state" / FILE_NAME).rmdir()
    (tmp_path / "away").rename(tmp_path / "state" / FILE_NAME)

    assert (result["state"], result["sent"]) == ("stopped", (broken - 1) * 100)
    assert (result["may_have_been_sent"], result["not_sent"]) == (100, 450 - broken * 100)
    assert "record" in result["reason"]
    assert len(batches_of(sandbox)) == broken
    (job,) = store.journal.jobs()
    assert job.position == ((broken - 1) * 100, 100)
    store.close()


# Going on only with the same


async def stopped_upload(sandbox: Sandbox, folder: Path, store: Store, **more: Any) -> str:
    """An upload of 450 that stopped after 200, with nothing in doubt."""

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        if number == 3:
            return httpx.Response(403, json={"Code": "Forbidden.RAM", "Message": "no", "RequestId": "1"})
        return await send()

    transport = Way(sandbox, between)
    async with upload_client(
        sandbox, folder, store=store, transport=transport, elicitation_callback=yes(), **more
    ) as client:
        return (await uploaded(client))["upload_id"]


@both_eras
@pytest.mark.parametrize(
    "change",
    ["contents", {"custom_audience_id": "6000019000001"}, {"path": "other.csv"}, {"suppression_path": "out.csv"}],
    ids=str,
)
async def test_another_file_or_target_is_no_resume(
    sandbox: Sandbox, folder: Path, mode: str, change: str | dict[str, str]
) -> None:
    write_people(folder / "people.csv", 450)
    store, person = Store(None), yes()
    upload = await stopped_upload(sandbox, folder, store)
    write_people(folder / "other.csv", 449)
    (folder / "out.csv").write_text(f"email\n{email(0)}\n", encoding="utf-8")
    arguments = FILE | {"resume": upload}
    if isinstance(change, str):
        (folder / "people.csv").write_text((folder / "people.csv").read_text() + "nobody\n")
    else:
        arguments |= change
    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=person) as client:
        result = await client.call_tool(UPLOAD, arguments)

    assert "not the upload that was approved" in text_of(result)
    assert not person.asked
    assert len(batches_of(sandbox)) == 2


async def test_the_same_people_in_another_order_are_no_resume(sandbox: Sandbox, folder: Path) -> None:
    """Two columns of the same people: taking the other one would go on after other people."""
    rows = ["x,y", *(f"{email(index)},{email(449 - index)}" for index in range(450))]
    (folder / "people.csv").write_text("\n".join(rows), encoding="utf-8")
    store, columns = Store(None), [{"email_column": "x"}, {"email_column": "y"}]

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        if number == 3:
            return httpx.Response(403, json={"Code": "Forbidden.RAM", "Message": "no", "RequestId": "1"})
        return await send()

    async with upload_client(
        sandbox, folder, store=store, transport=Way(sandbox, between), elicitation_callback=yes()
    ) as client:
        upload = (await uploaded(client, FILE | columns[0]))["upload_id"]
        other = await client.call_tool(UPLOAD, FILE | columns[1] | {"resume": upload})

    assert "not the upload that was approved" in text_of(other)
    assert len(batches_of(sandbox)) == 2


@both_eras
async def test_another_principal_cannot_resume(sandbox: Sandbox, folder: Path, mode: str) -> None:
    write_people(folder / "people.csv", 450)
    store, person = Store(None), yes()
    upload = await stopped_upload(sandbox, folder, store)
    other = Access("another")
    async with upload_client(
        sandbox, folder, mode=mode, store=store, access=other, elicitation_callback=person
    ) as client:
        result = await client.call_tool(UPLOAD, FILE | {"resume": upload})

    assert "not the upload that was approved" in text_of(result)
    assert not person.asked
    assert len(batches_of(sandbox)) == 2


async def test_an_unknown_upload_is_no_resume(sandbox: Sandbox, folder: Path) -> None:
    write_people(folder / "people.csv", 450)
    async with upload_client(sandbox, folder, confirm="off") as client:
        result = await client.call_tool(UPLOAD, FILE | {"resume": "nothing"})

    assert text_of(result).startswith("Nothing was sent: no upload has this id.")
    assert not sandbox.calls


async def test_an_audience_that_is_no_longer_allowed_is_not_written_to_by_resuming(
    sandbox: Sandbox, folder: Path
) -> None:
    write_people(folder / "people.csv", 450)
    store = Store(None)
    upload = await stopped_upload(sandbox, folder, store)
    async with upload_client(sandbox, folder, store=store, policy=Policy(targets=frozenset({"1"}))) as client:
        result = await client.call_tool(UPLOAD, FILE | {"resume": upload})

    assert "does not allow writes to this audience" in text_of(result)
    assert len(batches_of(sandbox)) == 2


# Two at once


async def test_of_two_that_resume_one_upload_none_doubles(tmp_path: Path, folder: Path) -> None:
    """Several processes would each have a store of their own on one file, as here."""
    sandbox = Sandbox()
    wanted = write_people(folder / "people.csv", 950)
    first_store = Store(tmp_path / "state")
    upload = await stopped_upload(sandbox, folder, first_store)
    outcomes: list[types.CallToolResult] = []
    stores = [Store(tmp_path / "state") for _ in range(4)]

    async def resume(store: Store) -> None:
        async with upload_client(sandbox, folder, store=store, confirm="off", users=50) as client:
            outcomes.append(await client.call_tool(UPLOAD, FILE | {"resume": upload}))

    async with anyio.create_task_group() as group:
        for store in stores:
            group.start_soon(resume, store)
    # Whoever lost it has stopped; if the one who has it was shut out between two batches, it goes on from there.
    while (job := first_store.journal.job(upload)).state != "done":
        assert job.ambiguous is None
        await resume(first_store)
    for store in (first_store, *stores):
        store.close()

    assert sandbox.people(AUDIENCE) == wanted
    assert sum(size for size, _, _ in batches_of(sandbox)) == 950


@both_eras
async def test_whoever_is_taken_over_stops_before_its_next_batch(sandbox: Sandbox, folder: Path, mode: str) -> None:
    """The first runner is held in its third batch while another goes on, after a yes to repeat that batch."""
    wanted = write_people(folder / "people.csv", 450)
    store, reached, go_on = Store(None), anyio.Event(), anyio.Event()
    results: list[dict[str, Any]] = []
    person = yes()

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        response = await send()
        if number == 3:
            reached.set()
            await go_on.wait()
        return response

    async def start() -> None:
        async with upload_client(
            sandbox, folder, mode=mode, store=store, transport=Way(sandbox, between), confirm="off"
        ) as client:
            results.append(await uploaded(client))

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await reached.wait()
        (job,) = store.journal.jobs()
        async with upload_client(
            sandbox, folder, mode=mode, store=store, users=40, elicitation_callback=person
        ) as client:
            done = await uploaded(client, FILE | {"resume": job.id})
        go_on.set()

    assert "Warning: another process may still be running this upload." in person.asked[0]
    assert (done["state"], done["sent"]) == ("done", 450)
    assert "another process took over this upload" in results[0]["reason"]
    assert [size for size, _, _ in batches_of(sandbox)] == [100, 100, 100, 40, 40, 40, 40, 40, 40, 10]
    assert sandbox.people(AUDIENCE) == wanted
    found = store.journal.job(job.id)
    assert (found.state, found.sent) == ("done", 450)


@both_eras
async def test_a_late_answer_says_nothing_of_a_larger_batch_that_another_cut_there(
    sandbox: Sandbox, folder: Path, mode: str
) -> None:
    """The first runner's 100 arrived. Of the 150 that the second sends from there on, the last 50 did not."""
    wanted = write_people(folder / "people.csv", 450)
    store, reached, go_on = Store(None), anyio.Event(), anyio.Event()

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        response = await send()
        if number == 3:
            reached.set()
            await go_on.wait()
        return response

    async def start() -> None:
        async with upload_client(
            sandbox, folder, mode=mode, store=store, transport=Way(sandbox, between), confirm="off"
        ) as client:
            await uploaded(client)

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await reached.wait()
        (job,) = store.journal.jobs()
        transport = breaking(sandbox, 1, applied=False)
        async with upload_client(
            sandbox, folder, mode=mode, store=store, users=150, transport=transport, elicitation_callback=yes()
        ) as client:
            stopped = await uploaded(client, FILE | {"resume": job.id})
        go_on.set()
    assert (stopped["sent"], stopped["may_have_been_sent"]) == (200, 150)
    assert store.journal.job(job.id).position == (200, 150)

    async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=yes()) as client:
        await uploaded(client, FILE | {"resume": job.id})
    assert sandbox.people(AUDIENCE) == wanted


@both_eras
async def test_a_batch_that_ends_while_the_person_is_asked_is_not_repeated(
    sandbox: Sandbox, folder: Path, mode: str
) -> None:
    wanted = write_people(folder / "people.csv", 450)
    store, reached, go_on, ended = Store(None), anyio.Event(), anyio.Event(), anyio.Event()

    async def between(number: int, size: int, send: Send) -> httpx.Response:
        response = await send()
        if number == 3:
            reached.set()
            await go_on.wait()
        return response

    async def start() -> None:
        async with upload_client(
            sandbox, folder, mode=mode, store=store, transport=Way(sandbox, between), confirm="off"
        ) as client:
            await uploaded(client)
        ended.set()

    async def late_yes(context: object, params: types.ElicitRequestFormParams) -> types.ElicitResult:
        go_on.set()
        await ended.wait()
        return types.ElicitResult(action="accept", content={"confirm": True})

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await reached.wait()
        (job,) = store.journal.jobs()
        async with upload_client(sandbox, folder, mode=mode, store=store, elicitation_callback=late_yes) as client:
            late = await client.call_tool(UPLOAD, FILE | {"resume": job.id})

    assert late.is_error
    assert re.search("in the meantime|is complete", text_of(late))
    assert sum(size for size, _, _ in batches_of(sandbox)) == 450
    assert sandbox.people(AUDIENCE) == wanted
    assert store.journal.job(job.id).state == "done"


@pytest.fixture(params=["sqlite", "redis"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    url = "sqlite" if request.param == "sqlite" else request.getfixturevalue("redis").url
    with closing(open_store(url, tmp_path)) as store:
        yield store.journal


def test_a_job_that_has_gone_on_is_not_taken(journal: Journal) -> None:
    job, owner = journal.start("people.csv", {}, "b", 450, 1)
    for position in ((0, 40), (40, 0), (450, 0)):
        with pytest.raises(NotConfirmed, match="in the meantime"):
            journal.take(job, position, 2, approved=False)
    journal.before(job, owner, 0, 450)
    with pytest.raises(NotConfirmed, match="in the meantime"):
        journal.take(job, (0, 0), 2, approved=False)
    journal.after(job, owner, 0, "unknown", None)
    journal.end(job, owner, "stopped", "x")
    last = journal.take(job, (0, 450), 2, approved=True)
    journal.before(job, last, 0, 450)
    journal.after(job, last, 0, "sent", "1")
    journal.end(job, last, "done", "")
    with pytest.raises(NotConfirmed, match="in the meantime"):
        journal.take(job, (450, 0), 3, approved=True)


def test_a_late_answer_does_not_mark_the_batch_of_a_new_owner(journal: Journal) -> None:
    job, first = journal.start("people.csv", {}, "b", 450, 1)
    journal.before(job, first, 0, 40)
    second = journal.take(job, (0, 40), 2, approved=True)
    journal.before(job, second, 0, 100)
    journal.after(job, first, 0, "sent", "1")

    found = journal.job(job)
    assert (found.sent, found.ambiguous.count) == (0, 100)


# What is kept


async def test_neither_the_record_nor_the_results_hold_an_address(tmp_path: Path, folder: Path) -> None:
    sandbox, store = Sandbox(), Store(tmp_path / "state")
    write_people(folder / "people.csv", 450)
    async with upload_client(
        sandbox, folder, store=store, transport=breaking(sandbox, 2), elicitation_callback=yes()
    ) as client:
        stopped = await client.call_tool(UPLOAD, FILE)
        done = await client.call_tool(UPLOAD, FILE | {"resume": stopped.structured_content["upload_id"]})
    store.close()

    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    for text in (kept, text_of(stopped).encode(), text_of(done).encode()):
        assert b"customer0" not in text


async def test_no_temporary_file_is_left(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spare))
    sandbox = Sandbox()
    write_people(folder / "people.csv", 450)
    async with upload_client(sandbox, folder, confirm="off") as client:
        await uploaded(client)

    assert not list(spare.iterdir())
