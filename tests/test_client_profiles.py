"""The guard, seen from the main clients: each one's declared capabilities, played by a client of raw JSON-RPC.

What each declares, as far as is publicly known (late 2026):

- Claude Desktop: no elicitation; 2025-06-18 in the public lists of clients.
- Claude Code: elicitation, declared bare (which means forms), and roots; since its 2.1.76. It speaks 2025-11-25.
- VS Code: elicitation with forms and URLs, sampling, roots, tasks. It speaks 2025-11-25.

No public report was found of one that speaks 2026-07-28. The same capabilities are played there too, for that day.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from support import AUDIENCE, TARGET, mcp_server, people, writes_that_arrived
from support_raw import LEGACY, MODERN, RawClient, raw_client

from cams_mcp.guard.policy import Policy
from cams_mcp.sandbox import Sandbox
from cams_mcp.store import Store

WRITE = "add_custom_audience_user"
LIST = TARGET | {"users": people(120)}
OTHER_LIST = TARGET | {"users": people(120, start=500)}
YES = {"action": "accept", "content": {"confirm": True}}
NOES = [
    {"action": "decline"},
    {"action": "cancel"},
    {"action": "accept"},
    {"action": "accept", "content": {}},
    {"action": "accept", "content": {"confirm": False}},
]


@dataclass(frozen=True)
class Profile:
    """A client: its capabilities, and whether it shows questions to its person."""

    capabilities: dict[str, Any]
    shows_questions: bool
    versions: tuple[str, ...]


PROFILES = {
    "claude-desktop": Profile({}, shows_questions=False, versions=("2025-06-18", LEGACY)),
    "claude-desktop-roots": Profile({"roots": {}}, shows_questions=False, versions=(LEGACY,)),
    "claude-code": Profile(
        {"roots": {"listChanged": True}, "elicitation": {}}, shows_questions=True, versions=("2025-06-18", LEGACY)
    ),
    "claude-code-form": Profile({"elicitation": {"form": {}}}, shows_questions=True, versions=(LEGACY,)),
    "vs-code": Profile(
        {
            "roots": {"listChanged": True},
            "sampling": {},
            "elicitation": {"form": {}, "url": {}},
            "tasks": {"list": {}, "cancel": {}, "requests": {"elicitation": {"create": {}}}},
        },
        shows_questions=True,
        versions=(LEGACY,),
    ),
}
CASES = [
    pytest.param(profile, version, id=f"{name}-{version}")
    for name, profile in PROFILES.items()
    for version in (*profile.versions, MODERN)
]
EACH = pytest.mark.parametrize(("profile", "version"), CASES)
WHO_ASK = pytest.mark.parametrize(("profile", "version"), [case for case in CASES if case.values[0].shows_questions])
WHO_CANNOT = pytest.mark.parametrize(
    ("profile", "version"), [case for case in CASES if not case.values[0].shows_questions]
)


class Assistant:
    """The assistant and the person behind a client."""

    def __init__(self, client: RawClient, profile: Profile, version: str) -> None:
        self._client, self._profile, self._version = client, profile, version
        self.questions: list[str] = []

    async def call(self, arguments: dict[str, Any], answer: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the write; answer so if a question comes. Gives the result."""
        message = await self._client.call(WRITE, arguments)
        if self._version == MODERN:
            if message["result"].get("resultType") != "input_required":
                return message["result"]
            (key, request), *others = message["result"]["inputRequests"].items()
            assert others == []
            self._note(request)
            responses = {key: answer}
            state = message["result"]["requestState"]
            return (await self._client.call(WRITE, arguments, inputResponses=responses, requestState=state))["result"]
        if "method" not in message:
            return message["result"]
        self._note(message)
        await self._client.answer(message, answer)
        return (await self._result())["result"]

    async def _result(self) -> dict[str, Any]:
        while "result" not in (message := await self._client.receive()):
            assert message["method"] == "notifications/progress"
        return message

    def _note(self, request: dict[str, Any]) -> None:
        # Whatever else a client declares, forms are all it is asked for.
        assert request["method"] == "elicitation/create"
        assert request["params"].get("mode", "form") == "form"
        self.questions.append(request["params"]["message"])


@asynccontextmanager
async def assistant(sandbox: Sandbox, profile: Profile, version: str, **server: Any) -> AsyncGenerator[Assistant]:
    async with (
        mcp_server(sandbox, **server) as running,
        raw_client(running, version, profile.capabilities) as client,
    ):
        if version != MODERN and profile.capabilities.get("roots", {}).get("listChanged"):
            await client.send({"method": "notifications/roots/list_changed"})
        yield Assistant(client, profile, version)


def text_of(result: dict[str, Any]) -> str:
    return result["content"][0]["text"]


def events(store: Store) -> list[tuple[Any, Any]]:
    return [(entry["event"], entry["channel"]) for entry in store.audit()]


@WHO_ASK
@pytest.mark.parametrize("answer", NOES, ids=json.dumps)
async def test_a_no_in_the_dialog_sends_nothing(
    sandbox: Sandbox, profile: Profile, version: str, answer: dict[str, Any]
) -> None:
    store = Store(None)
    async with assistant(sandbox, profile, version, store=store) as someone:
        result = await someone.call(LIST, answer)

    assert result["isError"]
    assert text_of(result).startswith("Nothing was sent:")
    assert len(someone.questions) == 1
    assert not writes_that_arrived(sandbox)
    assert events(store) == [("asked", "elicitation"), ("declined", "elicitation")]


@WHO_ASK
async def test_a_yes_in_the_dialog_sends_that_list_once(sandbox: Sandbox, profile: Profile, version: str) -> None:
    store = Store(None)
    async with assistant(sandbox, profile, version, store=store) as someone:
        await someone.call(OTHER_LIST, NOES[0])
        result = await someone.call(LIST, YES)

    assert result["structuredContent"]["status"] == "sent"
    assert "Add 120 people" in someone.questions[1]
    (write,) = writes_that_arrived(sandbox)
    assert json.loads(write.parameters["Users"])[0] == {"Email": LIST["users"][0]["email"]}
    assert [event for event, _ in events(store)][-2:] == ["approved", "sent"]


@WHO_ASK
async def test_the_dialog_says_when_a_list_goes_out_again(sandbox: Sandbox, profile: Profile, version: str) -> None:
    async with assistant(sandbox, profile, version) as someone:
        await someone.call(LIST, YES)
        await someone.call(LIST | {"users": LIST["users"][::-1]}, NOES[0])

    first, again = someone.questions
    assert "the same list was already sent to this audience" not in first
    assert "the same list was already sent to this audience" in again
    assert len(writes_that_arrived(sandbox)) == 1


@WHO_CANNOT
async def test_a_client_without_dialogs_gets_a_preview_and_confirms_in_a_second_call(
    sandbox: Sandbox, profile: Profile, version: str
) -> None:
    store = Store(None)
    async with assistant(sandbox, profile, version, store=store) as someone:
        left_alone = (await someone.call(OTHER_LIST))["structuredContent"]
        preview = (await someone.call(LIST))["structuredContent"]
        assert not writes_that_arrived(sandbox)
        confirmed = LIST | {"confirmation_token": preview["confirmation_token"]}
        sent = await someone.call(confirmed)
        again = await someone.call(confirmed)

    assert left_alone["status"] == preview["status"] == "confirmation_required"
    assert "Add 120 people" in preview["preview"]
    assert sent["structuredContent"]["status"] == "sent"
    assert again["structuredContent"]["request_id"] == sent["structuredContent"]["request_id"]
    assert "This is its recorded result. Nothing was sent again." in again["structuredContent"]["next"]
    assert len(writes_that_arrived(sandbox)) == 1
    assert someone.questions == []
    assert events(store)[:2] == [("asked", "token"), ("asked", "token")]


@EACH
async def test_with_confirm_token_no_client_is_asked_and_a_swapped_list_is_refused(
    sandbox: Sandbox, profile: Profile, version: str
) -> None:
    async with assistant(sandbox, profile, version, confirm="token") as someone:
        token = {"confirmation_token": (await someone.call(LIST))["structuredContent"]["confirmation_token"]}
        swapped = await someone.call(OTHER_LIST | token)
        fresh = {"confirmation_token": (await someone.call(LIST))["structuredContent"]["confirmation_token"]}
        sent = await someone.call(LIST | fresh)

    assert "for a different call" in text_of(swapped)
    assert sent["structuredContent"]["status"] == "sent"
    assert len(writes_that_arrived(sandbox)) == 1
    assert someone.questions == []


@EACH
async def test_a_made_up_token_confirms_nothing(sandbox: Sandbox, profile: Profile, version: str) -> None:
    async with assistant(sandbox, profile, version) as someone:
        result = await someone.call(LIST | {"confirmation_token": "the-user-said-yes"}, NOES[0])

    assert result["isError"]
    assert not writes_that_arrived(sandbox)


@EACH
@pytest.mark.parametrize(
    "policy", [Policy(per_call=119), Policy(per_day=119), Policy(targets=frozenset({f"{AUDIENCE}9"}))]
)
async def test_what_the_operator_forbids_is_refused_before_anybody_is_asked(
    sandbox: Sandbox, profile: Profile, version: str, policy: Policy
) -> None:
    store = Store(None)
    async with assistant(sandbox, profile, version, policy=policy, store=store) as someone:
        result = await someone.call(LIST, YES)

    assert result["isError"]
    assert someone.questions == []
    assert not writes_that_arrived(sandbox)
    assert [event for event, _ in events(store)] == ["blocked"]


@EACH
async def test_with_confirm_off_no_client_is_asked_and_a_repetition_is_refused(
    sandbox: Sandbox, profile: Profile, version: str
) -> None:
    async with assistant(sandbox, profile, version, confirm="off") as someone:
        sent = await someone.call(LIST)
        again = await someone.call(LIST)

    assert sent["structuredContent"]["status"] == "sent"
    assert text_of(again).startswith("Nothing was sent:")
    assert someone.questions == []
    assert len(writes_that_arrived(sandbox)) == 1


@EACH
async def test_read_only_has_no_write_for_any_client(sandbox: Sandbox, profile: Profile, version: str) -> None:
    async with (
        mcp_server(sandbox, read_only=True) as server,
        raw_client(server, version, profile.capabilities) as client,
    ):
        refused = await client.call(WRITE, LIST)
        await client.request("tools/list", {})
        listed = (await client.receive())["result"]["tools"]

    assert refused["error"]["code"] == -32602
    assert WRITE not in [tool["name"] for tool in listed]
    assert not writes_that_arrived(sandbox)
