from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ERAS, PAGE, VALID_ARGUMENTS, client_over, text_of
from support_cli import run_here

from cams_mcp.models import Request
from cams_mcp.operation import PAGE_ARGUMENTS, PAGE_OBJECT, AnyOperation, Pages
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.sandbox import Sandbox
from cams_mcp.tools.result import as_text
from cams_mcp.tools.truncation import fit, tokens

LISTS = [operation for operation in OPERATIONS if operation.pages]
Content = dict[str, Any]


class Shelf:
    """A list of rows of these lengths, paged as CAMS pages: row n is `{"n": n, "text": ...}`.

    With a `limit` of its own on the size of a page.
    """

    def __init__(self, lengths: list[int], letter: str = "x", limit: int = 100) -> None:
        self._limit = limit
        self.rows = [{"n": number, "text": letter * length} for number, length in enumerate(lengths)]

    def page(self, request: Request) -> Content:
        size, index = pages_of(request).window(request)
        size = min(size, self._limit)
        rows = self.rows[(index - 1) * size : index * size]
        more = index * size < len(self.rows)
        content: Content = {"success": True, "total": len(self.rows), "has_more": more, "data": rows}
        return content | ({"next_index": index + 1} if more else {})


def flat_request(size: int, index: int) -> Request:
    return LIST_INSTANCE.request(page_size=size, page_index=index)


def nested_request(size: int, index: int) -> Request:
    return LIST_CUSTOM_AUDIENCE.request.model_validate(PAGE | {"page": {"size": size, "index": index}})


def pages_of(request: Request) -> Pages:
    return PAGE_ARGUMENTS if isinstance(request, LIST_INSTANCE.request) else PAGE_OBJECT


def cut(content: Content, request: Request, budget: int) -> Content:
    return fit(content, pages_of(request), request, budget)


FORMS = pytest.mark.parametrize("make", [flat_request, nested_request])


def walk(shelf: Shelf, size: int, budget: int, make: Any = flat_request) -> list[Content]:
    """Every result on the way from the first row to the last, each gone on from as the one before says."""
    request, found = make(size, 1), []
    while True:
        result = cut(shelf.page(request), request, budget)
        found.append(result)
        if not result["has_more"]:
            return found
        assert len(found) <= len(shelf.rows), "the way does not end"
        request = make(result.get("next_size", pages_of(request).window(request)[0]), result["next_index"])


@settings(deadline=None, max_examples=300)
@given(
    lengths=st.lists(st.integers(0, 3000), max_size=250),
    size=st.integers(1, 100),
    budget=st.integers(100, 20_000),
    letter=st.sampled_from(["x", "界"]),
)
def test_going_on_as_told_gives_every_row_once_in_order(
    lengths: list[int], size: int, budget: int, letter: str
) -> None:
    shelf = Shelf(lengths, letter)

    results = walk(shelf, size, budget)

    assert [row for result in results for row in result["data"]] == shelf.rows
    for result in results:
        assert tokens(as_text(result)) <= budget or len(result["data"]) <= 1
        assert 1 <= result.get("next_size", 1) <= 100
        assert (result["has_more"], "next_index" in result) in {(True, True), (False, False)}


@settings(deadline=None, max_examples=200)
@given(
    lengths=st.lists(st.integers(0, 3000), max_size=120),
    size=st.integers(1, 100),
    limit=st.integers(1, 40),
    budget=st.integers(100, 20_000),
)
def test_no_row_is_lost_or_doubled_where_the_service_has_a_limit_of_its_own(
    lengths: list[int], size: int, limit: int, budget: int
) -> None:
    shelf = Shelf(lengths, limit=limit)

    results = walk(shelf, size, budget)

    assert [row for result in results for row in result["data"]] == shelf.rows


def test_a_later_page_of_a_service_with_a_limit_of_its_own_is_not_cut_at_a_guess() -> None:
    shelf = Shelf([10] * 7 + [2000] * 7 + [10] * 7, limit=7)

    results = walk(shelf, 10, 1000)

    assert [row for result in results for row in result["data"]] == shelf.rows
    assert [len(result["data"]) for result in results] == [7, 7, 7]


@FORMS
@settings(deadline=None, max_examples=100)
@given(
    before=st.integers(0, 5000),
    length=st.integers(10, 2000),
    size=st.integers(2, 100),
    budget=st.integers(1000, 20_000),
)
def test_a_cut_leaves_most_of_what_fits_and_goes_on_in_pages_of_that_order(
    make: Any, before: int, length: int, size: int, budget: int
) -> None:
    request = make(size, before + 1)
    whole = {"has_more": False, "data": [{"text": "x" * length}] * size}

    result = cut(whole, request, budget)

    shown = len(result["data"])
    if shown < size:
        most = (budget - 150) // (length // 4 + 8)
        assert shown >= min(most, size - 1) // 2
        assert result["next_size"] <= max(most * 2, 2)


@pytest.mark.parametrize("length", [0, 10, 1000])
def test_a_page_that_fits_stays_as_it_is(length: int) -> None:
    request = flat_request(10, 1)
    content = Shelf([length] * 30).page(request)

    assert cut(content, request, tokens(as_text(content))) == content


def test_one_token_less_than_a_page_needs_cuts_it() -> None:
    request = flat_request(10, 1)
    content = Shelf([400] * 30).page(request)

    assert len(cut(content, request, tokens(as_text(content)) - 1)["data"]) < 10


def test_one_row_is_left_however_large_it_is() -> None:
    results = walk(Shelf([100_000] * 3), 3, 1000)

    assert [[row["n"] for row in result["data"]] for result in results] == [[0], [1], [2]]


def test_a_page_longer_than_asked_for_is_not_cut_because_nobody_knows_where_the_next_begins() -> None:
    request = flat_request(5, 2)
    content = {"has_more": True, "data": [{"text": "x" * 5000}] * 20}

    assert cut(content, request, 1000) == content


@FORMS
def test_the_note_holds_the_arguments_of_the_next_call(make: Any) -> None:
    request = make(100, 2)
    result = cut({"has_more": False, "data": [{"text": "x" * 400}] * 100}, request, 2000)

    said = json.loads(result["note"].partition("call again with ")[2].partition(" and otherwise")[0])
    changed = type(request).model_validate(request.model_dump() | said)

    assert pages_of(changed).window(changed) == (result["next_size"], result["next_index"])
    assert (result["next_index"] - 1) * result["next_size"] == 100 + len(result["data"])
    assert f"Only the first {len(result['data'])} rows" in result["note"]


def test_chinese_counts_more_than_latin() -> None:
    assert tokens("a" * 400) == 100
    assert tokens("界" * 400) == 400
    assert tokens("") == 0


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("operation", LISTS, ids=lambda operation: operation.name)
async def test_a_client_that_goes_on_as_told_sees_every_row_of_a_list_once(
    sandbox: Sandbox, operation: AnyOperation, mode: str
) -> None:
    seen: list[str] = []
    notes = 0
    size, index = 100, 1
    async with client_over(sandbox, mode=mode, result_tokens=3000) as client:
        while index:
            assert operation.pages is not None
            page = operation.pages.arguments(size, index)
            result = await client.call_tool(operation.name, VALID_ARGUMENTS[operation.name] | page)
            content = result.structured_content
            assert json.loads(text_of(result)) == content
            assert tokens(text_of(result)) <= 3000
            seen += [json.dumps(row) for row in content["data"]]
            notes += "note" in content
            size, index = content.get("next_size", size), content.get("next_index")

    assert notes
    assert len(seen) == len(set(seen)) == content["total"]


async def test_with_the_default_budget_the_largest_page_of_the_sandbox_is_whole(sandbox: Sandbox) -> None:
    async with client_over(sandbox) as client:
        content = (await client.call_tool("list_instance", {"page_size": 100})).structured_content

    assert len(content["data"]) == 100
    assert not {"note", "next_size"} & content.keys()


def test_the_option_cuts_what_the_command_line_prints(tmp_path: Any) -> None:
    done = run_here(tmp_path, "call", "list_instance", '{"page_size": 100}', "--sandbox", "--result-tokens", "1000")

    content = json.loads(done.stdout)
    assert content["has_more"] is True
    assert 0 < len(content["data"]) < 20
    assert "page_size" in content["note"]


def test_a_budget_too_small_for_any_result_is_refused(tmp_path: Any) -> None:
    done = run_here(tmp_path, "call", "list_instance", "--sandbox", "--result-tokens", "999")

    assert done.returncode == 2
    assert "--result-tokens" in done.stderr
