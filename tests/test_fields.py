"""What comes in as an argument, from anybody: it is used as it should be or refused with words, and breaks nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import (
    AUDIENCE,
    ERAS,
    TARGET,
    VALID_ARGUMENTS,
    Person,
    examples,
    mcp_client,
    people,
    text_of,
    toolbox_over,
    writes_that_arrived,
)

from cams_mcp.app import audiences_of, check
from cams_mcp.confirmation import Caller
from cams_mcp.errors import ConfigurationError, InvalidArguments
from cams_mcp.fields import LONGEST_ID, LONGEST_TEXT, MOST
from cams_mcp.guard.policy import Policy
from cams_mcp.operation import AnyTool
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.sandbox import Sandbox
from cams_mcp.settings import Settings
from cams_mcp.tools.arguments import parse_arguments
from cams_mcp.upload.service import FILE_TOOLS, UPLOAD_AUDIENCE_FILE

TOOLS: dict[str, AnyTool] = {tool.name: tool for tool in (*OPERATIONS, *FILE_TOOLS)}
VALID = VALID_ARGUMENTS | {
    "check_audience_file": {"path": "people.csv"},
    "upload_audience_file": TARGET | {"path": "people.csv"},
}
WRITE = ADD_CUSTOM_AUDIENCE_USER.name
IDS = (
    *("cust_space_id", "page_id", "ad_account_id", "custom_audience_id", "business_number", "campaign_id"),
    *("instance_id", "resource_group_id", "bind_id", "resume"),
)


def arguments_of(kind: str) -> Iterator[tuple[str, str]]:
    for tool in TOOLS.values():
        for name in tool.request.model_fields:
            if kind == "any" or name in IDS:
                yield tool.name, name


EACH_ARGUMENT = pytest.mark.parametrize(("tool", "name"), list(arguments_of("any")))
EACH_ID = pytest.mark.parametrize(("tool", "name"), list(arguments_of("id")))


def problems(tool: AnyTool, arguments: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidArguments) as caught:
        parse_arguments(tool, arguments)
    json.dumps(str(caught.value), ensure_ascii=False).encode()
    return caught.value.problems


HOSTILE = {
    "lone surrogate": "a\ud800z",
    "NUL": "a\0z",
    "a megabyte": "5" * 1_000_000,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "a number of 4,301 digits": 10**4300,
    "minus that": -(10**4300),
}


@EACH_ARGUMENT
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_no_argument_takes_what_cannot_be_sent_or_shown(tool: str, name: str, value: object) -> None:
    (problem,) = problems(TOOLS[tool], VALID[tool] | {name: value})

    assert problem.startswith(f"{name}: ")
    assert len(problem) < 200


@EACH_ARGUMENT
def test_no_argument_takes_a_deep_nest(tool: str, name: str) -> None:
    nest: list[Any] = []
    for _ in range(100_000):
        nest = [nest]
    try:
        assert problems(TOOLS[tool], VALID[tool] | {name: nest})
    finally:
        while nest:  # taken apart by hand: the interpreter would do it recursively
            nest = nest.pop()


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("key", ["\ud800", "page\0", "x" * 1_000_000])
def test_a_key_that_cannot_be_encoded_is_refused_and_not_repeated(tool: str, key: str) -> None:
    text = " ".join(problems(TOOLS[tool], VALID[tool] | {key: 1}))

    assert key not in text
    assert len(text) < 1000


@pytest.mark.parametrize(
    "users",
    [
        [{"email": "jane\ud800@example.com"}],
        [{"email": "jane@example.com", "\ud800": 1}],
        [{"email": "jane@example.com", "phone": "+1202555\ud8000123"}],
        ["\ud800"],
        {"\ud800": []},
        [{"email": "jane\u3164doe@example.com"}],
        [{"email": "jane@example\u2800.com"}],
        [{"email": "jane\0@example.com"}],
        [{"phone": " " * 1_000_000 + "12025550123"}],
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_users_that_cannot_be_sent_or_seen_are_refused_also_as_json_text(users: Any, *, as_text: bool) -> None:
    (problem,) = problems(ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": json.dumps(users) if as_text else users})

    assert problem.startswith("users")
    assert "example" not in problem.replace("name@example.com", "")


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"users": '[{"email": "jane\\ud800@example.com"}]'},
        {"users": '[{"email": "jane@example.com", "\\ud800": 1}]'},
        {"users": '{"a":' * 100_000},
        {"users": "[" + "9" * 4301 + "]"},
        {"users": '[{"email": NaN}]'},
        {"users": people(1), "estimated_num_total": 10**4000},
    ],
)
async def test_a_client_gets_the_problem_and_nobody_is_asked(
    sandbox: Sandbox, mode: str, arguments: dict[str, Any]
) -> None:
    person = Person("accept", {"confirm": True})
    async with mcp_client(sandbox, mode=mode, elicitation_callback=person) as client:
        result = await client.call_tool(WRITE, TARGET | arguments)

    assert text_of(result).startswith("Nothing was sent: 1 problem in the arguments")
    assert not person.asked
    assert not sandbox.calls


@pytest.mark.parametrize("token", ["\ud800", "x" * 1_000_000])
async def test_a_token_that_cannot_be_one_is_refused(sandbox: Sandbox, token: str) -> None:
    async with toolbox_over(sandbox) as toolbox:
        with pytest.raises(InvalidArguments, match="must be the string from the preview"):
            await toolbox.call(WRITE, TARGET | {"users": people(1), "confirmation_token": token}, Caller())


@EACH_ID
@pytest.mark.parametrize("around", [" {}", "{} ", "\t{}\r\n", "\u00a0{}", "\u3000{}\n"])
def test_an_id_has_one_spelling_however_it_was_copied(tool: str, name: str, around: str) -> None:
    plain = parse_arguments(TOOLS[tool], VALID[tool] | {name: "0060001"})

    assert parse_arguments(TOOLS[tool], VALID[tool] | {name: around.format("0060001")}) == plain
    assert getattr(plain, name) == "0060001"


@EACH_ID
@pytest.mark.parametrize(
    "wrong",
    [
        *("60 001", "60\t001", "60\n001", "60\u00a0001", "60\u200b001", "\ufeff60001", "60001\u2060", "\u202e60001"),
        *("60\u3164001", "60\u2800001", "60\ufe0f001", "\uff16\uff10\uff10\uff10\uff11", "\u0666\u0660\u0660"),
        *("6\u0301", "\u0430ct_1", "\x7f", "\x1c60001", "5" * (LONGEST_ID + 1)),
    ],
)
def test_what_only_looks_like_an_id_is_refused(tool: str, name: str, wrong: str) -> None:
    (problem,) = problems(TOOLS[tool], VALID[tool] | {name: wrong})

    assert problem.startswith(f"{name}: must be an id of at most 256 ASCII characters")


@EACH_ID
def test_the_longest_id_and_zeros_in_front_are_kept(tool: str, name: str) -> None:
    for identifier in ("0" * LONGEST_ID, "000600", "act_1-2.3:4"):
        assert getattr(parse_arguments(TOOLS[tool], VALID[tool] | {name: identifier}), name) == identifier


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("empty", ["", "  ", None])
def test_an_optional_argument_without_a_value_is_left_out(tool: str, empty: str | None) -> None:
    fields = TOOLS[tool].request.model_fields
    optional = [name for name, field in fields.items() if not field.is_required() and name not in VALID[tool]]

    given_none = parse_arguments(TOOLS[tool], VALID[tool] | dict.fromkeys(optional, empty))

    assert given_none == parse_arguments(TOOLS[tool], VALID[tool])


@EACH_ID
@pytest.mark.parametrize("empty", ["", " ", "\n\t"])
def test_a_required_id_of_white_space_is_empty(tool: str, name: str, empty: str) -> None:
    if TOOLS[tool].request.model_fields[name].is_required():
        assert problems(TOOLS[tool], VALID[tool] | {name: empty}) == [f"{name}: must not be empty"]


def test_words_to_filter_by_may_have_spaces_and_any_script_up_to_a_length() -> None:
    for words in ("Aurora  Coffee ", "极光咖啡 🎉", "x" * LONGEST_TEXT):
        assert parse_arguments(LIST_INSTANCE, {"instance_name": words}).instance_name == words
    assert problems(LIST_INSTANCE, {"filter_str": "x" * (LONGEST_TEXT + 1)}) == [
        "filter_str: must have at most 500 characters"
    ]
    assert problems(LIST_INSTANCE, {"filter_str": "two\nlines"}) == [
        "filter_str: must not contain control characters or line breaks"
    ]


def test_a_count_has_an_end() -> None:
    page = {"cust_space_id": "1", "page_id": "2", "page": {"index": MOST}}

    assert parse_arguments(LIST_CUSTOM_AUDIENCE, page).page.index == MOST
    assert problems(LIST_CUSTOM_AUDIENCE, page | {"page": {"index": MOST + 1}}) == [
        "page.index: must be at most 1,000,000,000,000"
    ]


def test_a_file_may_have_a_name_that_is_no_text() -> None:
    # What Python makes of a byte that is not UTF-8.
    name = b"\xff people.csv".decode("utf-8", "surrogateescape")

    assert parse_arguments(UPLOAD_AUDIENCE_FILE, TARGET | {"path": name}).path == name


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=8),
        st.sampled_from(["a\ud800z", "a\0z", "5" * 10_000, "", " 1 ", 10**300]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["email", "phone", "size", "\ud800"]), inner, max_size=2),
    ),
    max_leaves=6,
)


@settings(max_examples=examples(300), deadline=None)
@given(tool=st.sampled_from(sorted(TOOLS)), data=st.data(), as_text=st.booleans())
def test_any_arguments_are_accepted_whole_or_refused_with_words(
    tool: str, data: st.DataObject, *, as_text: bool
) -> None:
    names = st.sampled_from([*TOOLS[tool].request.model_fields, "\ud800"])
    arguments = VALID[tool] | data.draw(st.dictionaries(names, ANYTHING, max_size=3), label="arguments")
    if as_text:
        arguments = {name: value if isinstance(value, str) else json.dumps(value) for name, value in arguments.items()}
    try:
        texts = parse_arguments(TOOLS[tool], arguments).parameters()
    except InvalidArguments as error:
        texts = {"error": str(error)}

    for name, text in texts.items():
        assert text.encode("utf-8", "surrogateescape" if "Path" in name else "strict") is not None
        assert len(text) < 6_000


# The same id counts once


@pytest.mark.parametrize("mode", ERAS)
async def test_white_space_around_an_id_gets_around_no_limit(sandbox: Sandbox, mode: str) -> None:
    policy = Policy(confirm="off", per_day=150)
    async with mcp_client(sandbox, mode=mode, policy=policy) as client:
        first = await client.call_tool(WRITE, TARGET | {"users": people(100)})
        spelled = {"custom_audience_id": f" {AUDIENCE}\n"}
        second = await client.call_tool(WRITE, TARGET | spelled | {"users": people(100, start=200)})

    assert first.structured_content["status"] == "sent"
    assert "Nothing was sent" in text_of(second)
    assert len(writes_that_arrived(sandbox)) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_the_second_step_may_spell_an_id_with_white_space(sandbox: Sandbox, mode: str) -> None:
    arguments = TARGET | {"users": people(100)}
    async with mcp_client(sandbox, mode=mode, confirm="token") as client:
        preview = (await client.call_tool(WRITE, arguments)).structured_content
        again = {"page_id": f"{TARGET['page_id']} ", "confirmation_token": preview["confirmation_token"]}
        sent = await client.call_tool(WRITE, arguments | again)

    assert sent.structured_content["status"] == "sent"


def test_the_operators_audiences_are_spelled_as_those_of_a_call() -> None:
    settings_ = Settings(sandbox=True, allow_audience=(f" {AUDIENCE}\n",))

    assert audiences_of(settings_) == {AUDIENCE}


@pytest.mark.parametrize("wrong", ["", " ", "6000 1", "\uff16\uff10", "\udcff", "6000\u200b"])
def test_an_audience_that_can_never_be_written_to_is_no_setting(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="--allow-audience"):
        check(Settings(sandbox=True, allow_audience=(AUDIENCE, wrong)))


@pytest.mark.parametrize(
    "name", ["region", "endpoint", "access_key_id", "access_key_secret", "security_token", "store"]
)
@pytest.mark.parametrize("value", ["\udcff", "a\0b", "a\nb"])
def test_a_setting_that_cannot_be_sent_is_a_wrong_setting(name: str, value: str) -> None:
    keys = {"access_key_id": "made-up-id", "access_key_secret": "made-up-secret"}
    with pytest.raises(ConfigurationError) as caught:
        Settings(**(keys | {name: value}))

    assert value not in str(caught.value)
    assert str(caught.value).encode()
