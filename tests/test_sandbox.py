"""The sandbox as a peer: what its gateway refuses, what its lists hold, what it counts."""

from __future__ import annotations

import dataclasses
import datetime as dt
import email.utils
import hashlib
import itertools
import json
from collections.abc import Callable, Generator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import AUDIENCE, PAGE, TARGET, VALID_ARGUMENTS, client_of, people, serving

from cams_mcp.api.client import FORM
from cams_mcp.api.credentials import AccessKey
from cams_mcp.api.signing import DATE_FORMAT, authorization, encode_form
from cams_mcp.errors import ServiceError
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, WireRequest, sandbox_app
from cams_mcp.sandbox.account import MESSENGER_SPACE, WHATSAPP_SPACE

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
NONCES = map("nonce-{}".format, itertools.count())
Answered = tuple[int, dict[str, Any]]
Ask = Callable[[WireRequest], Answered]

PARAMETERS = {
    operation.action: operation.request.model_validate(VALID_ARGUMENTS[operation.name]).parameters()
    for operation in OPERATIONS
}
"""The least parameters of each operation, as the wire has them."""

LISTS = [operation.action for operation in OPERATIONS if operation.pages]

REQUIRED = [
    ("ListCustomAudience", "CustSpaceId"),
    ("ListCustomAudience", "PageId"),
    ("ListCustomAudience", "Page"),
    ("ListMessageCampaign", "CustSpaceId"),
    ("ListMessageCampaign", "PageId"),
    ("ListMessageCampaign", "Page"),
    ("ListChatGroup", "CustSpaceId"),
    ("ListChatGroup", "BusinessNumber"),
    ("ListChatGroup", "Page"),
    ("AddCustomAudienceUser", "CustSpaceId"),
    ("AddCustomAudienceUser", "PageId"),
    ("AddCustomAudienceUser", "AdAccountId"),
    ("AddCustomAudienceUser", "CustomAudienceId"),
    ("AddCustomAudienceUser", "Users"),
]


def signed(
    action: str = "ListInstance",
    query: dict[str, str] | None = None,
    form: dict[str, str] | None = None,
    *,
    key: AccessKey = SANDBOX_KEY,
    date: str = NOW.strftime(DATE_FORMAT),
    nonce: str | None = None,
    version: str = "2020-06-06",
    path: str = "/",
    body: bytes | None = None,
    **more: str,
) -> WireRequest:
    """A request that is right in everything the caller does not change. `more` are headers, `_` for `-`."""
    content = encode_form(form).encode() if form is not None and body is None else body or b""
    headers = {
        "host": "sandbox.localhost",
        "x-acs-action": action,
        "x-acs-version": version,
        "x-acs-date": date,
        "x-acs-signature-nonce": nonce or next(NONCES),
        "x-acs-content-sha256": hashlib.sha256(content).hexdigest(),
    }
    if content:
        headers["content-type"] = FORM
    if key.security_token:
        headers |= {"x-acs-accesskey-id": key.id, "x-acs-security-token": key.security_token}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    text = encode_form(query or {})
    headers["authorization"] = authorization(key, "POST", path, text, headers)
    return WireRequest("POST", path, text, headers, content)


def altered(request: WireRequest, headers: dict[str, str] | None = None, **changes: Any) -> WireRequest:
    """The request with changes made after it was signed."""
    return dataclasses.replace(request, headers={**request.headers, **(headers or {})}, **changes)


def without(request: WireRequest, header: str) -> WireRequest:
    return dataclasses.replace(request, headers={k: v for k, v in request.headers.items() if k != header})


def directly(sandbox: Sandbox) -> Ask:
    def ask(request: WireRequest) -> Answered:
        reply = sandbox.handle(request)
        return reply.status, json.loads(reply.body)

    return ask


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(now=lambda: NOW)


@pytest.fixture(params=["in process", "over HTTP"])
def ask(request: pytest.FixtureRequest, sandbox: Sandbox) -> Generator[Ask]:
    """Sends a request as it is to the sandbox of the test."""
    if request.param == "in process":
        yield directly(sandbox)
        return
    with serving(sandbox_app(sandbox)) as url, httpx.Client(trust_env=False) as http:

        def over_http(wire: WireRequest) -> Answered:
            target = httpx.URL(url).copy_with(raw_path=f"{wire.path}?{wire.query}".encode())
            raw = [(name.encode(), value.encode("latin-1")) for name, value in wire.headers.items()]
            response = http.request(wire.method, target, headers=raw, content=wire.body)
            return response.status_code, response.json()

        yield over_http


# What the gateway refuses

TAMPERED: dict[str, Callable[[WireRequest], WireRequest]] = {
    "an altered query": lambda r: altered(r, query=r.query.replace("PageSize=5", "PageSize=6")),
    "a parameter added to the query": lambda r: altered(r, query=f"{r.query}&State=x"),
    "a parameter repeated in front": lambda r: altered(r, query=f"PageSize=6&{r.query}"),
    "a parameter repeated behind": lambda r: altered(r, query=f"{r.query}&PageSize=5"),
    "a parameter taken out of the query": lambda r: altered(r, query=""),
    "an altered body": lambda r: altered(r, body=r.body + b"&A=b"),
    "a body taken away": lambda r: altered(r, body=b""),
    "an altered body with its hash": lambda r: altered(
        r, {"x-acs-content-sha256": hashlib.sha256(b"A=b").hexdigest()}, body=b"A=b"
    ),
    "another action": lambda r: altered(r, {"x-acs-action": "ListChatGroup"}),
    "another version": lambda r: altered(r, {"x-acs-version": "2020-06-07"}),
    "another nonce": lambda r: altered(r, {"x-acs-signature-nonce": "fresh"}),
    "another host": lambda r: altered(r, {"host": "elsewhere.localhost"}),
    "another content type": lambda r: altered(r, {"content-type": "text/plain"}),
    "another path": lambda r: altered(r, path="/other"),
    "an x-acs header that is not signed": lambda r: altered(r, {"x-acs-security-token": "made-up"}),
    "another x-acs header that is not signed": lambda r: altered(r, {"x-acs-extra": "made-up"}),
    "another signature": lambda r: altered(r, {"authorization": r.headers["authorization"][:-64] + "0" * 64}),
    "a signature that leaves the host out": lambda r: altered(
        r, {"authorization": r.headers["authorization"].replace("host;", "")}
    ),
    "a signature that leaves the hash out": lambda r: altered(
        r, {"authorization": r.headers["authorization"].replace("x-acs-content-sha256;", "")}
    ),
    "a hash that is no hash": lambda r: altered(r, {"x-acs-content-sha256": "é"}),
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_a_request_changed_after_signing_is_refused(
    ask: Ask, sandbox: Sandbox, change: Callable[[WireRequest], WireRequest]
) -> None:
    request = signed(query={"PageSize": "5"}, form={"PageIndex": "1"})

    status, answer = ask(change(request))

    assert (status, answer["Code"]) == (400, "SignatureDoesNotMatch")
    assert not sandbox.calls
    assert ask(request)[1]["Success"], "the refused copy must not have used the nonce up"


def test_a_wrong_secret_is_refused(ask: Ask, sandbox: Sandbox) -> None:
    status, answer = ask(signed(key=AccessKey(SANDBOX_KEY.id, "not-the-secret")))

    assert (status, answer["Code"]) == (400, "SignatureDoesNotMatch")
    assert answer["HostId"] == "sandbox.localhost"
    assert answer["RequestId"]
    assert not sandbox.calls


def test_an_unknown_access_key_is_refused(ask: Ask) -> None:
    status, answer = ask(signed(key=AccessKey("nobody", "sandbox-secret")))

    assert (status, answer["Code"]) == (404, "InvalidAccessKeyId.NotFound")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer abc",
        "ACS3-HMAC-SHA256 Credential=sandbox-id",
        "ACS3-HMAC-SHA256 Credential=sandbox-id,SignedHeaders=host,Signature=short",
        f"ACS3-HMAC-SHA256 Credential=,SignedHeaders=host,Signature={'0' * 64}",
    ],
)
def test_an_authorization_of_another_form_is_refused(ask: Ask, header: str) -> None:
    status, answer = ask(altered(signed(), {"authorization": header}))

    assert (status, answer["Code"]) == (400, "MissingAuthorization")


def test_a_missing_authorization_is_refused(ask: Ask) -> None:
    status, answer = ask(without(signed(), "authorization"))

    assert (status, answer["Code"]) == (400, "MissingAuthorization")


@pytest.mark.parametrize("header", ["x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"])
def test_a_missing_header_is_named(ask: Ask, header: str) -> None:
    status, answer = ask(without(signed(), header))

    assert (status, answer["Code"]) == (400, f"Missing{header}")


@pytest.mark.parametrize("date", ["", "yesterday", "2026-03-01", "2026-03-01 12:00:00", "2026-13-01T12:00:00Z"])
def test_a_malformed_date_is_refused(ask: Ask, date: str) -> None:
    status, answer = ask(signed(date=date))

    assert (status, answer["Code"]) == (400, "InvalidTimeStamp.Format")


@pytest.mark.parametrize("seconds", [-901, 901, -86_400, 86_400])
def test_a_date_more_than_fifteen_minutes_off_is_refused(ask: Ask, seconds: int) -> None:
    status, answer = ask(signed(date=(NOW + dt.timedelta(seconds=seconds)).strftime(DATE_FORMAT)))

    assert (status, answer["Code"]) == (400, "InvalidTimeStamp.Expired")


@pytest.mark.parametrize("seconds", [-900, 0, 900])
def test_a_date_up_to_fifteen_minutes_off_passes(ask: Ask, seconds: int) -> None:
    status, answer = ask(signed(date=(NOW + dt.timedelta(seconds=seconds)).strftime(DATE_FORMAT)))

    assert (status, answer["Success"]) == (200, True)


def test_a_repeated_request_is_refused(ask: Ask, sandbox: Sandbox) -> None:
    request = signed()
    assert ask(request)[1]["Success"]

    status, answer = ask(request)

    assert (status, answer["Code"]) == (400, "SignatureNonceUsed")
    assert len(sandbox.calls) == 1


def test_a_nonce_is_remembered_for_as_long_as_its_date_is_accepted() -> None:
    clock = {"now": NOW}
    ask = directly(Sandbox(now=lambda: clock["now"]))
    request = signed(date=(NOW + dt.timedelta(minutes=15)).strftime(DATE_FORMAT))
    assert ask(request)[1]["Success"]
    clock["now"] = NOW + dt.timedelta(minutes=30)

    assert ask(request)[1]["Code"] == "SignatureNonceUsed"


def test_temporary_keys_need_their_token() -> None:
    key = AccessKey("temporary-id", "temporary-secret", "temporary-token")
    ask = directly(Sandbox(key=key, now=lambda: NOW))

    assert ask(signed(key=key))[1]["Success"]
    for other in (
        AccessKey(key.id, key.secret),
        AccessKey(key.id, key.secret, "another-token"),
    ):
        assert ask(signed(key=other))[1]["Code"] == "SignatureDoesNotMatch"


def test_a_token_is_refused_where_the_key_has_none(ask: Ask) -> None:
    key = AccessKey(SANDBOX_KEY.id, SANDBOX_KEY.secret, "made-up")

    assert ask(signed(key=key))[1]["Code"] == "SignatureDoesNotMatch"


@pytest.mark.parametrize("change", [{"action": "DeleteEverything"}, {"action": ""}, {"version": "2019-01-01"}])
def test_an_unknown_action_or_version_is_refused(ask: Ask, change: dict[str, str]) -> None:
    status, answer = ask(signed(**change))

    assert (status, answer["Code"]) == (404, "InvalidApi.NotFound")


def test_another_path_is_refused(ask: Ask) -> None:
    status, answer = ask(signed(path="/other"))

    assert (status, answer["Code"]) == (404, "InvalidApi.NotFound")


def test_answers_carry_the_date_and_the_request_id(sandbox: Sandbox) -> None:
    reply = sandbox.handle(signed())

    assert email.utils.parsedate_to_datetime(reply.headers["date"]) == NOW
    assert reply.headers["x-acs-request-id"] == json.loads(reply.body)["RequestId"] == sandbox.calls[-1].request_id


# What the operations refuse


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(("action", "parameter"), REQUIRED)
def test_a_missing_parameter_is_named(sandbox: Sandbox, action: str, parameter: str, *, empty: bool) -> None:
    given = {name: value for name, value in PARAMETERS[action].items() if name != parameter}
    if empty:
        given[parameter] = "[]" if parameter == "Users" else ""

    status, answer = directly(sandbox)(signed(action, given))

    assert (status, answer["Code"]) == (400, f"Missing{parameter}")
    assert not sandbox.calls


@pytest.mark.parametrize(("size", "index"), [(0, 1), (101, 1), (-1, 1), (20, 0), (20, -1), ("many", 1), (None, 1)])
@pytest.mark.parametrize("action", LISTS)
def test_a_page_outside_the_limits_is_refused(ask: Ask, action: str, size: object, index: object) -> None:
    if action == "ListInstance":
        page = {"PageSize": str(size), "PageIndex": str(index)}
    else:
        page = {"Page": json.dumps({"Size": size, "Index": index})}

    status, answer = ask(signed(action, PARAMETERS[action] | page))

    assert (status, answer["Code"], answer["Success"]) == (200, "InvalidParameter.PageInvalid", False)


@pytest.mark.parametrize(
    ("action", "parameter", "value", "code"),
    [
        ("ListInstance", "ChannelType", "pigeon", "InvalidParameter.ChannelTypeNotSupport"),
        ("ListChatGroup", "ChannelType", "messenger", "InvalidParameter.ChannelTypeNotSupport"),
        ("ListChatGroup", "BusinessNumber", "not-a-number", "InvalidParameter.PhoneNumberError"),
        ("ListChatGroup", "BusinessNumber", "²", "InvalidParameter.PhoneNumberError"),
        ("ListChatGroup", "CustSpaceId", "cams-none", "Authentication.NoAuth"),
        ("ListCustomAudience", "CustSpaceId", "cams-none", "Authentication.NoAuth"),
        ("ListMessageCampaign", "CustSpaceId", "cams-none", "Authentication.NoAuth"),
        ("AddCustomAudienceUser", "CustSpaceId", "cams-none", "Authentication.NoAuth"),
        ("AddCustomAudienceUser", "CustomAudienceId", "1", "InvalidParameter.CustomAudienceId"),
        ("AddCustomAudienceUser", "AdAccountId", "1", "InvalidParameter.CustomAudienceId"),
        ("AddCustomAudienceUser", "PageId", "1", "InvalidParameter.CustomAudienceId"),
        ("AddCustomAudienceUser", "Users", '["someone@example.com"]', "InvalidParameter.Users"),
        ("AddCustomAudienceUser", "Users", '[{"Email":["someone@example.com"]}]', "InvalidParameter.Users"),
        ("AddCustomAudienceUser", "Users", '[{"Phone":12025550123}]', "InvalidParameter.Users"),
    ],
)
def test_a_wrong_value_is_a_business_error_with_status_200(
    ask: Ask, sandbox: Sandbox, action: str, parameter: str, value: str, code: str
) -> None:
    status, answer = ask(signed(action, PARAMETERS[action] | {parameter: value}))

    assert (status, answer["Code"], answer["Success"]) == (200, code, False)
    assert "HostId" not in answer
    assert not sandbox.calls


@pytest.mark.parametrize("text", ["{", "5", '"text"', "null", "[" * 100_000])
@pytest.mark.parametrize(
    ("action", "parameter"),
    [
        ("ListCustomAudience", "Page"),
        ("ListMessageCampaign", "Page"),
        ("ListChatGroup", "Page"),
        ("AddCustomAudienceUser", "Users"),
    ],
)
def test_a_nested_parameter_that_is_no_json_of_its_kind_is_refused(
    sandbox: Sandbox, action: str, parameter: str, text: str
) -> None:
    status, answer = directly(sandbox)(signed(action, form=PARAMETERS[action] | {parameter: text}))

    assert (status, answer["Code"]) == (400, f"InvalidParameter.{parameter}")


def test_a_form_that_is_not_well_formed_is_refused(ask: Ask) -> None:
    status, answer = ask(signed(body=b"no pairs"))

    assert (status, answer["Code"]) == (400, "InvalidParameter")


def test_a_body_that_is_no_form_holds_no_parameters(ask: Ask) -> None:
    body = encode_form(PARAMETERS["ListCustomAudience"]).encode()

    status, answer = ask(signed("ListCustomAudience", body=body, content_type="text/plain"))

    assert (status, answer["Code"]) == (400, "MissingCustSpaceId")


@pytest.mark.parametrize(("number", "accepted"), [(10_000, True), (10_001, False)])
def test_one_call_takes_ten_thousand_users(ask: Ask, sandbox: Sandbox, number: int, *, accepted: bool) -> None:
    users = json.dumps([{"Email": user["email"]} for user in people(number)])

    status, answer = ask(signed("AddCustomAudienceUser", form=PARAMETERS["AddCustomAudienceUser"] | {"Users": users}))

    assert (status, answer["Success"]) == (200, accepted)
    assert answer["Code"] == ("OK" if accepted else "InvalidParameter.Users")
    assert len(sandbox.people(AUDIENCE)) == (number if accepted else 0)


# What the operations answer


# A deletion would not succeed three times.
REPEATABLE = [each.action for each in OPERATIONS if not each.writes] + ["AddCustomAudienceUser"]


@pytest.mark.parametrize("action", REPEATABLE)
def test_parameters_have_the_same_effect_in_the_query_and_in_a_form(ask: Ask, sandbox: Sandbox, action: str) -> None:
    given = PARAMETERS[action]
    first, rest = dict(list(given.items())[:1]), dict(list(given.items())[1:])
    answers = [ask(signed(action, given)), ask(signed(action, form=given)), ask(signed(action, first, rest))]

    request_ids = {answer.pop("RequestId") for _, answer in answers}

    assert answers[0][0] == 200
    assert answers[0] == answers[1] == answers[2]
    assert len(request_ids) == 3
    assert [dict(call.parameters) for call in sandbox.calls] == [given] * 3


@pytest.mark.parametrize(
    ("action", "envelope"),
    [
        (
            "ListInstance",
            {"AccessDeniedDetail": "{}", "Message": "NULL", "Code": "OK", "Success": True, "TotalCount": 240},
        ),
        (
            "ListCustomAudience",
            {"AccessDeniedDetail": "None", "Message": "OK", "Code": "OK", "Success": True, "Total": 320},
        ),
        (
            "ListMessageCampaign",
            {"AccessDeniedDetail": "None", "Message": "OK", "Code": "Example", "Success": True, "Total": 300},
        ),
        ("ListChatGroup", {"AccessDeniedDetail": "None", "Message": "None", "Code": "OK", "Success": True}),
        ("AddCustomAudienceUser", {"AccessDeniedDetail": "无", "Message": "OK", "Code": "OK", "Success": True}),
    ],
)
def test_answers_have_the_elements_of_the_documents_samples(ask: Ask, action: str, envelope: dict[str, Any]) -> None:
    _, answer = ask(signed(action, PARAMETERS[action]))

    data = answer.pop("Data", None)
    assert answer.pop("RequestId")
    assert answer == envelope
    if action == "ListChatGroup":
        assert set(data) == {"Total", "List"}
        assert data["Total"] == 280
        assert data["List"]
    elif action == "AddCustomAudienceUser":
        assert data is None
    else:
        assert isinstance(data, list)


ELEMENTS = {
    "ListInstance": {
        *("CountryId", "ContactMail", "ResourceRegionId", "ResourceGroupId", "InstanceId", "OfficeAddress"),
        *("SubmitTime", "InstanceName", "CustSpaceId", "IsvTerms", "FacebookBmId", "InstanceDescription"),
        *("ChannelType", "State"),
    },
    "ListCustomAudience": {
        *("PageId", "Status", "CustomAudienceId", "CustomAudienceName", "TokenType", "Description", "CreateTime"),
        *("AdAccountId", "UpdateTime", "TokenTotal", "UploadType"),
    },
    "ListMessageCampaign": {
        *("PageId", "Status", "CampaignId", "CreateTime", "AdAccountId", "CampaignName", "Budget", "BudgetType"),
    },
    "ListChatGroup": {
        *("Description", "BusinessNumber", "InviteLink", "GroupStatus", "ProfilePictureFile", "Subject", "GroupId"),
        *("BusinessRole", "GmtModifier", "GroupLink", "GroupType", "TotalParticipantCount"),
    },
}


@pytest.mark.parametrize("action", LISTS)
def test_rows_have_the_documented_elements(sandbox: Sandbox, action: str) -> None:
    assert {frozenset(row) for row in every_row(sandbox, action)} == {frozenset(ELEMENTS[action])}


def page_of(sandbox: Sandbox, action: str, size: int, index: int, **filters: str) -> tuple[int, list[dict[str, Any]]]:
    """The total and the rows of one page."""
    if action == "ListInstance":
        page = {"PageSize": str(size), "PageIndex": str(index)}
    else:
        page = {"Page": json.dumps({"Size": size, "Index": index})}
    _, answer = directly(sandbox)(signed(action, PARAMETERS[action] | page | filters))
    assert answer["Success"], answer
    if action == "ListChatGroup":
        return answer["Data"]["Total"], answer["Data"]["List"]
    return answer["TotalCount" if action == "ListInstance" else "Total"], answer["Data"]


def every_row(sandbox: Sandbox, action: str, size: int = 100, **filters: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for index in itertools.count(1):
        total, page = page_of(sandbox, action, size, index, **filters)
        rows += page
        if len(rows) >= total or not page:
            assert len(rows) == total
            return rows
    raise AssertionError


@pytest.mark.parametrize("action", LISTS)
def test_two_sandboxes_list_the_same_several_hundred_rows(action: str) -> None:
    rows, others = (every_row(Sandbox(now=lambda: NOW), action) for _ in range(2))

    assert rows == others
    assert len(rows) >= 200
    ids = {"ListInstance": "InstanceId", "ListCustomAudience": "CustomAudienceId", "ListMessageCampaign": "CampaignId"}
    assert len({row[ids.get(action, "GroupId")] for row in rows}) == len(rows)


@pytest.mark.parametrize("action", LISTS)
@settings(max_examples=15, deadline=None)
@given(size=st.integers(1, 100))
def test_pages_partition_the_rows(action: str, size: int) -> None:
    sandbox = Sandbox(now=lambda: NOW)
    rows = every_row(sandbox, action)

    assert every_row(sandbox, action, size) == rows
    total, beyond = page_of(sandbox, action, size, len(rows) // size + 2)
    assert (total, beyond) == (len(rows), [])


def exactly(element: str) -> Callable[[dict[str, Any], str], bool]:
    return lambda row, wanted: row[element] == wanted


def holding(*elements: str) -> Callable[[dict[str, Any], str], bool]:
    return lambda row, wanted: any(wanted.lower() in (row[element] or "").lower() for element in elements)


FILTERS: list[tuple[str, str, str, Callable[[dict[str, Any], str], bool]]] = [
    ("ListInstance", "ChannelType", "WHATSAPP", exactly("ChannelType")),
    ("ListInstance", "ChannelType", "messenger", lambda row, _: row["ChannelType"] == "MESSENGER"),
    ("ListInstance", "InstanceName", "coffee", holding("InstanceName")),
    ("ListInstance", "InstanceName", "上海", holding("InstanceName")),
    ("ListInstance", "InstanceId", MESSENGER_SPACE, exactly("InstanceId")),
    ("ListInstance", "SubmitTime", "2025-01-01 08:00:00", exactly("SubmitTime")),
    ("ListInstance", "ResourceGroupId", "rg-0002", exactly("ResourceGroupId")),
    ("ListInstance", "FilterStr", "whatsapp number 1202555", holding("InstanceName", "InstanceDescription")),
    ("ListInstance", "FilterStr", "Jakarta", holding("InstanceName", "InstanceDescription")),
    ("ListCustomAudience", "AdAccountId", PARAMETERS["AddCustomAudienceUser"]["AdAccountId"], exactly("AdAccountId")),
    ("ListCustomAudience", "TokenType", "custom", exactly("TokenType")),
    ("ListCustomAudience", "CustomAudienceName", "vip", holding("CustomAudienceName")),
    ("ListCustomAudience", "CustomAudienceId", AUDIENCE, exactly("CustomAudienceId")),
    ("ListMessageCampaign", "AdAccountId", PARAMETERS["AddCustomAudienceUser"]["AdAccountId"], exactly("AdAccountId")),
    ("ListMessageCampaign", "Status", "PAUSED", exactly("Status")),
    ("ListMessageCampaign", "CampaignName", "são", holding("CampaignName")),
    ("ListMessageCampaign", "CampaignId", "6000015000003", exactly("CampaignId")),
    ("ListChatGroup", "GroupStatus", "SUSPENDED", exactly("GroupStatus")),
    ("ListChatGroup", "GroupStatus", "DELETING", exactly("GroupStatus")),
    ("ListChatGroup", "Subject", "BLUE heron", holding("Subject")),
    ("ListChatGroup", "GroupLink", "https://example.com/groups/0007", exactly("GroupLink")),
    ("ListChatGroup", "GroupType", "OPEN", exactly("GroupType")),
]


@pytest.mark.parametrize(
    ("action", "parameter", "value", "fits"),
    FILTERS,
    ids=[f"{action}-{name}-{value}" for action, name, value, _ in FILTERS],
)
def test_a_filter_keeps_the_rows_that_fit_and_no_other(
    sandbox: Sandbox, action: str, parameter: str, value: str, fits: Callable[[dict[str, Any], str], bool]
) -> None:
    rows = every_row(sandbox, action)
    kept = every_row(sandbox, action, **{parameter: value})

    assert kept == [row for row in rows if fits(row, value)]
    assert 0 < len(kept) < len(rows)


@pytest.mark.parametrize(("yes", "no"), [("true", "false"), ("True", "False")])
def test_instances_are_filtered_by_their_binding(sandbox: Sandbox, yes: str, no: str) -> None:
    rows = [row["InstanceId"] for row in every_row(sandbox, "ListInstance")]
    bound = [row["InstanceId"] for row in every_row(sandbox, "ListInstance", IsBind=yes)]
    unbound = [row["InstanceId"] for row in every_row(sandbox, "ListInstance", IsBind=no)]
    (one,) = every_row(sandbox, "ListInstance", BindId="bind-0001", ChannelType="whatsapp")
    assert every_row(sandbox, "ListInstance", BindId="bind-0001", IsBind=no) == []

    assert bound
    assert unbound
    assert sorted(bound + unbound) == sorted(rows)
    assert one["InstanceId"] in bound


def test_the_one_channel_of_groups_may_be_named_in_either_case(sandbox: Sandbox) -> None:
    rows = every_row(sandbox, "ListChatGroup")

    assert every_row(sandbox, "ListChatGroup", ChannelType="WHATSAPP") == rows
    assert every_row(sandbox, "ListChatGroup", ChannelType="whatsapp") == rows
    assert every_row(sandbox, "ListChatGroup", BusinessNumber="+12025550100") == rows


@pytest.mark.parametrize("action", LISTS)
def test_every_optional_parameter_of_a_list_is_tested_as_a_filter(action: str) -> None:
    (operation,) = [operation for operation in OPERATIONS if operation.action == action]
    optional = {
        field.serialization_alias
        for field in operation.request.model_fields.values()
        if not field.is_required() and field.default is None
    }

    tested = {name for tested, name, *_ in FILTERS if tested == action}

    assert optional - tested == {"ListInstance": {"BindId", "IsBind"}, "ListChatGroup": {"ChannelType"}}.get(
        action, set()
    )


@pytest.mark.parametrize(
    ("action", "other"),
    [
        ("ListCustomAudience", {"PageId": "1"}),
        ("ListCustomAudience", {"CustSpaceId": WHATSAPP_SPACE}),
        ("ListMessageCampaign", {"PageId": "1"}),
        ("ListChatGroup", {"BusinessNumber": "12025559999"}),
        ("ListChatGroup", {"CustSpaceId": MESSENGER_SPACE}),
    ],
)
def test_another_place_has_no_rows(sandbox: Sandbox, action: str, other: dict[str, str]) -> None:
    assert every_row(sandbox, action, **other) == []


def test_nobody_in_the_data_is_real(sandbox: Sandbox) -> None:
    instances = every_row(sandbox, "ListInstance")
    groups = every_row(sandbox, "ListChatGroup")

    assert all(row["ContactMail"].endswith("@example.com") for row in instances)
    assert all(row["BusinessNumber"].startswith("120255501") for row in groups)


# What it counts


async def add(sandbox: Sandbox, users: list[dict[str, str]] | None, *, last: bool | None = None, **other: Any) -> None:
    arguments = TARGET | other | ({"users": users} if users is not None else {})
    if last is not None:
        arguments["batch_last_flag"] = last
    async with client_of(sandbox) as client:
        await client.call(ADD_CUSTOM_AUDIENCE_USER, ADD_CUSTOM_AUDIENCE_USER.request.model_validate(arguments))


async def size(sandbox: Sandbox, audience: str = AUDIENCE) -> int:
    """TokenTotal, as the list tells it."""
    request = LIST_CUSTOM_AUDIENCE.request.model_validate(PAGE | {"custom_audience_id": audience})
    async with client_of(sandbox) as client:
        (row,) = (await client.call(LIST_CUSTOM_AUDIENCE, request)).data
    return row.token_total


async def test_people_of_an_unknown_audience_are_refused() -> None:
    sandbox = Sandbox()

    with pytest.raises(ServiceError) as caught:
        await add(sandbox, people(120), custom_audience_id="1")

    assert caught.value.code == "InvalidParameter.CustomAudienceId"
    assert not sandbox.calls


@pytest.mark.parametrize(("number", "counted"), [(1, 0), (99, 0), (100, 100), (150, 150)])
async def test_an_upload_under_a_hundred_people_is_discarded(number: int, counted: int) -> None:
    sandbox = Sandbox()
    before = await size(sandbox)

    await add(sandbox, people(number))

    assert await size(sandbox) - before == counted
    assert len(sandbox.people(AUDIENCE)) == counted


async def test_added_people_count_on_top_of_those_there_and_in_their_audience_only() -> None:
    sandbox, other = Sandbox(), "6000019000001"
    before, elsewhere = await size(sandbox, other), await size(sandbox)
    assert before > 0

    await add(sandbox, people(120), custom_audience_id=other)

    assert await size(sandbox, other) == before + 120
    assert await size(sandbox) == elsewhere
    assert await size(Sandbox(), other) == before


async def test_the_same_people_do_not_count_twice() -> None:
    sandbox = Sandbox()
    before = await size(sandbox)

    await add(sandbox, people(120))
    await add(sandbox, people(120) + people(120))
    await add(sandbox, people(100, start=90))

    assert await size(sandbox) == before + 190


async def test_one_person_a_hundred_times_is_one_person() -> None:
    sandbox = Sandbox()

    await add(sandbox, people(1) * 200)

    assert not sandbox.people(AUDIENCE)


async def test_people_are_told_apart_by_e_mail_and_phone() -> None:
    sandbox = Sandbox()
    by_phone = [{"phone": f"+1202555{number:04}"} for number in range(60)]

    await add(sandbox, people(60) + by_phone)

    assert len(sandbox.people(AUDIENCE)) == 120


async def test_the_batches_of_one_upload_add_up() -> None:
    sandbox = Sandbox()

    await add(sandbox, people(60), last=False)
    assert not sandbox.people(AUDIENCE)
    await add(sandbox, people(60, start=60), last=True)

    assert len(sandbox.people(AUDIENCE)) == 120


async def test_later_batches_of_an_upload_that_counts_may_be_small() -> None:
    sandbox = Sandbox()

    await add(sandbox, people(100), last=False)
    await add(sandbox, people(5, start=100), last=False)
    await add(sandbox, None, last=True)

    assert len(sandbox.people(AUDIENCE)) == 105


async def test_uploads_of_their_own_do_not_add_up() -> None:
    sandbox = Sandbox()

    await add(sandbox, people(60))
    await add(sandbox, people(60, start=60), last=True)

    assert not sandbox.people(AUDIENCE)


async def test_the_end_of_an_upload_forgets_the_people_that_were_too_few() -> None:
    sandbox = Sandbox()

    await add(sandbox, people(60), last=False)
    await add(sandbox, None, last=True)
    await add(sandbox, people(60, start=60))

    assert not sandbox.people(AUDIENCE)


async def test_uploads_to_two_audiences_are_apart() -> None:
    sandbox, other = Sandbox(), "6000019000001"

    await add(sandbox, people(60), last=False)
    await add(sandbox, people(60, start=60), last=True, custom_audience_id=other)

    assert not sandbox.people(AUDIENCE)
    assert not sandbox.people(other)


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 80), min_size=1, max_size=6))
async def test_an_upload_counts_whole_or_not_at_all_however_it_is_cut(sizes: list[int]) -> None:
    sandbox, start = Sandbox(), 0
    for turn, number in enumerate(sizes, start=1):
        await add(sandbox, people(number, start=start), last=turn == len(sizes))
        start += number

    assert len(sandbox.people(AUDIENCE)) == (start if start >= 100 else 0)


def test_only_so_many_calls_are_remembered() -> None:
    sandbox = Sandbox(now=lambda: NOW, keep_calls=2)
    for action in LISTS:
        directly(sandbox)(signed(action, PARAMETERS[action]))

    assert [call.action for call in sandbox.calls] == LISTS[-2:]
