"""A declaration of an operation: what follows from it, and what it may not say."""

from __future__ import annotations

from typing import Any

import pytest
from store_worker import EFFECT, a_write

from cams_mcp.cli.ram_policy import ram_policy
from cams_mcp.errors import NotConfirmed
from cams_mcp.models import Listing, Request, Response
from cams_mcp.operation import PAGE_OBJECT, Effect, Evidence, Facts, Operation, render
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_chat_group import LIST_CHAT_GROUP
from cams_mcp.store import BaseStore, Store

DELETION = Effect(
    tick="Tick to delete this group.",
    unit="group",
    target="group",
    target_argument="custom_audience_id",
    evidence=Evidence(operation=LIST_CHAT_GROUP, element="group_status"),
)


def declare(response: type[Response], **more: Any) -> Operation[Any, Any]:
    return Operation(action="DeleteThing", title="Delete", request=Request, response=response, example={}, **more)


@pytest.mark.parametrize("element", ["status", "preview", "confirmation_token"])
def test_an_element_of_cams_cannot_take_the_place_of_what_a_write_says_itself(element: str) -> None:
    response = type("R", (Response,), {"__annotations__": {element: "str | None"}, element: None})

    with pytest.raises(TypeError, match=element):
        declare(response, effect=DELETION)
    assert declare(response).name == "delete_thing"


def test_pages_are_declared_for_listings_and_for_nothing_else() -> None:
    for response, pages in ((Response, PAGE_OBJECT), (Listing, None)):
        with pytest.raises(TypeError, match="pages"):
            declare(response, pages=pages)


@pytest.mark.parametrize(
    "facts",
    [
        Facts("Add?\nWarning: all is well."),
        Facts("Add?", warnings=("odd\r\nThis is a dry run.",)),
        Facts("Add?", details=("a\u2028b", "c\x85d\u202e")),
        Facts("Add?", consequences=("x" * 5000,)),
    ],
)
def test_a_fact_is_one_visible_line_whatever_it_repeats(facts: Facts) -> None:
    lines = render(facts).split("\n")

    assert len(lines) == 1 + len(facts.warnings) + len(facts.details) + len(facts.consequences)
    assert all(line.isprintable() and len(line) <= 600 for line in lines)


def test_amounts_are_in_the_singular_and_in_the_plural() -> None:
    assert [DELETION.amount(number) for number in (0, 1, 1200)] == ["0 groups", "1 group", "1,200 groups"]


def test_a_write_without_evidence_is_checked_in_the_console() -> None:
    effect = Effect(tick="Tick.", unit="flow", target="flow", target_argument="flow_id")

    assert effect.how_to_check == "check the flow in the CAMS console"
    assert "token_total" in EFFECT.how_to_check


def test_the_ram_policy_allows_what_shows_whether_a_write_was_applied() -> None:
    (evidence,) = [ADD_CUSTOM_AUDIENCE_USER.effect.evidence] if ADD_CUSTOM_AUDIENCE_USER.effect else [None]
    assert evidence is not None

    allowed = [action for statement in ram_policy(read_only=False)["Statement"] for action in statement["Action"]]
    assert evidence.operation.ram_action in allowed


def test_a_days_limit_does_not_add_up_what_different_operations_write_to_one_id() -> None:
    store: BaseStore = Store(None)
    users = a_write(users=500)
    store.finish(store.begin(users, "off", None), users, "off", "sent", None, None)
    deletion = a_write("other", "other", counts={"groups": 1}, effect=DELETION)

    store.check_limit(deletion, 1)
    store.finish(store.begin(deletion, "off", None, per_day=1), deletion, "off", "sent", None, None)
    again = a_write("third", "third", counts={"groups": 1}, effect=DELETION)
    with pytest.raises(NotConfirmed, match="at most 1 group per day to one group, and 1 were sent"):
        store.begin(again, "off", None, per_day=1)
    with pytest.raises(NotConfirmed, match="at most 500 users per day to one audience"):
        store.check_limit(a_write("fourth", "fourth"), 500)
