from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import PAGE, TARGET, VALID_ARGUMENTS, examples, people

from cams_mcp.errors import InvalidArguments
from cams_mcp.operation import AnyOperation
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_chat_group import LIST_CHAT_GROUP
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.operations.list_message_campaign import LIST_MESSAGE_CAMPAIGN
from cams_mcp.tools.arguments import parse_arguments

BY_NAME = {operation.name: operation for operation in OPERATIONS}
EVERY_OPERATION = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
WITH_PAGE = pytest.mark.parametrize(
    "operation", [LIST_CUSTOM_AUDIENCE, LIST_MESSAGE_CAMPAIGN, LIST_CHAT_GROUP], ids=lambda operation: operation.name
)


def problems(operation: AnyOperation, arguments: dict[str, Any], more: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(InvalidArguments) as caught:
        parse_arguments(operation, arguments, more)
    text = str(caught.value)
    assert text.startswith("Nothing was sent: ")
    assert operation.name in text
    assert all(f"- {problem}" in text.splitlines() for problem in caught.value.problems)
    return caught.value.problems


def test_one_error_names_every_wrong_field_and_what_would_be_right() -> None:
    wrong = {
        "channel_type": "pigeon",
        "instance_name": 7,
        "submit_time": "yesterday",
        "is_bind": "perhaps",
        "page_size": 101,
        "page_index": 0,
    }

    assert sorted(problems(LIST_INSTANCE, wrong)) == [
        "channel_type: must be one of whatsapp, messenger, instagram, viber",
        "instance_name: must be a string (put numbers in quotes)",
        "is_bind: must be true or false",
        "page_index: must be at least 1",
        "page_size: must be at most 100",
        "submit_time: must look like 2026-01-31 00:00:00",
    ]


@pytest.mark.parametrize(
    ("tool", "required"),
    [
        ("list_instance", []),
        ("list_custom_audience", ["cust_space_id", "page_id"]),
        ("list_message_campaign", ["cust_space_id", "page_id"]),
        ("list_chat_group", ["business_number", "cust_space_id"]),
        (
            "add_custom_audience_user",
            ["ad_account_id", "cust_space_id", "custom_audience_id", "page_id", "users"],
        ),
    ],
)
def test_every_missing_argument_is_named_in_one_error(tool: str, required: list[str]) -> None:
    operation = BY_NAME[tool]
    if not required:
        assert parse_arguments(operation, {}).parameters() == {"PageSize": "20", "PageIndex": "1"}
        return

    found = problems(operation, {})

    assert sorted(problem.partition(":")[0] for problem in found) == required
    assert all("is required" in problem for problem in found)


@pytest.mark.parametrize("empty", ["cust_space_id", "page_id", "ad_account_id", "custom_audience_id"])
def test_a_required_id_may_not_be_empty(empty: str) -> None:
    arguments = TARGET | {"users": people(1), empty: ""}

    assert problems(ADD_CUSTOM_AUDIENCE_USER, arguments) == [f"{empty}: must not be empty"]


@EVERY_OPERATION
def test_an_unknown_argument_is_named_beside_the_known_ones(operation: AnyOperation) -> None:
    (problem,) = problems(operation, VALID_ARGUMENTS[operation.name] | {"pagesize": 5}, ("confirmation_token",))

    assert problem.startswith("pagesize: is not an argument of this tool")
    assert all(name in problem for name in operation.request.model_fields)
    assert "confirmation_token" in problem


def test_an_unknown_name_inside_a_nested_argument_is_named_with_its_place() -> None:
    assert problems(LIST_CUSTOM_AUDIENCE, PAGE | {"page": {"sise": 5}}) == [
        "page.sise: is not an argument of this tool"
    ]
    users = [*people(2), {"e_mail": "someone@example.com"}]
    assert problems(ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": users}) == [
        "users[2].e_mail: is not an argument of this tool"
    ]


@pytest.mark.parametrize("name", ["jane@example.com", "+12025550123", "12025550123", "two words", "", "名前"])
def test_a_name_that_could_be_an_address_is_not_repeated(name: str) -> None:
    (problem,) = problems(LIST_INSTANCE, {name: 1})

    assert problem.startswith("(name not shown): is not an argument of this tool")


@EVERY_OPERATION
def test_both_spellings_of_an_argument_at_once_are_refused(operation: AnyOperation) -> None:
    snake = next(iter(operation.request.model_fields))
    pascal = "".join(part.capitalize() for part in snake.split("_"))
    arguments = VALID_ARGUMENTS[operation.name]

    (problem,) = problems(operation, arguments | {snake: "viber", pascal: "viber"})

    assert problem == f"{pascal}: appears in two spellings; keep only {snake}"


def test_both_spellings_inside_a_nested_argument_are_refused() -> None:
    problems(LIST_CUSTOM_AUDIENCE, PAGE | {"page": {"size": 5, "Size": 5}})
    both = {"email": "a@example.com", "Email": "b@example.com"}
    problems(ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": [both]})


def test_equal_problems_of_many_users_stand_on_one_line_with_ranges() -> None:
    users: list[dict[str, Any]] = [*people(3), *[{"email": "nobody"}] * 4, *people(2), {"email": "nobody"}, {}]

    assert sorted(problems(ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": users})) == [
        "users[10]: needs an email, a phone, or both",
        "users[3-6,9].email: must be an e-mail address like name@example.com (or omit it)",
    ]


def test_thousands_of_scattered_problems_still_make_a_short_error() -> None:
    users = [{"phone": "+12025550123"} if index % 2 else {"phone": "none"} for index in range(10_000)]

    (problem,) = problems(ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": users})

    assert problem.startswith("users[0,2,4,")
    assert "and 4988 more].phone: must be 7 to 15 digits" in problem
    assert len(problem) < 200


@WITH_PAGE
@pytest.mark.parametrize("spelling", ["page", "Page"])
@pytest.mark.parametrize("text", ['{"size": 5, "index": 2}', '{"Size":5,"Index":2}', ' {"size":"5","Index":2}\n'])
def test_a_page_as_json_text_is_the_same_as_a_page(operation: AnyOperation, spelling: str, text: str) -> None:
    valid = VALID_ARGUMENTS[operation.name]

    parsed = parse_arguments(operation, valid | {spelling: text})

    assert parsed == parse_arguments(operation, valid | {"page": {"size": 5, "index": 2}})


@pytest.mark.parametrize("spelling", ["users", "Users"])
def test_users_as_json_text_are_the_same_as_users(spelling: str) -> None:
    users = [{"email": "someone@example.com"}, {"Phone": "+12025550123"}]

    parsed = parse_arguments(ADD_CUSTOM_AUDIENCE_USER, TARGET | {spelling: json.dumps(users)})

    assert parsed == parse_arguments(ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": users})


@pytest.mark.parametrize(
    "text", ["{", "[{}", "someone@example.com", '{"size": 5', "None", "'[]'", '{"size": NaN}', f"[1{'0' * 4300}]"]
)
def test_broken_json_text_is_refused(text: str) -> None:
    words = "must be an object or array, or JSON text of one"

    assert problems(LIST_CUSTOM_AUDIENCE, PAGE | {"page": text}) == [f"page: {words}"]
    assert problems(ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": text}) == [f"users: {words}"]


@pytest.mark.parametrize("text", ["5", "null", '"text"', "true", "[]"])
def test_json_text_of_another_kind_is_refused(text: str) -> None:
    assert problems(LIST_CUSTOM_AUDIENCE, PAGE | {"page": text}) == ["page: must be an object"]


def test_json_text_nested_beyond_reason_is_refused_as_an_argument() -> None:
    problems(LIST_CUSTOM_AUDIENCE, PAGE | {"page": "[" * 100_000})
    problems(ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": '{"a":' * 100_000})


def test_a_null_is_the_same_as_leaving_an_optional_argument_out() -> None:
    optional = {
        LIST_INSTANCE: ["channel_type", "submit_time", "is_bind", "filter_str"],
        LIST_CHAT_GROUP: ["channel_type", "group_status", "group_link"],
        LIST_CUSTOM_AUDIENCE: ["ad_account_id"],
        ADD_CUSTOM_AUDIENCE_USER: ["estimated_num_total", "batch_last_flag"],
    }
    for operation, names in optional.items():
        valid = VALID_ARGUMENTS[operation.name]
        assert parse_arguments(operation, valid | dict.fromkeys(names)) == parse_arguments(operation, valid)


@pytest.mark.parametrize(
    "user", [{"email": None, "phone": "+12025550123"}, {"email": "someone@example.com", "phone": None}]
)
def test_a_user_may_have_a_null_for_what_is_not_known(user: dict[str, Any]) -> None:
    request = parse_arguments(ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": [user]})

    (sent,) = json.loads(request.parameters()["Users"])
    assert sorted(sent.values()) == [value for value in user.values() if value is not None]


EMAILS = st.emails(domains=st.just("private.example.com"))
# No word of ours begins like these.
MARKED_EMAILS = st.from_regex(r"qz[a-z0-9.!#$%&'*+/=?^_`{|}~-]{6,12}@private\.example\.com", fullmatch=True)
PHONES = st.from_regex(r"\+?[1-9][0-9]{8,13}", fullmatch=True)
PERSONAL = st.one_of(MARKED_EMAILS, PHONES, st.tuples(MARKED_EMAILS, PHONES).map(" ".join))
GARBAGE: st.SearchStrategy[Any] = st.recursive(
    PERSONAL,
    lambda inner: st.one_of(st.lists(inner, min_size=1, max_size=3), st.dictionaries(PERSONAL, inner, min_size=1)),
    max_leaves=5,
)


def pieces(value: object) -> set[str]:
    """Every text in `value`, and the parts of its addresses."""
    if isinstance(value, str):
        return {value, *re.split(r"[@\s]", value)}
    if isinstance(value, dict):
        return set().union(*map(pieces, value), *map(pieces, value.values()))
    return set().union(*map(pieces, value)) if isinstance(value, list) else set()


@settings(max_examples=examples(150), deadline=None)
@given(operation=st.sampled_from(OPERATIONS), data=st.data())
def test_no_error_repeats_anything_of_what_was_given(operation: AnyOperation, data: st.DataObject) -> None:
    names = [*operation.request.model_fields, "Users", "Page", "CustSpaceId", "no_such_argument"]
    arguments = data.draw(
        st.dictionaries(st.one_of(st.sampled_from(names), PERSONAL), GARBAGE, min_size=1, max_size=6), label="arguments"
    )
    # One wrong name makes sure that there is an error.
    secret = pieces({"": [arguments]}) - {"", *names}

    error = InvalidArguments(operation.name, problems(operation, arguments | {"no_such_argument": 1}))

    shown = str(error) + repr(error) + repr(error.__cause__)
    assert not [piece for piece in secret if piece in shown]


@settings(max_examples=examples(60), deadline=None)
@given(
    users=st.lists(
        st.one_of(st.dictionaries(st.one_of(st.sampled_from(["email", "phone"]), PERSONAL), GARBAGE), PERSONAL),
        min_size=1,
        max_size=8,
    ),
    as_text=st.booleans(),
)
@example(users=[{"email": "qzjane.doe@private.example.com,"}], as_text=True)
def test_no_error_repeats_anything_of_users(users: list[Any], *, as_text: bool) -> None:
    given_users = json.dumps(users) if as_text else users
    secret = pieces(users) - {"email", "phone"}

    # Too few arguments: there is an error even if all users are right.
    found = problems(ADD_CUSTOM_AUDIENCE_USER, {"users": given_users})

    assert not [piece for piece in secret if piece in "\n".join(found)]


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).filter(str.strip)
ID = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
PAGES = st.fixed_dictionaries({}, optional={"size": st.integers(1, 100), "index": st.integers(1, 10**6)})
ON_A_PAGE = {"cust_space_id": ID, "page_id": ID}
USERS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"email": EMAILS}, optional={"phone": PHONES}),
        st.fixed_dictionaries({"phone": PHONES}),
    ),
    min_size=1,
    max_size=20,
)

ARGUMENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "list_instance": st.fixed_dictionaries(
        {},
        optional={
            "channel_type": st.sampled_from(["whatsapp", "MESSENGER", "Instagram", "viber"]),
            "submit_time": st.datetimes().map(lambda time: f"{time:%Y-%m-%d %H:%M:%S}".rjust(19, "0")),
            "is_bind": st.booleans(),
            "page_size": st.integers(1, 100),
            "page_index": st.integers(1, 10**6),
        }
        | dict.fromkeys(["instance_name", "filter_str"], TEXT)
        | dict.fromkeys(["instance_id", "resource_group_id", "bind_id"], ID),
    ),
    "list_custom_audience": st.fixed_dictionaries(
        ON_A_PAGE,
        optional={"page": PAGES}
        | dict.fromkeys(["token_type", "custom_audience_name"], TEXT)
        | dict.fromkeys(["ad_account_id", "custom_audience_id"], ID),
    ),
    "list_message_campaign": st.fixed_dictionaries(
        ON_A_PAGE,
        optional={"page": PAGES}
        | dict.fromkeys(["status", "campaign_name"], TEXT)
        | dict.fromkeys(["ad_account_id", "campaign_id"], ID),
    ),
    "list_chat_group": st.fixed_dictionaries(
        {"cust_space_id": ID, "business_number": ID},
        optional={
            "page": PAGES,
            "channel_type": st.sampled_from(["WHATSAPP", "whatsapp"]),
            "group_status": st.sampled_from(["ACTIVE", "INACTIVE", "SUSPENDED", "CREATING", "DELETING", "UPDATING"]),
        }
        | dict.fromkeys(["subject", "group_link", "group_type"], TEXT),
    ),
    "add_custom_audience_user": st.fixed_dictionaries(
        ON_A_PAGE | {"ad_account_id": ID, "custom_audience_id": ID, "users": USERS},
        optional={"estimated_num_total": st.integers(0, 10**9), "batch_last_flag": st.booleans()},
    ),
}


def pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def wire(value: object) -> object:
    """`value` with every name in the wire's spelling."""
    if isinstance(value, dict):
        return {pascal(name): wire(inner) for name, inner in value.items()}
    return [wire(inner) for inner in value] if isinstance(value, list) else value


DEFAULT_PAGE = {"size": 20, "index": 1}


@settings(max_examples=150, deadline=None)
@given(operation=st.sampled_from(OPERATIONS), in_pascal=st.booleans(), nested_as_text=st.booleans(), data=st.data())
def test_any_valid_arguments_arrive_on_the_wire_as_they_were_given(
    operation: AnyOperation, data: st.DataObject, *, in_pascal: bool, nested_as_text: bool
) -> None:
    arguments = data.draw(ARGUMENTS[operation.name], label="arguments")
    written: dict[str, Any] = dict(arguments)
    if in_pascal:
        written = wire(written)  # type: ignore[assignment]
    if nested_as_text:
        written = {name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in written.items()}

    parameters = parse_arguments(operation, written).parameters()

    expected = dict(arguments)
    if operation.pages:
        page = operation.pages.arguments(20, 1)
        inside = operation.pages.inside
        expected = page | expected | ({inside: page[inside] | expected.get(inside, {})} if inside else {})
    read_back = {
        name: text if isinstance(wire(expected)[name], str) else json.loads(text)  # type: ignore[index]
        for name, text in parameters.items()
    }
    assert read_back == wire(expected)
