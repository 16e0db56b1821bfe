"""A declaration of an operation: what follows from it, and what it may not say."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from store_worker import EFFECT, a_write
from support import client_of

from cams_mcp.cli.ram_policy import ram_policy
from cams_mcp.errors import NotConfirmed
from cams_mcp.facts import Bar, Change, Description, Fact, Language, facts_from_json, quoted_in, render
from cams_mcp.models import Listing, Request, Response
from cams_mcp.operation import PAGE_OBJECT, Chinese, Effect, Evidence, Operation
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_chat_group import LIST_CHAT_GROUP
from cams_mcp.sandbox import Sandbox
from cams_mcp.store import BaseStore, Ending, Store


def describe(facts: Sequence[Fact], language: Language) -> Description:
    said = {"en": "Delete?", "zh": "是否删除？"}[language]
    return Description(question=said, tick=said, warnings=tuple(fact.value for fact in facts))


DELETION = Effect(
    describe=describe,
    unit="group",
    target="group",
    target_argument="custom_audience_id",
    chinese=Chinese(target="群组"),
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
    "text", ["Add?\nWarning: all is well.", "odd\r\nThis is a dry run.", "a\u2028b\x85d\u202e", "x" * 5000]
)
def test_each_text_of_a_description_is_one_visible_line_whatever_it_repeats(text: str) -> None:
    several = (text, text)
    description = Description(
        question=text,
        tick=text,
        warnings=several,
        details=several,
        consequences=several,
        place=several,
        change=Change(text, 1, 1),
        bars=(Bar(text, 1),),
        samples=several,
    )
    lines = render(description).split("\n")

    assert len(lines) == 7
    assert description.change is not None
    drawn = [description.tick, description.change.label, description.bars[0].label]
    drawn += [*description.place, *description.samples]
    assert all(line.isprintable() and len(line) <= 600 for line in [*lines, *drawn])


def test_doors_that_draw_show_all_details_unless_a_write_says_otherwise() -> None:
    assert Description(question="Delete?", tick="Tick.", details=("Group 1.",)).place == ("Group 1.",)


@pytest.mark.parametrize("text", ["VIP", "a”b", "a“b", 'a"b', "a」b", "a\nb", "x" * 500])
def test_a_quotation_ends_with_its_only_closing_mark(text: str) -> None:
    english, chinese = quoted_in("en", text), quoted_in("zh", text)

    assert re.fullmatch('"[^"]{1,63}"', english)
    assert re.fullmatch('“[^“”"]{1,63}”', chinese)
    assert chinese[1:-1] == english[1:-1]


EARLIER = 1_767_225_600.0


@pytest.mark.parametrize(
    ("outcome", "effect", "language", "sentence"),
    [
        ("sent", EFFECT, "en", "Warning: the same list was already sent to this audience on 2026-01-01 00:00 UTC."),
        ("sent", EFFECT, "zh", "警告：相同的名单已于 2026-01-01 00:00 UTC 发送至该受众。"),
        (
            "unknown",
            EFFECT,
            "en",
            (
                "Warning: the same list was sent to this audience on 2026-01-01 00:00 UTC, but it is unknown whether "
                "CAMS applied it. To find out, compare token_total of the audience (list_custom_audience) with its "
                "value before the call; Meta may take up to a day to count."
            ),
        ),
        (
            "unknown",
            EFFECT,
            "zh",
            (
                "警告：相同的名单已于 2026-01-01 00:00 UTC 发送至该受众，但不确定是否已在 CAMS 中生效。如需确认，"
                "请将该受众的 token_total（list_custom_audience）与调用前的值进行比较；"
                "Meta 最长可能需要一天才能更新该值。"
            ),
        ),
        ("sent", DELETION, "zh", "警告：相同的请求已于 2026-01-01 00:00 UTC 发送至该群组。"),
    ],
)
def test_the_first_warning_is_about_an_earlier_write_of_the_same_contents(
    outcome: str, effect: Effect, language: Language, sentence: str
) -> None:
    earlier = Fact("earlier", "warning", {"started": EARLIER, "outcome": outcome})
    facts = [Fact("odd", "warning", "odd."), earlier]
    described = replace(effect, describe=describe).description(facts, language)

    assert render(described).split("\n")[1] == sentence
    assert described.warnings[1:] == ("odd.",)


@pytest.mark.parametrize(
    "operation", [operation for operation in OPERATIONS if operation.writes], ids=lambda it: it.name
)
async def test_every_write_describes_its_stored_facts_in_both_languages(operation: Operation[Any, Any]) -> None:
    effect = operation.effect
    assert effect is not None
    facts = await operation.request.model_validate(dict(operation.example)).facts(client_of(Sandbox()).call)
    stored = facts_from_json(json.loads(json.dumps([fact.to_json() for fact in facts])))
    english, chinese = (effect.description(stored, language) for language in ("en", "zh"))

    assert (english, chinese) == (effect.description(facts, "en"), effect.description(facts, "zh"))
    for text in [chinese.question, chinese.tick, *chinese.details, *chinese.consequences]:
        assert re.search("[\u4e00-\u9fff]", text), text
    assert not re.search("[\u4e00-\u9fff]", render(english))


def test_amounts_are_in_the_singular_and_in_the_plural() -> None:
    assert [DELETION.amount(number) for number in (0, 1, 1200)] == ["0 groups", "1 group", "1,200 groups"]


def test_a_write_without_evidence_is_checked_in_the_console() -> None:
    effect = Effect(
        describe=describe, unit="flow", target="flow", target_argument="flow_id", chinese=Chinese(target="流程")
    )

    assert effect.how_to_check == "check the flow in the CAMS console"
    assert effect.how_to_check_in("zh") == "请在 CAMS 控制台查看该流程"
    assert "token_total" in EFFECT.how_to_check


def test_the_ram_policy_allows_what_shows_whether_a_write_was_applied() -> None:
    (evidence,) = [ADD_CUSTOM_AUDIENCE_USER.effect.evidence] if ADD_CUSTOM_AUDIENCE_USER.effect else [None]
    assert evidence is not None

    allowed = [action for statement in ram_policy(read_only=False)["Statement"] for action in statement["Action"]]
    assert evidence.operation.ram_action in allowed


def test_a_days_limit_does_not_add_up_what_different_operations_write_to_one_id() -> None:
    store: BaseStore = Store(None)
    users = a_write(users=500)
    store.finish(store.begin_unasked(users), users, "off", Ending(outcome="sent"))
    deletion = a_write("other", "other", counts={"groups": 1}, effect=DELETION)

    store.check_limit(deletion, 1)
    store.finish(store.begin_unasked(deletion, per_day=1), deletion, "off", Ending(outcome="sent"))
    again = a_write("third", "third", counts={"groups": 1}, effect=DELETION)
    with pytest.raises(NotConfirmed, match="at most 1 group per day to one group, and 1 were sent"):
        store.begin_unasked(again, per_day=1)
    with pytest.raises(NotConfirmed, match="at most 500 users per day to one audience"):
        store.check_limit(a_write("fourth", "fourth"), 500)
