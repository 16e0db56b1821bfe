"""Paging: what a caller needs to go on, for any service behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import VALID_ARGUMENTS

from cams_mcp.operation import AnyOperation
from cams_mcp.operations.list_chat_group import LIST_CHAT_GROUP
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.operations.list_message_campaign import LIST_MESSAGE_CAMPAIGN
from cams_mcp.tools.arguments import parse_arguments

# operation: the element of a row that holds its number.
LISTS: dict[str, tuple[AnyOperation, str]] = {
    operation.name: (operation, element)
    for operation, element in [
        (LIST_INSTANCE, "InstanceId"),
        (LIST_CUSTOM_AUDIENCE, "CustomAudienceId"),
        (LIST_MESSAGE_CAMPAIGN, "CampaignId"),
        (LIST_CHAT_GROUP, "GroupId"),
    ]
}
EACH_LIST = pytest.mark.parametrize("tool", LISTS)
ANY_LIST = st.sampled_from(sorted(LISTS))

Service = Callable[[int, int], list[int]]
"""The numbers of the rows on a page, by size and index."""


def service_of(total: int) -> Service:
    return lambda size, index: list(range((index - 1) * size, min(index * size, total)))


def ask(tool: str, service: Service, total: int | None, *, size: int, index: int) -> dict[str, Any]:
    """One page as the tool would answer it."""
    operation, element = LISTS[tool]
    assert operation.pages is not None
    request = parse_arguments(operation, VALID_ARGUMENTS[tool] | operation.pages.arguments(size, index))
    window = operation.pages.window(request)
    rows = [{element: str(number)} for number in service(*window)]
    document: dict[str, Any] = {"Success": True, "Total": total, "Data": rows}
    if tool == "list_instance":
        document = {"Success": True, "TotalCount": total, "Data": rows}
    elif tool == "list_chat_group":
        document = {"Success": True, "Data": {"Total": total, "List": rows}}
    return operation.response.model_validate(document).paged(*window).to_content()


def numbers(result: dict[str, Any]) -> list[int]:
    return [int(next(iter(row.values()))) for row in result["data"]]


def follow(tool: str, service: Service, total: int | None, *, size: int, most_pages: int) -> list[int]:
    """All rows that following next_index gives."""
    seen: list[int] = []
    index: int | None = 1
    for _ in range(most_pages):
        result = ask(tool, service, total, size=size, index=index)
        assert result["has_more"] == ("next_index" in result)
        seen += numbers(result)
        index = result.get("next_index")
        if index is None:
            return seen
    pytest.fail("the listing does not end")


def pages_of(total: int, size: int) -> int:
    return max(1, -(-total // size))


@settings(max_examples=100, deadline=None)
@given(tool=ANY_LIST, total=st.integers(0, 300), size=st.integers(1, 100))
def test_following_the_next_index_gives_every_row_once_and_asks_for_no_empty_page(
    tool: str, total: int, size: int
) -> None:
    seen = follow(tool, service_of(total), total, size=size, most_pages=pages_of(total, size))

    assert seen == list(range(total))


@settings(max_examples=100, deadline=None)
@given(tool=ANY_LIST, total=st.integers(0, 300), size=st.integers(1, 100))
def test_without_a_total_following_the_next_index_still_gives_every_row_once(tool: str, total: int, size: int) -> None:
    seen = follow(tool, service_of(total), None, size=size, most_pages=pages_of(total, size) + 1)

    assert seen == list(range(total))


@settings(max_examples=100, deadline=None)
@given(tool=ANY_LIST, total=st.integers(0, 200), size=st.integers(1, 100), hidden=st.sets(st.integers(0, 199)))
def test_pages_that_come_short_do_not_end_the_listing_early(tool: str, total: int, size: int, hidden: set[int]) -> None:
    whole = service_of(total)

    def service(size: int, index: int) -> list[int]:
        return [number for number in whole(size, index) if number not in hidden]

    seen = follow(tool, service, total, size=size, most_pages=pages_of(total, size) + 1)

    assert seen == [number for number in range(total) if number not in hidden]


@settings(max_examples=50, deadline=None)
@given(tool=ANY_LIST, total=st.integers(1, 200), size=st.integers(1, 100))
def test_a_service_that_answers_empty_pages_only_does_not_keep_a_caller_forever(
    tool: str, total: int, size: int
) -> None:
    def nothing(size: int, index: int) -> list[int]:
        return []

    assert follow(tool, nothing, total, size=size, most_pages=pages_of(total, size) + 1) == []


@settings(max_examples=50, deadline=None)
@given(tool=ANY_LIST, total=st.integers(0, 300), size=st.integers(1, 100), beyond=st.integers(1, 10**6))
def test_an_index_beyond_the_end_has_no_rows_and_nothing_more(tool: str, total: int, size: int, beyond: int) -> None:
    for known in (total, None):
        result = ask(tool, service_of(total), known, size=size, index=pages_of(total, size) + beyond)
        assert result["data"] == []
        assert result["has_more"] is False
        assert "next_index" not in result


@EACH_LIST
def test_a_full_page_without_a_total_may_have_more_after_it(tool: str) -> None:
    assert ask(tool, service_of(40), None, size=20, index=2)["next_index"] == 3
    assert ask(tool, service_of(39), None, size=20, index=2)["has_more"] is False


@EACH_LIST
def test_the_last_page_ends_the_listing_full_or_not(tool: str) -> None:
    assert ask(tool, service_of(40), 40, size=20, index=2)["has_more"] is False
    assert ask(tool, service_of(39), 39, size=20, index=2)["has_more"] is False
    assert ask(tool, service_of(41), 41, size=20, index=2)["next_index"] == 3


@EACH_LIST
def test_a_page_tells_the_total_if_the_service_did(tool: str) -> None:
    assert ask(tool, service_of(7), 7, size=5, index=1)["total"] == 7
    assert ask(tool, service_of(0), 0, size=5, index=1)["total"] == 0
    assert "total" not in ask(tool, service_of(7), None, size=5, index=1)
