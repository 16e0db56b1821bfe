"""The operations against their documents: what is requested, what is answered, under which names and types.

The tables are the documents' request parameters and response elements; "sdk" marks what only the official SDK has.
"""

from __future__ import annotations

import json
import typing
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from support import TARGET, VALID_ARGUMENTS, client_of, people

from cams_mcp.errors import InvalidArguments
from cams_mcp.models import Request, Response
from cams_mcp.operation import AnyOperation, Operation
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_chat_group import LIST_CHAT_GROUP
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.operations.list_message_campaign import LIST_MESSAGE_CAMPAIGN
from cams_mcp.sandbox import Sandbox
from cams_mcp.tools.arguments import parse_arguments
from cams_mcp.tools.schemas import input_schema, output_schema

FIVE: tuple[AnyOperation, ...] = (
    LIST_INSTANCE,
    LIST_CUSTOM_AUDIENCE,
    LIST_MESSAGE_CAMPAIGN,
    LIST_CHAT_GROUP,
    ADD_CUSTOM_AUDIENCE_USER,
)
BY_ACTION = {operation.action: operation for operation in FIVE}
EACH = pytest.mark.parametrize("action", list(BY_ACTION))
EACH_LIST = pytest.mark.parametrize("action", [action for action in BY_ACTION if action.startswith("List")])

# action: {wire name: (JSON type, required, an example)}. A dotted name is inside an object, `[]` inside an array.
PARAMETERS: dict[str, dict[str, tuple[str, bool, Any]]] = {
    "ListInstance": {
        "ChannelType": ("string", False, "VIBER"),
        "InstanceName": ("string", False, "viber_ins"),
        "SubmitTime": ("string", False, "2023-12-12 00:00:00"),
        "PageSize": ("integer", False, 87),
        "PageIndex": ("integer", False, 92),
        "ResourceGroupId": ("string", False, "11"),
        "InstanceId": ("string", False, "r-uf6wd7pkyjwxvlxfhk"),
        "FilterStr": ("string", False, "aa"),
        "BindId": ("string", False, "b-1"),  # sdk
        "IsBind": ("boolean", False, True),  # sdk
    },
    "ListCustomAudience": {
        "CustSpaceId": ("string", True, "cams-**"),
        "PageId": ("string", True, "3939**"),
        "AdAccountId": ("string", False, "339**"),
        "TokenType": ("string", False, "custom"),
        "CustomAudienceName": ("string", False, "name"),
        # The documents want a page; the tool has defaults for it.
        "Page": ("object", False, {"Size": 95, "Index": 40}),
        "Page.Size": ("integer", False, 95),
        "Page.Index": ("integer", False, 40),
        "CustomAudienceId": ("string", False, "239**"),
    },
    "ListMessageCampaign": {
        "CustSpaceId": ("string", True, "cams-**"),
        "PageId": ("string", True, "239***"),
        "AdAccountId": ("string", False, "239**"),
        "Status": ("string", False, "AVAILABLE"),
        "CampaignName": ("string", False, "test-campaign"),
        "Page": ("object", False, {"Size": 55, "Index": 7}),
        "Page.Size": ("integer", False, 55),
        "Page.Index": ("integer", False, 7),
        "CampaignId": ("string", False, "233**"),
    },
    "ListChatGroup": {
        "BusinessNumber": ("string", True, "8613800***"),
        "ChannelType": ("string", False, "WHATSAPP"),
        "CustSpaceId": ("string", True, "cams-x***"),
        "GroupStatus": ("string", False, "ACTIVE"),
        "Subject": ("string", False, "test"),
        "Page": ("object", False, {"Size": 20, "Index": 1}),
        "Page.Size": ("integer", False, 20),
        "Page.Index": ("integer", False, 1),
        "GroupLink": ("string", False, "https://example.com/g"),  # sdk
        "GroupType": ("string", False, "OPEN"),  # sdk
    },
    "AddCustomAudienceUser": {
        "CustSpaceId": ("string", True, "cams-**"),
        "PageId": ("string", True, "239**"),
        "AdAccountId": ("string", True, "3939**"),
        "CustomAudienceId": ("string", True, "399**"),
        "Users": ("array", False, [{"Email": "someone@example.com", "Phone": "+12025550123"}]),
        "Users[].Email": ("string", False, "someone@example.com"),
        "Users[].Phone": ("string", False, "+12025550123"),
        "EstimatedNumTotal": ("integer", False, 26),
        "BatchLastFlag": ("boolean", False, False),
    },
}

ENVELOPE = {
    "AccessDeniedDetail": "string",
    "Message": "string",
    "RequestId": "string",
    "Code": "string",
    "Success": "boolean",
}
# action: {element of a row: JSON type}
ROWS: dict[str, dict[str, str]] = {
    "ListInstance": dict.fromkeys(
        (
            *("CountryId", "ContactMail", "ResourceRegionId", "ResourceGroupId", "InstanceId", "OfficeAddress"),
            *("SubmitTime", "InstanceName", "CustSpaceId", "IsvTerms", "FacebookBmId", "InstanceDescription"),
            *("ChannelType", "State"),
        ),
        "string",
    ),
    "ListCustomAudience": dict.fromkeys(
        (
            *("PageId", "Status", "CustomAudienceId", "CustomAudienceName", "TokenType", "Description"),
            *("AdAccountId", "UploadType"),
        ),
        "string",
    )
    | dict.fromkeys(("CreateTime", "UpdateTime", "TokenTotal"), "integer"),
    "ListMessageCampaign": dict.fromkeys(
        ("PageId", "Status", "CampaignId", "AdAccountId", "CampaignName", "BudgetType"), "string"
    )
    | dict.fromkeys(("CreateTime", "Budget"), "integer"),
    "ListChatGroup": dict.fromkeys(
        (
            *("Description", "BusinessNumber", "InviteLink", "GroupStatus", "ProfilePictureFile", "Subject", "GroupId"),
            *("BusinessRole", "GroupLink", "GroupType"),  # sdk
        ),
        "string",
    )
    | dict.fromkeys(("GmtModifier", "TotalParticipantCount"), "integer"),  # sdk
    "AddCustomAudienceUser": {},
}

# The documents' sample answers.
SAMPLES: dict[str, str] = {
    "ListInstance": """{"AccessDeniedDetail": "{}", "TotalCount": 15, "RequestId": "2993*****", "Message": "NULL",
        "Data": [{"CountryId": "1", "ContactMail": "ma**@gmail.com", "ResourceRegionId": "11", "ResourceGroupId": "12",
        "InstanceId": "29339****", "OfficeAddress": "example", "SubmitTime": "2023-12-12 00:00:00",
        "InstanceName": "viber_ins", "CustSpaceId": "dad-gf**", "IsvTerms": "aa", "FacebookBmId": "1",
        "InstanceDescription": "ins", "ChannelType": "VIBER", "State": "published"}], "Code": "OK", "Success": true}""",
    "ListCustomAudience": """{"AccessDeniedDetail": "None", "Message": "OK", "RequestId": "39**", "Total": 69,
        "Data": [{"PageId": "239**", "Status": "None", "CustomAudienceId": "339**",
        "CustomAudienceName": "custom audience name", "TokenType": "custom", "Description": "desc",
        "CreateTime": 1720356898, "AdAccountId": "339**", "UpdateTime": 51, "TokenTotal": 70, "UploadType": "excel"}],
        "Code": "OK", "Success": true}""",
    "ListMessageCampaign": """{"AccessDeniedDetail": "None", "Message": "OK", "RequestId": "23**", "Total": 70,
        "Data": [{"PageId": "238***", "Status": "AVAILABLE", "CampaignId": "233**", "CreateTime": 173029392838,
        "AdAccountId": "2339**", "CampaignName": "campaign-name", "Budget": 62, "BudgetType": "daily"}],
        "Code": "Example", "Success": true}""",
    "ListChatGroup": """{"AccessDeniedDetail": "None", "Message": "None",
        "RequestId": "90E63D28-E31D-1EB2-8939-A94866411B2O", "Data": {"Total": 51, "List": [{"Description": "test",
        "BusinessNumber": "8613800**", "InviteLink": "https://chat.whatsapp.com/***", "GroupStatus": "ACTIVE",
        "ProfilePictureFile": "https://*********/png.jpg", "Subject": "This is a test subject",
        "GroupId": "EA30d***"}]}, "Code": "OK", "Success": true}""",
    "AddCustomAudienceUser": """{"AccessDeniedDetail": "无", "Message": "OK", "RequestId": "39**", "Code": "OK",
        "Success": true}""",
}
TOTALS = {"ListInstance": 15, "ListCustomAudience": 69, "ListMessageCampaign": 70, "ListChatGroup": 51}


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def snaked(value: Any) -> Any:
    if isinstance(value, dict):
        return {snake(name): snaked(inner) for name, inner in value.items()}
    return [snaked(inner) for inner in value] if isinstance(value, list) else value


class Place(NamedTuple):
    """Where a documented parameter stands in a schema."""

    holder: dict[str, Any]
    name: str

    @classmethod
    def find(cls, schema: dict[str, Any], path: str) -> Place:
        *outer, last = path.split(".")
        for part in outer:
            schema = schema["properties"][snake(part.removesuffix("[]"))]
            schema = schema["items"] if part.endswith("[]") else schema
        return cls(schema, snake(last))


def row_of(action: str) -> dict[str, Any]:
    """One row as in the sample, with the elements that only the SDK knows added."""
    document = json.loads(SAMPLES[action])
    (row,) = document["Data"]["List"] if action == "ListChatGroup" else document["Data"]
    return row | {name: 5 if kind == "integer" else "x" for name, kind in ROWS[action].items() if name not in row}


def answer_with(action: str, rows: list[dict[str, Any]] | None, total: int | None = None) -> dict[str, Any]:
    if action == "ListChatGroup":
        return {"Success": True, "Data": {"Total": total, "List": rows}}
    return {"Success": True, "TotalCount" if action == "ListInstance" else "Total": total, "Data": rows}


def test_the_five_operations_are_offered_in_the_order_of_listing() -> None:
    assert tuple(operation for operation in OPERATIONS if operation in FIVE) == FIVE
    assert [operation.action for operation in FIVE if operation.writes] == ["AddCustomAudienceUser"]
    assert LIST_INSTANCE.name == "list_instance"
    assert ADD_CUSTOM_AUDIENCE_USER.name == "add_custom_audience_user"
    assert ADD_CUSTOM_AUDIENCE_USER.ram_action == "cams:AddCustomAudienceUser"


@EACH
def test_every_documented_parameter_is_an_argument_of_its_type_and_no_other_is(action: str) -> None:
    schema = input_schema(BY_ACTION[action].request)

    for path, (kind, required, _) in PARAMETERS[action].items():
        holder, name = Place.find(schema, path)
        assert holder["properties"][name]["type"] == kind, path
        assert (name in holder.get("required", [])) == required, path
    assert set(schema["properties"]) == {snake(path) for path in PARAMETERS[action] if "." not in path}


@EACH
@pytest.mark.parametrize("spelling", [snaked, lambda value: value], ids=["snake_case", "PascalCase"])
def test_every_parameter_is_accepted_in_both_spellings_and_reaches_the_wire(action: str, spelling: Any) -> None:
    given_parameters = {path: example for path, (_, _, example) in PARAMETERS[action].items() if "." not in path}

    request = parse_arguments(BY_ACTION[action], spelling(given_parameters))

    parameters = request.parameters()
    assert set(parameters) == set(given_parameters)
    for name, example in given_parameters.items():
        if isinstance(example, str):
            assert parameters[name] == example
        else:
            assert json.loads(parameters[name]) == example
            assert ": " not in parameters[name]


def test_booleans_travel_in_lower_case_as_all_but_the_python_sdk_send_them() -> None:
    assert parse_arguments(LIST_INSTANCE, {"is_bind": True}).parameters()["IsBind"] == "true"
    assert parse_arguments(LIST_INSTANCE, {"is_bind": False}).parameters()["IsBind"] == "false"


@EACH_LIST
def test_a_page_left_out_is_the_first_twenty_rows(action: str) -> None:
    operation = BY_ACTION[action]
    parameters = parse_arguments(operation, VALID_ARGUMENTS[operation.name]).parameters()

    if action == "ListInstance":
        assert (parameters["PageSize"], parameters["PageIndex"]) == ("20", "1")
    else:
        assert json.loads(parameters["Page"]) == {"Size": 20, "Index": 1}


@EACH_LIST
@pytest.mark.parametrize(
    ("size", "index", "fits"),
    [(1, 1, True), (100, 1, True), (20, 10_000, True), (0, 1, False), (101, 1, False), (-1, 1, False), (20, 0, False)],
)
def test_a_page_has_1_to_100_rows_and_an_index_from_1(action: str, size: int, index: int, *, fits: bool) -> None:
    operation = BY_ACTION[action]
    pages = operation.pages
    assert pages is not None
    arguments = VALID_ARGUMENTS[operation.name] | pages.arguments(size, index)

    if fits:
        assert pages.window(parse_arguments(operation, arguments)) == (size, index)
    else:
        with pytest.raises(InvalidArguments):
            parse_arguments(operation, arguments)


@pytest.mark.parametrize("value", ["whatsapp", "MESSENGER", "Instagram", "viber", "VIBER"])
def test_channels_are_accepted_in_either_case_and_passed_on_as_given(value: str) -> None:
    assert parse_arguments(LIST_INSTANCE, {"channel_type": value}).parameters()["ChannelType"] == value


@pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE", "SUSPENDED", "CREATING", "DELETING", "UPDATING"])
def test_every_documented_group_status_is_accepted(status: str) -> None:
    arguments = VALID_ARGUMENTS["list_chat_group"] | {"group_status": status}
    assert parse_arguments(LIST_CHAT_GROUP, arguments).parameters()["GroupStatus"] == status


@pytest.mark.parametrize("wrong", [{"channel_type": "viber"}, {"group_status": "GONE"}])
def test_values_outside_a_closed_list_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidArguments, match="must be one of"):
        parse_arguments(LIST_CHAT_GROUP, VALID_ARGUMENTS["list_chat_group"] | wrong)


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-31\n00:00:00",
        "\uff12026-01-31 00:00:00",
        "2026-01-31",
        "2026-02-30 00:00:00",
        "2026-01-31T00:00:00",
        "1769817600",
    ],
)
def test_a_submission_time_of_another_form_is_refused(time: str) -> None:
    with pytest.raises(InvalidArguments, match="submit_time: must look like"):
        parse_arguments(LIST_INSTANCE, {"submit_time": time})


@EACH
def test_the_documented_sample_shows_up_whole_in_the_result(action: str) -> None:
    document = json.loads(SAMPLES[action])
    operation = BY_ACTION[action]

    result = operation.response.model_validate(document).to_content()

    # The samples' Message and AccessDeniedDetail say nothing: "NULL", "None", "OK", "{}", "无".
    expected = {snake(name): document[name] for name in ENVELOPE if name not in ("Message", "AccessDeniedDetail")}
    if action.startswith("List"):
        rows = document["Data"]["List"] if action == "ListChatGroup" else document["Data"]
        expected |= {"total": TOTALS[action], "data": snaked(rows), "has_more": False}
    assert result == expected


@EACH
@pytest.mark.parametrize("words", ["", "OK", "None", "NULL", "无", "{}"])
def test_an_envelope_is_shown_where_it_says_something(action: str, words: str) -> None:
    def shown(message: str) -> dict[str, Any]:
        given = {"Success": True, "Message": message, "AccessDeniedDetail": message}
        return BY_ACTION[action].response.model_validate(given).to_content()

    assert not {"message", "access_denied_detail"} & shown(words).keys()
    assert shown("Partly done")["message"] == shown("Partly done")["access_denied_detail"] == "Partly done"


@EACH
def test_every_response_element_is_in_the_output_schema_with_its_type_and_no_other_is(action: str) -> None:
    properties = output_schema(BY_ACTION[action].response)["properties"]

    expected = {snake(name): kind for name, kind in ENVELOPE.items()}
    if action.startswith("List"):
        expected |= {"total": "integer", "data": "array", "has_more": "boolean", "next_index": "integer"}
        expected |= {"next_size": "integer", "note": "string"}
        row = {name: node["type"] for name, node in properties["data"]["items"]["properties"].items()}
        assert row == {snake(name): kind for name, kind in ROWS[action].items()}
    assert {name: node["type"] for name, node in properties.items()} == expected


@EACH_LIST
def test_elements_that_only_the_sdk_knows_show_up_in_rows(action: str) -> None:
    row = row_of(action)

    (shown,) = BY_ACTION[action].response.model_validate(answer_with(action, [row])).to_content()["data"]

    assert shown == snaked(row)


@EACH_LIST
def test_nulls_are_left_out_of_results(action: str) -> None:
    rows = [dict.fromkeys(row_of(action)), row_of(action)]
    document = answer_with(action, rows) | {"Message": None, "RequestId": None, "AccessDeniedDetail": None}

    result = BY_ACTION[action].response.model_validate(document).to_content()

    assert result == {"success": True, "has_more": False, "data": [{}, snaked(rows[1])]}


@EACH_LIST
@pytest.mark.parametrize("rows", [None, []])
def test_no_rows_are_an_empty_list(action: str, rows: list[dict[str, Any]] | None) -> None:
    response = BY_ACTION[action].response

    assert response.model_validate(answer_with(action, rows, total=0)).to_content()["data"] == []
    assert response.model_validate({"Success": True}).to_content()["data"] == []
    assert response.model_validate({"Success": True, "Data": None}).to_content()["data"] == []


@EACH
def test_unknown_elements_of_an_answer_are_ignored(action: str) -> None:
    document = json.loads(SAMPLES[action])
    response = BY_ACTION[action].response
    without = response.model_validate(document).to_content()
    if action.startswith("List"):
        rows = document["Data"]["List"] if action == "ListChatGroup" else document["Data"]
        rows[0] |= {"Brand": "new", "NewObject": {"a": [1]}}
    if action == "ListChatGroup":
        document["Data"]["Brand"] = "new"

    assert response.model_validate(document | {"Brand": "new", "HostId": {"a": 1}}).to_content() == without


@EACH_LIST
def test_numbers_in_place_of_ids_are_read_as_text(action: str) -> None:
    row = {name: 239_400_000_000_001 if kind == "string" else 5 for name, kind in ROWS[action].items()}

    answer = answer_with(action, [row], total=1) | {"RequestId": 7, "Code": 200}
    result = BY_ACTION[action].response.model_validate(answer).to_content()

    assert (result["request_id"], result["code"]) == ("7", "200")
    assert result["data"] == [
        {snake(name): "239400000000001" if kind == "string" else 5 for name, kind in ROWS[action].items()}
    ]


@EACH_LIST
def test_times_are_passed_on_as_they_are(action: str) -> None:
    for time in (51, 1_720_356_898, 173_029_392_838, 1_720_356_898_000):
        row = {name: time for name, kind in ROWS[action].items() if kind == "integer"}
        (shown,) = BY_ACTION[action].response.model_validate(answer_with(action, [row])).to_content()["data"]
        assert shown == snaked(row)


def models_of(model: type[BaseModel]) -> set[type[BaseModel]]:
    """`model` and every model its fields hold."""
    found = {model}

    def walk(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.update(models_of(annotation))
        for argument in typing.get_args(annotation):
            walk(argument)

    for field in model.model_fields.values():
        walk(field.annotation)
    return found


EVERY_MODEL = sorted(
    {
        model
        for operation in OPERATIONS
        for root in (operation.request, operation.response)
        for model in models_of(root)
    },
    key=lambda model: model.__name__,
)


def test_the_nested_models_are_among_those_checked_for_descriptions() -> None:
    assert {"Page", "AudienceUser", "ChatGroup", "Instance"} <= {model.__name__ for model in EVERY_MODEL}


@pytest.mark.parametrize("model", EVERY_MODEL, ids=lambda model: model.__name__)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    assert [name for name, field in model.model_fields.items() if not (field.description or "").strip()] == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_tool_is_described_and_titled(operation: Operation[Request, Response]) -> None:
    assert len(operation.request.__doc__ or "") > 40
    assert operation.title


# AddCustomAudienceUser's own rules.


def add(**arguments: Any) -> dict[str, str]:
    return parse_arguments(ADD_CUSTOM_AUDIENCE_USER, TARGET | arguments).parameters()


def refused(**arguments: Any) -> str:
    with pytest.raises(InvalidArguments) as caught:
        add(**arguments)
    return str(caught.value)


@pytest.mark.parametrize("number", [1, 2, 9_999, 10_000])
def test_1_to_10000_users_fit_in_a_call(number: int) -> None:
    assert len(json.loads(add(users=people(number))["Users"])) == number


def test_no_user_and_more_than_10000_are_refused() -> None:
    assert "users: must have at least 1 item" in refused(users=[])
    assert "users: must have at least 1 item" in refused(users=[], batch_last_flag=True)
    assert "users: must have at most 10000 items" in refused(users=people(10_001))


@pytest.mark.parametrize("flag", [{}, {"batch_last_flag": False}, {"batch_last_flag": None}])
@pytest.mark.parametrize("users", [{}, {"users": None}])
def test_users_may_not_be_left_out_before_the_last_batch(users: dict[str, Any], flag: dict[str, Any]) -> None:
    assert "users: is required (may be omitted only if batch_last_flag is true)" in refused(**users, **flag)


@pytest.mark.parametrize("users", [{}, {"users": None}])
def test_users_may_be_left_out_with_the_last_batch(users: dict[str, Any]) -> None:
    assert add(batch_last_flag=True, **users) == add(batch_last_flag=True)
    assert "Users" not in add(batch_last_flag=True, **users)


def test_a_missing_list_of_users_is_named_together_with_other_problems() -> None:
    text = refused(page_id=5, estimated_num_total=-1)

    assert "3 problems" in text
    assert all(name in text for name in ("- page_id:", "- estimated_num_total:", "- users:"))


def test_a_user_needs_an_email_or_a_phone() -> None:
    assert "users[1]: needs an email, a phone, or both" in refused(users=[*people(1), {}])
    assert "users[0]: needs an email, a phone, or both" in refused(users=[{"email": None, "phone": None}])


PLAUSIBLE_EMAILS = [
    "someone@example.com",
    "Some.One+tag@mail.example.com",
    "o'brien@example.com",
    "用户@example.com",
    "a@b.co",
    "someone@münchen.example",
    "x" * 242 + "@example.com",
]
IMPLAUSIBLE_EMAILS = [
    "",
    " ",
    "someone",
    "someone@",
    "@example.com",
    "someone@example",
    "someone@example.",
    "some one@example.com",
    "someone@exa mple.com",
    "someone@@example.com",
    "a@example.com,b@example.com",
    "a@example.com;b@example.com",
    "Someone <someone@example.com>",
    "+12025550123",
    "x" * 243 + "@example.com",
]
PLAUSIBLE_PHONES = [
    "12025550123",
    "+12025550123",
    "+1 (202) 555-0123",
    "+1.202.555.0123",
    "0012025550123",
    "2025550",
    "123456789012345",
]
IMPLAUSIBLE_PHONES = [
    "",
    " ",
    "202555",
    "1234567890123456",
    "someone@example.com",
    "+1202555O123",
    "++12025550123",
    "12025550123 ext. 5",
    "12025550123, 12025550124",
    "+",
    "---------",
    "１２０２５５５０１２３",  # noqa: RUF001 - digits, but not ASCII ones
]


@pytest.mark.parametrize("email", PLAUSIBLE_EMAILS)
def test_a_plausible_email_is_sent_as_given(email: str) -> None:
    assert json.loads(add(users=[{"email": email}])["Users"]) == [{"Email": email}]


@pytest.mark.parametrize("email", IMPLAUSIBLE_EMAILS)
def test_an_implausible_email_is_refused(email: str) -> None:
    assert "users[0].email: must be an e-mail address" in refused(users=[{"email": email, "phone": "+12025550123"}])


@pytest.mark.parametrize("phone", PLAUSIBLE_PHONES)
def test_a_plausible_phone_is_sent_as_given(phone: str) -> None:
    assert json.loads(add(users=[{"phone": phone}])["Users"]) == [{"Phone": phone}]


@pytest.mark.parametrize("phone", IMPLAUSIBLE_PHONES)
def test_an_implausible_phone_is_refused(phone: str) -> None:
    assert "users[0].phone: must be 7 to 15 digits" in refused(users=[{"email": "a@example.com", "phone": phone}])


def test_a_phone_that_is_a_number_is_refused_with_the_remedy() -> None:
    assert "users[0].phone: must be a string (put numbers in quotes)" in refused(users=[{"phone": 12025550123}])


BLANKS = st.text(" \t", max_size=3)


@settings(max_examples=100, deadline=None)
@given(
    before=BLANKS,
    after=BLANKS,
    email=st.from_regex(r"[A-Za-z0-9._+-]{1,20}@[A-Za-z0-9-]{1,20}\.example\.COM", fullmatch=True),
    phone=st.from_regex(r"\+?[0-9][0-9 ()./-]{0,3}[0-9]{6,10}", fullmatch=True),
)
def test_blanks_and_case_of_addresses_are_not_touched(before: str, after: str, email: str, phone: str) -> None:
    user = {"email": before + email + after, "phone": before + phone + after}

    assert json.loads(add(users=[user])["Users"]) == [{"Email": user["email"], "Phone": user["phone"]}]


def test_users_keep_their_order_and_duplicates() -> None:
    users = [*reversed(people(5)), *people(2)]

    sent = json.loads(add(users=users)["Users"])

    assert [user["Email"] for user in sent] == [user["email"] for user in users]


def test_only_users_travel_in_the_body() -> None:
    assert ADD_CUSTOM_AUDIENCE_USER.request.in_body == {"Users"}
    assert not any(operation.request.in_body for operation in FIVE if not operation.writes)


def test_a_validation_error_of_a_model_itself_keeps_values_to_itself() -> None:
    with pytest.raises(ValidationError) as caught:
        ADD_CUSTOM_AUDIENCE_USER.request.model_validate(TARGET | {"users": [{"email": "jane.doe"}]})

    assert "jane.doe" not in str(caught.value)


@EACH_LIST
async def test_every_row_of_the_sandbox_has_the_documented_elements(sandbox: Sandbox, action: str) -> None:
    operation = BY_ACTION[action]
    async with client_of(sandbox) as client:
        response = await client.call(operation, parse_arguments(operation, VALID_ARGUMENTS[operation.name]))

    rows = response.to_content()["data"]
    assert {name for row in rows for name in row} == set(snaked(ROWS[action]))
