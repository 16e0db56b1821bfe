"""The card in the chat, seen from the server: who gets its tools and its HTML, and what only the card can do."""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import ERAS, text_of, writes_that_arrived, yes
from support_approval import (
    CARDS,
    LIST,
    OTHERS,
    WRITE,
    Card,
    FakePage,
    bytes_in,
    connected,
    decide,
    events,
    key_of,
    only,
    seen,
)
from support_http import ALICE, BOB, READER, bearer, people_of, program
from support_process import Program

from cams_mcp.access import READ_SCOPE, Access
from cams_mcp.approval.card import DECIDE, SHOW, URI, card_key, proof
from cams_mcp.guard import waiting
from cams_mcp.guard.policy import Policy
from cams_mcp.sandbox import Sandbox
from cams_mcp.store import Store

both_eras = pytest.mark.parametrize("mode", ERAS)
ONLY_READ = Access("alice", frozenset({READ_SCOPE}))
NO_CARDS: dict[str, dict[str, Any]] = {
    "declares nothing": {"client": {}},
    "declares elicitation": {"client": CARDS | {"elicitation_callback": yes()}},
    "may not write": {"access": lambda: ONLY_READ},
    "is read-only": {"read_only": True},
    "has none": {"policy": Policy(cards=False)},
    "chose the page": {"policy": Policy(confirm="page")},
    "chose tokens": {"policy": Policy(confirm="token")},
}
"""Who gets no cards: options of `connected`, for a client that declares them if not said otherwise."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision in another process is noticed soon."""
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)


# Who gets them


@both_eras
async def test_a_client_that_shows_cards_gets_two_tools_and_a_link_to_the_view(sandbox: Sandbox, mode: str) -> None:
    async with connected(sandbox, mode=mode, client=CARDS) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        resources = {str(resource.uri) for resource in (await client.list_resources()).resources}
        key = await key_of(client)

    assert {SHOW, DECIDE} <= tools.keys()
    writing = [name for name, tool in tools.items() if not tool.annotations.read_only_hint]
    assert [name for name, tool in tools.items() if URI in str(tool.meta)] == [
        name for name in writing if name != DECIDE
    ]
    assert tools[WRITE].meta["ui"]["resourceUri"] == URI
    assert URI not in resources
    assert key not in json.dumps([tool.model_dump(mode="json") for tool in tools.values()])


@both_eras
@pytest.mark.parametrize("who", NO_CARDS)
async def test_everyone_else_gets_neither_the_tools_nor_the_link_nor_the_html(
    sandbox: Sandbox, who: str, mode: str
) -> None:
    store = Store(None)
    options = {"client": CARDS, "store": store} | NO_CARDS[who]
    key = card_key(store.secret(), options.get("access", Access)().principal)
    async with connected(sandbox, mode=mode, **options) as client:
        tools = (await client.list_tools()).tools
        with pytest.raises(MCPError) as unreadable:
            await client.read_resource(URI)
        for name in (SHOW, DECIDE):
            with pytest.raises(MCPError):
                await client.call_tool(name, {"proof": proof(key, "show", "")})

    assert not {tool.name for tool in tools} & {SHOW, DECIDE}
    assert "ui://" not in str(tools)
    assert "Unknown resource" in str(unreadable.value)
    assert key not in str(unreadable.value)


# What they do


@both_eras
async def test_a_yes_on_the_card_sends_once_and_the_card_follows_it(sandbox: Sandbox, mode: str) -> None:
    store = Store(None)
    async with connected(sandbox, mode=mode, client=CARDS, store=store, command="cams-mcp approve") as client:
        card = Card(client, await key_of(client))
        result = await client.call_tool(WRITE, LIST)
        approval_id = result.structured_content["approval_id"]
        (before,) = (await card.show(approval_id)).structured_content["writes"]
        decided = [await card.decide(approval_id) for _ in range(3)]
        await seen(store, "sent")
        (after,) = (await card.show()).structured_content["writes"]
        (chinese,) = (await card.show(approval_id, "zh")).structured_content["writes"]
        again = await client.call_tool(WRITE, LIST)

    assert "A card in this chat asks the user to approve this write." in result.structured_content["next"]
    assert f"cams-mcp approve {approval_id}" in result.structured_content["next"]
    assert (before["state"], before["outcome"]) == ("waiting", "")
    assert before["samples"]
    assert [each.structured_content["writes"][0]["id"] for each in decided] == [approval_id] * 3
    assert after["state"] == chinese["state"] == "sent"
    assert after["outcome"].startswith('Approved on the card shown by "mcp 0.1.0" at')
    assert "显示的卡片中批准" in chinese["outcome"]
    assert not after["samples"]
    assert again.structured_content["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1
    trail = store.audit()
    assert [entry["event"] for entry in trail] == ["asked", "approved", "sent"]
    assert [entry["channel"] for entry in trail] == ["card", "card", "card"]
    assert trail[1]["by"] == "mcp 0.1.0"


@both_eras
async def test_a_no_on_the_card_sends_nothing(sandbox: Sandbox, mode: str) -> None:
    store = Store(None)
    async with connected(sandbox, mode=mode, client=CARDS, store=store) as client:
        card = Card(client, await key_of(client))
        await client.call_tool(WRITE, LIST)
        declined = await card.decide(only(store).id, "decline")
        late = await card.decide(only(store).id, "approve")
        again = await client.call_tool(WRITE, LIST)

    for result in (declined, late):
        assert result.structured_content["writes"][0]["state"] == "declined"
    assert "a person declined this write" in text_of(again)
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_the_first_decision_counts_whatever_the_door(sandbox: Sandbox, mode: str) -> None:
    store = Store(None)
    async with connected(sandbox, mode=mode, client=CARDS, store=store) as client:
        card = Card(client, await key_of(client))
        await client.call_tool(WRITE, LIST)
        await decide(store, approve=False)
        late = await card.decide(only(store).id)

    assert late.structured_content["writes"][0]["state"] == "declined"
    assert events(store) == ["asked", "declined"]
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_one_card_shows_all_that_waits_of_its_principal_and_nothing_of_others(
    sandbox: Sandbox, mode: str
) -> None:
    store = Store(None)
    shown: dict[str, list[str]] = {}
    for principal, lists in (("alice", OTHERS[:3]), ("bob", OTHERS[3:5])):
        async with connected(
            sandbox, mode=mode, client=CARDS, store=store, access=lambda principal=principal: Access(principal)
        ) as client:
            for arguments in lists:
                await client.call_tool(WRITE, arguments)
            result = await Card(client, await key_of(client)).show()
            shown[principal] = [write["id"] for write in result.structured_content["writes"]]

    assert shown == {who: [each.id for each in store.pending() if each.principal == who] for who in ("alice", "bob")}
    assert [len(ids) for ids in shown.values()] == [3, 2]


# Attacks


@both_eras
async def test_without_a_proof_of_this_principal_nothing_is_shown_or_decided(sandbox: Sandbox, mode: str) -> None:
    store = Store(None)
    async with connected(sandbox, mode=mode, client=CARDS, store=store, access=lambda: Access("alice")) as client:
        await client.call_tool(WRITE, LIST)
        pending = only(store)
        mine = await key_of(client)
        others = [card_key(store.secret(), "bob"), card_key(b"guessed", "alice"), "0" * 64, ""]
        proofs: list[Any] = [proof(key, "decide", pending.id, "approve") for key in others]
        proofs += [
            proof(mine, "decide", pending.id, "decline"),
            proof(mine, "decide", "AAAAAAAA", "approve"),
            proof(mine, "show", pending.id),
            mine,
            "",
            pending.binding,
        ]
        results = [
            await client.call_tool(DECIDE, {"approval_id": pending.id, "decision": "approve", "proof": given})
            for given in proofs
        ]
        shows = [proof(key, "show", pending.id) for key in others] + [proof(mine, "show", ""), mine]
        results += [await client.call_tool(SHOW, {"approval_id": pending.id, "proof": given}) for given in shows]

    assert [result.is_error for result in results] == [True] * len(results)
    for result in results:
        assert result.structured_content is None
        assert "VIP-Q1-1" not in text_of(result)
    assert only(store) == pending
    assert events(store) == ["asked"]
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_a_proof_is_of_no_use_to_another_principal(sandbox: Sandbox, mode: str) -> None:
    """Bob has everything of Alice but her session: id, proofs and the HTML of her card."""
    store = Store(None)
    async with connected(sandbox, mode=mode, client=CARDS, store=store, access=lambda: Access("alice")) as client:
        await client.call_tool(WRITE, LIST)
        key_of_alice = await key_of(client)
    async with connected(sandbox, mode=mode, client=CARDS, store=store, access=lambda: Access("bob")) as client:
        key_of_bob = await key_of(client)
        results = [
            await each
            for key in (key_of_alice, key_of_bob)
            for card in [Card(client, key)]
            for each in (card.show(only(store).id), card.decide(only(store).id), card.decide(only(store).id, "decline"))
        ]

    assert [result.is_error for result in results] == [True, True, True, False, True, True]
    assert results[3].structured_content["writes"] == []
    assert only(store).state == "waiting"
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_a_decision_after_the_question_expired_decides_nothing(sandbox: Sandbox, mode: str) -> None:
    clock = [1_800_000_000.0]
    store = Store(None, now=lambda: clock[0])
    async with connected(sandbox, mode=mode, client=CARDS, store=store) as client:
        card = Card(client, await key_of(client))
        await client.call_tool(WRITE, LIST)
        approval_id = only(store).id
        clock[0] += 600
        late = await card.decide(approval_id)
        shown = await card.show(approval_id)

    assert "no write with this id is waiting" in text_of(late)
    assert shown.structured_content["writes"] == []
    assert events(store) == ["asked", "expired"]
    assert not writes_that_arrived(sandbox)


async def test_a_cached_card_is_good_after_a_restart_and_in_another_process(sandbox: Sandbox, tmp_path: Path) -> None:
    store = Store(tmp_path)
    async with connected(sandbox, client=CARDS, store=store) as client:
        key = await key_of(client)
        await client.call_tool(WRITE, LIST)
    store.close()
    store = Store(tmp_path)
    async with connected(sandbox, client=CARDS, store=store) as client:
        result = await Card(client, key).decide(only(store).id)
        again = await client.call_tool(WRITE, LIST)

    assert result.structured_content["writes"][0]["state"] == "approved"
    assert again.structured_content["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1
    store.close()


@both_eras
async def test_the_key_and_the_token_stand_in_no_result_log_trace_or_trail(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, tmp_path: Path, mode: str
) -> None:
    caplog.set_level(logging.DEBUG)
    exporter = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    store = Store(tmp_path)
    results: list[Any] = []
    async with connected(sandbox, mode=mode, client=CARDS, store=store) as client:
        key = await key_of(client)
        card = Card(client, key)
        results.append(await client.call_tool(WRITE, LIST))
        results += [await card.show(), await card.decide(only(store).id)]
        results.append(await client.call_tool(DECIDE, {"approval_id": "A", "decision": "approve", "proof": key}))
        results.append(await client.call_tool(SHOW, {"proof": key}))
        await seen(store, "sent")
    secrets = [key, proof(key, "show", ""), proof(key, "decide", only(store).id, "approve")]
    async with connected(sandbox, mode=mode, store=store) as client:
        token = (await client.call_tool(WRITE, OTHERS[0])).structured_content["confirmation_token"]
        results.append(await client.call_tool(WRITE, OTHERS[0] | {"confirmation_token": token}))
    kept = bytes_in(tmp_path)
    spans = "".join(span.to_json() for span in exporter.get_finished_spans())
    said = "".join(result.model_dump_json() for result in results) + json.dumps(store.audit()) + spans
    store.close()

    assert spans
    for secret in [*secrets, token]:
        assert secret not in said
        assert secret not in caplog.text.replace(f"'proof': '{secret}'", "")
        assert secret.encode() not in kept


# Over HTTP


def card_server(directory: Path, *options: str) -> AbstractContextManager[tuple[Program, str]]:
    """A server with alice, bob and a reader, whose store other processes can see; and its URL."""
    tokens = people_of(directory / "tokens")
    return program("--auth-token-file", tokens, "--state-dir", directory / "state", *options)


@both_eras
async def test_over_http_a_yes_on_the_card_sends_once_and_only_for_its_principal(tmp_path: Path, mode: str) -> None:
    with card_server(tmp_path) as (_, url):
        async with bearer(url, ALICE, mode, **CARDS) as alice, bearer(url, BOB, mode, **CARDS) as bob:
            result = await alice.call_tool(WRITE, LIST)
            approval_id = result.structured_content["approval_id"]
            theirs = [await Card(bob, await key_of(each)).decide(approval_id) for each in (alice, bob)]
            mine = await Card(alice, await key_of(alice)).decide(approval_id)
            again = await alice.call_tool(WRITE, LIST)
        async with bearer(url, READER, mode, **CARDS) as reader:
            listed = {tool.name for tool in (await reader.list_tools()).tools}
            with pytest.raises(MCPError):
                await reader.read_resource(URI)
    store = Store(tmp_path / "state")

    assert "A card in this chat" in result.structured_content["next"]
    assert [each.is_error for each in theirs] == [True, True]
    assert mine.structured_content["writes"][0]["state"] in ("approved", "sending", "sent")
    assert again.structured_content["status"] == "sent"
    assert not listed & {SHOW, DECIDE, WRITE}
    assert events(store) == ["asked", "approved", "sent"]
    assert {entry["principal"] for entry in store.audit()} == {"alice"}
    store.close()


@pytest.mark.parametrize("confirm", ["person", "auto"])
async def test_without_sessions_a_legacy_client_gets_no_card_and_a_modern_one_does(
    tmp_path: Path, confirm: str
) -> None:
    with card_server(tmp_path, "--legacy-sessions", "off", "--confirm", confirm) as (_, url):
        async with bearer(url, ALICE, "legacy", **CARDS) as client:
            listed = {tool.name for tool in (await client.list_tools()).tools}
            legacy = await client.call_tool(WRITE, LIST)
        async with bearer(url, BOB, "auto", **CARDS) as client:
            modern = await client.call_tool(WRITE, LIST)

    assert not listed & {SHOW, DECIDE}
    expected = {"person": "awaiting_approval", "auto": "confirmation_required"}[confirm]
    assert legacy.structured_content["status"] == expected
    if confirm == "person":
        assert "This write waits for a person" in legacy.structured_content["next"]
        assert "cams-mcp approve" in legacy.structured_content["next"]
    assert "A card in this chat" in modern.structured_content["next"]


@both_eras
async def test_what_waits_at_the_page_cannot_be_decided_or_seen_with_the_key_of_a_card(
    sandbox: Sandbox, mode: str
) -> None:
    """An assistant that reads the card's HTML has the key. It must not open the better door."""
    store, page = Store(None), FakePage()
    async with connected(
        sandbox, mode=mode, client=CARDS, store=store, page=page, policy=Policy(wait_seconds=0)
    ) as client:
        await client.call_tool(WRITE, LIST)
        card = Card(client, await key_of(client))
        shown = await card.show()
        decided = await card.decide(only(store).id)

    assert page.shown == 1
    assert shown.structured_content["writes"] == []
    assert decided.is_error
    assert only(store).state == "waiting"
    assert not writes_that_arrived(sandbox)


@both_eras
async def test_a_page_that_does_not_open_hands_the_write_to_the_card(sandbox: Sandbox, mode: str) -> None:
    store = Store(None)
    page = FakePage(opens=False)
    async with connected(sandbox, mode=mode, client=CARDS, store=store, page=page) as client:
        await client.call_tool(WRITE, LIST)
        card = Card(client, await key_of(client))
        await card.decide(only(store).id)
        await seen(store, "sent")

    assert len(writes_that_arrived(sandbox)) == 1
