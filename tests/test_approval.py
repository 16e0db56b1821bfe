"""Which door a write waits at, and what a client and its assistant get to know of it.

Waiting itself: test_approval_waiting.py. The card in the chat: test_approval_cards.py.
"""

from __future__ import annotations

import re
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from support import ERAS, Person, mcp_server, text_of, writes_that_arrived, yes
from support_approval import (
    AT_ONCE,
    CARDS,
    LIST,
    OTHERS,
    SAME_PEOPLE,
    WRITE,
    FakePage,
    connected,
    decide,
    events,
    only,
    seen,
    unreachable,
)
from support_raw import LEGACY, MODERN, raw_client
from support_uploads import breaking

from cams_mcp.access import Access
from cams_mcp.approval.card import EXTENSION, MIME_TYPE
from cams_mcp.approval.view import as_shown
from cams_mcp.confirmation import ConfirmMode
from cams_mcp.guard import waiting
from cams_mcp.guard.policy import Policy
from cams_mcp.sandbox import Sandbox
from cams_mcp.store import Store

both_eras = pytest.mark.parametrize("mode", ERAS)
FORMS_DECLARED = {"elicitation": {"form": {}}}
CARDS_DECLARED = {"extensions": {EXTENSION: {"mimeTypes": [MIME_TYPE]}}}

WORDS_OF_DOORS = {
    "A page in the user's browser": "page",
    "A card in this chat": "card",
    "This write waits for a person": "approve",
    "A page may still open": "approve",
    "nobody can approve it here": "approve",
}
"""What the result of a waiting call says, and where the write waits then."""


def says_approve(following: str) -> bool:
    return any(words in following for words, door in WORDS_OF_DOORS.items() if door == "approve")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision in another process is noticed soon."""
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)


# The order of the doors


DOORS: dict[tuple[ConfirmMode, bool], dict[str, str]] = {
    ("auto", False): {"nothing": "token", "forms": "elicitation", "cards": "card", "both": "elicitation"},
    ("auto", True): {"nothing": "page", "forms": "elicitation", "cards": "page", "both": "elicitation"},
    ("person", False): {"nothing": "approve", "forms": "elicitation", "cards": "card", "both": "elicitation"},
    ("person", True): {"nothing": "page", "forms": "elicitation", "cards": "page", "both": "elicitation"},
    ("page", False): dict.fromkeys(("nothing", "forms", "cards", "both"), "approve"),
    ("page", True): dict.fromkeys(("nothing", "forms", "cards", "both"), "page"),
    ("card", False): {"nothing": "approve", "forms": "approve", "cards": "card", "both": "approve"},
    ("card", True): {"nothing": "approve", "forms": "approve", "cards": "card", "both": "approve"},
    ("token", True): dict.fromkeys(("nothing", "forms", "cards", "both"), "token"),
    ("off", True): dict.fromkeys(("nothing", "forms", "cards", "both"), "off"),
}
"""By --confirm and whether there is a page: the door of a client, by what it declares."""


def door_of(result: types.CallToolResult, person: Person, page: FakePage) -> str:
    """Where a write went, by what everyone saw of it."""
    content = result.structured_content or {}
    match content["status"]:
        case "confirmation_required":
            return "token"
        case "awaiting_approval":
            (door,) = {door for words, door in WORDS_OF_DOORS.items() if words in content["next"]}
            assert bool(page.shown) == (door == "page")
            return door
        case _:
            return "elicitation" if person.asked else "off"


@both_eras
@pytest.mark.parametrize("declares", ["nothing", "forms", "cards", "both"])
@pytest.mark.parametrize(("confirm", "has_page"), DOORS)
async def test_each_client_gets_the_first_door_that_is_there(
    sandbox: Sandbox, confirm: ConfirmMode, declares: str, mode: str, *, has_page: bool
) -> None:
    person, page = yes(), FakePage()
    client = ({"elicitation_callback": person} if declares in ("forms", "both") else {}) | (
        CARDS if declares in ("cards", "both") else {}
    )
    policy = Policy(confirm=confirm, wait_seconds=0)
    door = DOORS[confirm, has_page][declares]
    async with connected(
        sandbox, mode=mode, client=client, policy=policy, store=(store := Store(None)), page=page if has_page else None
    ) as connection:
        result = await connection.call_tool(WRITE, LIST)

    assert door_of(result, person, page) == door
    assert bool(writes_that_arrived(sandbox)) == (door in ("elicitation", "off"))
    assert {entry["channel"] for entry in store.audit()} == {door}


@pytest.mark.parametrize("version", [LEGACY, MODERN])
@pytest.mark.parametrize(
    "declared",
    [
        {"extensions": {EXTENSION: {}}},
        {"extensions": {EXTENSION: {"mimeTypes": []}}},
        {"extensions": {EXTENSION: {"mimeTypes": ["text/html"]}}},
        {"extensions": {EXTENSION: {"mimeTypes": MIME_TYPE}}},
        {"extensions": {EXTENSION: {"mimeTypes": [[MIME_TYPE], 1, None]}}},
        {"extensions": {EXTENSION.upper(): {"mimeTypes": [MIME_TYPE]}}},
        {"experimental": {EXTENSION: {"mimeTypes": [MIME_TYPE]}}},
        CARDS_DECLARED | {"elicitation": {}},
        CARDS_DECLARED | {"elicitation": {"url": {}}},
    ],
    ids=str,
)
async def test_a_client_that_does_not_quite_declare_cards_gets_none(
    sandbox: Sandbox, declared: dict[str, Any], version: str
) -> None:
    async with (
        mcp_server(sandbox, policy=Policy(confirm="card")) as server,
        raw_client(server, version, declared) as client,
    ):
        result = (await client.call(WRITE, LIST))["result"]
        await client.request("tools/list", {})
        listed = (await client.receive())["result"]["tools"]

    assert says_approve(result["structuredContent"]["next"])
    assert "decide_write" not in {tool["name"] for tool in listed}


# A door that does not open


@both_eras
@pytest.mark.parametrize("client", [{}, CARDS], ids=["nothing", "cards"])
@pytest.mark.parametrize("confirm", ["auto", "person", "page"])
async def test_a_page_that_fails_to_open_leads_to_the_card_or_the_terminal_and_never_to_a_token(
    sandbox: Sandbox, confirm: ConfirmMode, client: dict[str, Any], mode: str
) -> None:
    page, store = FakePage(opens=False), Store(None)
    async with connected(
        sandbox, mode=mode, client=client, confirm=confirm, store=store, page=page, command="cams-mcp approve"
    ) as connection:
        results = [await connection.call_tool(WRITE, LIST) for _ in range(3)]

    for result in results:
        content = result.structured_content
        assert content["status"] == "awaiting_approval"
        assert "A card in this chat" in content["next"] if client else says_approve(content["next"])
        assert f"cams-mcp approve {only(store).id}" in content["next"]
    assert page.shown == 3
    assert events(store) == ["asked"]


@both_eras
async def test_a_page_that_breaks_is_a_page_that_does_not_open(sandbox: Sandbox, mode: str) -> None:
    async def break_down() -> None:
        raise OSError("no such thing")

    page = FakePage(then=break_down)
    async with connected(sandbox, mode=mode, confirm="page", page=page, command="cams-mcp approve") as connection:
        result = await connection.call_tool(WRITE, LIST)

    assert says_approve(result.structured_content["next"])


@pytest.mark.parametrize("has_page", [True, False])
async def test_a_question_that_the_client_cannot_show_moves_to_the_next_door(
    sandbox: Sandbox, *, has_page: bool
) -> None:
    page, store = FakePage(), Store(None)
    async with (
        mcp_server(
            sandbox, policy=AT_ONCE, store=store, page=page if has_page else None, command="cams-mcp approve"
        ) as server,
        raw_client(server, LEGACY, FORMS_DECLARED) as client,
    ):
        asked = await client.call(WRITE, LIST)
        await client.send({"id": asked["id"], "error": {"code": -32601, "message": "what is that?"}})
        content = (await client.receive())["result"]["structuredContent"]

    assert "A page in the user's browser" in content["next"] if has_page else says_approve(content["next"])
    assert page.shown == has_page
    assert events(store) == ["asked"]


@pytest.mark.parametrize("version", [LEGACY, MODERN])
async def test_a_client_that_no_longer_declares_what_it_declared_gets_no_token_for_the_write_that_waits(
    sandbox: Sandbox, version: str
) -> None:
    store = Store(None)
    async with mcp_server(sandbox, store=store, command="cams-mcp approve") as server:
        async with raw_client(server, version, CARDS_DECLARED) as client:
            await client.call(WRITE, LIST)
        async with raw_client(server, version, {}) as client:
            content = (await client.call(WRITE, LIST))["result"]["structuredContent"]
            other = (await client.call(WRITE, OTHERS[0]))["result"]["structuredContent"]

    assert content["status"] == "awaiting_approval"
    assert says_approve(content["next"])
    assert other["status"] == "confirmation_required"


# Tokens


@both_eras
@pytest.mark.parametrize("confirm", ["person", "page", "card"])
async def test_where_a_person_approves_there_is_no_argument_for_a_token(
    sandbox: Sandbox, confirm: ConfirmMode, mode: str
) -> None:
    async with connected(sandbox, mode=mode, confirm=confirm) as client:
        (tool,) = [tool for tool in (await client.list_tools()).tools if tool.name == WRITE]
        result = await client.call_tool(WRITE, LIST | {"confirmation_token": "a" * 32})

    assert "confirmation_token" not in str([tool.input_schema, tool.output_schema])
    assert "confirmation_token: is not an argument" in text_of(result)
    assert not writes_that_arrived(sandbox)


async def token_of(client: Client, arguments: dict[str, Any] = LIST) -> str:
    return (await client.call_tool(WRITE, arguments)).structured_content["confirmation_token"]


@both_eras
@pytest.mark.parametrize("door", ["page", "card", "elicitation"])
async def test_a_token_is_refused_from_a_caller_who_would_not_get_one(sandbox: Sandbox, door: str, mode: str) -> None:
    store, person = Store(None), yes()
    client = {"card": CARDS, "elicitation": {"elicitation_callback": person}}.get(door, {})
    async with connected(sandbox, mode=mode, store=store) as assistant:
        token = await token_of(assistant)
    page = FakePage() if door == "page" else None
    async with connected(sandbox, mode=mode, client=client, store=store, page=page) as connection:
        result = await connection.call_tool(WRITE, LIST | {"confirmation_token": token})

    assert "no confirmation_token is accepted" in text_of(result)
    assert not person.asked
    assert not writes_that_arrived(sandbox)
    assert events(store) == ["asked", "blocked"]


@both_eras
async def test_a_token_of_another_principal_is_worth_nothing(sandbox: Sandbox, mode: str) -> None:
    store = Store(None)
    async with connected(sandbox, mode=mode, store=store, access=lambda: Access("alice")) as client:
        token = await token_of(client)
    async with connected(sandbox, mode=mode, store=store, access=lambda: Access("bob")) as client:
        result = await client.call_tool(WRITE, LIST | {"confirmation_token": token})

    assert text_of(result).startswith("Nothing was sent")
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_a_preview_says_that_the_answer_passes_through_the_assistant_and_what_else_there_is(
    sandbox: Sandbox, mode: str
) -> None:
    store = Store(None)
    async with connected(sandbox, mode=mode, store=store, command="cams-mcp approve") as client:
        preview = (await client.call_tool(WRITE, LIST)).structured_content["preview"]
        approval_id = only(store).id
        await decide(store)
        result = await client.call_tool(WRITE, LIST)

    assert preview.endswith(
        "Your answer reaches the server through the assistant.\n"
        f"To approve or decline it yourself, run in a terminal: cams-mcp approve {approval_id}"
    )
    assert result.structured_content["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1


@both_eras
async def test_whatever_an_assistant_finds_in_a_result_approves_nothing(sandbox: Sandbox, mode: str) -> None:
    store = Store(None)
    async with connected(
        sandbox, mode=mode, client=CARDS, policy=AT_ONCE, store=store, command="cams-mcp approve"
    ) as client:
        waits = await client.call_tool(WRITE, LIST)
        words = set(re.findall(r"[\w./:-]+", waits.model_dump_json())) | {only(store).binding, only(store).id}
        for word in words:
            arguments = {"approval_id": only(store).id, "decision": "approve", "proof": word}
            assert (await client.call_tool("decide_write", arguments)).is_error
            assert (await client.call_tool(WRITE, LIST | {"confirmation_token": word})).is_error

    assert only(store).state == "waiting"
    assert not writes_that_arrived(sandbox)


# No, and how often


@both_eras
async def test_a_declined_list_is_not_asked_about_again_in_any_order(sandbox: Sandbox, mode: str) -> None:
    clock = [1_800_000_000.0]
    store, page = Store(None, now=lambda: clock[0]), FakePage()
    async with connected(sandbox, mode=mode, policy=AT_ONCE, store=store, page=page) as client:
        await client.call_tool(WRITE, LIST)
        await decide(store, approve=False)
        for arguments in (LIST, SAME_PEOPLE):
            result = await client.call_tool(WRITE, arguments)
            assert text_of(result).startswith("Nothing was sent: a person declined this write")
        assert page.shown == 1
        clock[0] += 600
        again = await client.call_tool(WRITE, LIST)

    assert again.structured_content["status"] == "awaiting_approval"
    assert page.shown == 2
    assert events(store) == ["asked", "declined", "blocked", "blocked", "asked"]


@both_eras
async def test_a_no_in_the_client_counts_at_every_door(sandbox: Sandbox, mode: str) -> None:
    store = Store(None)
    async with connected(sandbox, mode=mode, client={"elicitation_callback": Person("decline")}, store=store) as client:
        assert "the user declined" in text_of(await client.call_tool(WRITE, LIST))
    async with connected(sandbox, mode=mode, store=store) as client:
        result = await client.call_tool(WRITE, SAME_PEOPLE)

    assert "a person declined this write" in text_of(result)


@both_eras
async def test_a_no_ends_every_question_about_the_same_people(sandbox: Sandbox, mode: str) -> None:
    """Two orders of one list wait. A person declines one, and the assistant has a token for the other."""
    store = Store(None)
    async with connected(sandbox, mode=mode, store=store) as client:
        token = await token_of(client, SAME_PEOPLE)
        await client.call_tool(WRITE, LIST)
        other, one = store.pending()
        await decide(store, approve=False, approval_id=one.id)
        result = await client.call_tool(WRITE, SAME_PEOPLE | {"confirmation_token": token})
        await decide(store, approval_id=other.id)
        again = await client.call_tool(WRITE, SAME_PEOPLE)

    for each in (result, again):
        assert "a person declined this write" in text_of(each)
    assert {each.state for each in store.pending()} == {"declined"}
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_a_no_after_a_yes_to_another_order_of_the_list_stops_what_is_not_sent_yet(
    sandbox: Sandbox, mode: str
) -> None:
    store = Store(None)
    async with connected(sandbox, mode=mode, policy=AT_ONCE, store=store, page=FakePage(), holds=False) as client:
        for arguments in (LIST, SAME_PEOPLE):
            await client.call_tool(WRITE, arguments)
        one, other = store.pending()
        await decide(store, approval_id=one.id)
        await decide(store, approve=False, approval_id=other.id)
        result = await client.call_tool(WRITE, LIST)

    assert "a person declined this write" in text_of(result)
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_a_no_of_one_principal_does_not_speak_for_another(sandbox: Sandbox, mode: str) -> None:
    store = Store(None)
    for principal in ("alice", "bob"):
        async with connected(
            sandbox,
            mode=mode,
            client={"elicitation_callback": Person("decline") if principal == "alice" else yes()},
            store=store,
            access=lambda principal=principal: Access(principal),
        ) as client:
            await client.call_tool(WRITE, LIST)

    assert len(writes_that_arrived(sandbox)) == 1


@both_eras
async def test_at_most_five_writes_of_one_principal_wait(sandbox: Sandbox, mode: str) -> None:
    store, page = Store(None), FakePage()
    async with connected(sandbox, mode=mode, policy=AT_ONCE, store=store, page=page) as client:
        for arguments in OTHERS[:5]:
            await client.call_tool(WRITE, arguments)
        refused = await client.call_tool(WRITE, LIST)
        joined = await client.call_tool(WRITE, OTHERS[0])
        assert len(store.pending()) == 5
        await decide(store, approve=False, approval_id=store.pending()[0].id)
        sixth = await client.call_tool(WRITE, LIST)
    async with connected(
        sandbox, mode=mode, policy=AT_ONCE, store=store, page=page, access=lambda: Access("bob")
    ) as client:
        of_bob = await client.call_tool(WRITE, LIST)

    assert text_of(refused).startswith("Nothing was sent, and the user was not asked: 5 writes are already waiting")
    for result in (joined, sixth, of_bob):
        assert result.structured_content["status"] == "awaiting_approval"


# What the doors show


@pytest.mark.parametrize(
    ("state", "english", "chinese"),
    [
        ("waiting", "", ""),
        ("approved", "Approved with cams-mcp approve by ada@laptop at", "批准，尚未发送。"),
        ("declined", "Nothing was sent.", "拒绝，未发送任何数据。"),
        ("sent", "and sent. CAMS accepted it.", "批准并发送，CAMS 已受理。"),
        ("refused", "but it failed. Nothing was sent.", "但发送失败，未发送任何数据。"),
        ("unknown", "The outcome is unknown: it may have been applied.", "发送结果未知，可能已生效。"),
    ],
)
async def test_every_state_has_its_words_in_both_languages(
    sandbox: Sandbox, state: str, english: str, chinese: str
) -> None:
    store = Store(None)
    way = {"refused": unreachable(sandbox), "unknown": breaking(sandbox, 1)}.get(state)
    async with connected(
        sandbox,
        policy=AT_ONCE,
        store=store,
        page=FakePage(),
        holds=state != "approved",
        **({"transport": way} if way else {}),
    ) as client:
        await client.call_tool(WRITE, LIST)
        assert as_shown(only(store), "en", only(store).asked)["samples"]
        if state != "waiting":
            await decide(store, approve=state != "declined")
        pending = await seen(store, state)
    shown = {language: as_shown(pending, language, pending.asked + 1) for language in ("en", "zh")}

    assert {each["state"] for each in shown.values()} == {state}
    assert english in shown["en"]["outcome"]
    assert chinese in shown["zh"]["outcome"]
    assert shown["en"]["question"] == 'Add 120 people to the Meta custom audience "VIP-Q1-1"?'
    assert "VIP-Q1-1" in shown["zh"]["question"]
    assert bool(shown["en"]["samples"]) == (state == "waiting")
    assert shown["en"]["seconds_left"] <= 599
