"""The official SDK as oracle: what a server decodes from our requests is what it decodes from the SDK's."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import anyio
import httpx
import pytest
from alibabacloud_cams20200606 import models as sdk
from alibabacloud_cams20200606.client import Client as SDKClient
from alibabacloud_tea_openapi.utils_models import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.alias_generators import to_pascal
from support import AUDIENCE, TARGET, VALID_ARGUMENTS, client_of, people, serving

from cams_mcp.api.client import ClientOptions
from cams_mcp.operation import AnyOperation
from cams_mcp.operations import OPERATIONS
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, WireRequest, sandbox_app

BY_NAME = {operation.name: operation for operation in OPERATIONS}
JSON_PARAMETERS = ("Page", "Users")
BOOLEANS = ("IsBind", "BatchLastFlag")

SPECIAL = ["*~+%/", "a+b", "100%", "%20", "=&", '"\\']
TEXT = st.one_of(
    st.sampled_from([*SPECIAL, " a ", "a b", "上海 é", "\U0001f600"]),
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=30).filter(str.strip),
)
OPTIONAL = st.one_of(st.none(), TEXT)
ID = st.one_of(st.sampled_from(SPECIAL), st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
OPTIONAL_ID = st.one_of(st.none(), ID)
PAGES = st.fixed_dictionaries({"size": st.integers(1, 100), "index": st.integers(1, 10**6)})
EMAILS = st.builds("{}@example.com".format, st.text("azAZ09.+~*%/'é上", min_size=1, max_size=20))
PHONES = st.from_regex(r"\+?[0-9]{3}[ -]?[0-9]{5,9}", fullmatch=True)
USERS = st.one_of(
    st.fixed_dictionaries({"email": EMAILS}),
    st.fixed_dictionaries({"phone": PHONES}),
    st.fixed_dictionaries({"email": EMAILS, "phone": PHONES}),
)
# Long lists are a short one over and over: what could go wrong with them is their length.
USER_LISTS = st.builds(lambda users, times: users * times, st.lists(USERS, min_size=1, max_size=4), st.integers(1, 60))

ARGUMENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "list_instance": st.fixed_dictionaries(
        {"page_size": st.integers(1, 100), "page_index": st.integers(1, 10**6)},
        optional={
            "channel_type": st.sampled_from(["whatsapp", "WHATSAPP", "messenger", "instagram", "viber"]),
            "instance_name": OPTIONAL,
            "instance_id": OPTIONAL_ID,
            "submit_time": st.just("2026-01-31 00:00:00"),
            "resource_group_id": OPTIONAL_ID,
            "filter_str": OPTIONAL,
            "bind_id": OPTIONAL_ID,
            "is_bind": st.one_of(st.none(), st.booleans()),
        },
    ),
    "list_custom_audience": st.fixed_dictionaries(
        {"cust_space_id": ID, "page_id": ID, "page": PAGES},
        optional={
            "ad_account_id": OPTIONAL_ID,
            "token_type": OPTIONAL,
            "custom_audience_name": OPTIONAL,
            "custom_audience_id": OPTIONAL_ID,
        },
    ),
    "list_message_campaign": st.fixed_dictionaries(
        {"cust_space_id": ID, "page_id": ID, "page": PAGES},
        optional={
            "ad_account_id": OPTIONAL_ID,
            "status": OPTIONAL,
            "campaign_name": OPTIONAL,
            "campaign_id": OPTIONAL_ID,
        },
    ),
    "list_chat_group": st.fixed_dictionaries(
        {"cust_space_id": ID, "business_number": ID, "page": PAGES},
        optional={
            "channel_type": st.sampled_from(["WHATSAPP", "whatsapp"]),
            "group_status": st.sampled_from(["ACTIVE", "DELETING"]),
            "subject": OPTIONAL,
            "group_link": OPTIONAL,
            "group_type": OPTIONAL,
        },
    ),
    "add_custom_audience_user": st.fixed_dictionaries(
        {
            "cust_space_id": ID,
            "page_id": ID,
            "ad_account_id": ID,
            "custom_audience_id": ID,
            "users": USER_LISTS,
        },
        optional={
            "estimated_num_total": st.one_of(st.none(), st.integers(0, 10**9)),
            "batch_last_flag": st.one_of(st.none(), st.booleans()),
        },
    ),
}


class Recorder:
    """An ASGI application that keeps the last request and lets every operation succeed."""

    def __init__(self) -> None:
        self.last: WireRequest | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("ascii")
        self.last = WireRequest(scope["method"], scope["path"], query, headers, body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})


class Capture(httpx.AsyncBaseTransport):
    """The same in this process, for our client."""

    def __init__(self) -> None:
        self.last: WireRequest | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        self.last = WireRequest(request.method, path, query, headers, await request.aread())
        return httpx.Response(200, json={"Success": True})


def sdk_client(url: str) -> SDKClient:
    return SDKClient(
        Config(
            access_key_id=SANDBOX_KEY.id,
            access_key_secret=SANDBOX_KEY.secret,
            endpoint=url.removeprefix("http://"),
            protocol="http",
        )
    )


def sdk_request(name: str, arguments: dict[str, Any]) -> Any:
    """The same arguments in the SDK's models."""
    model = f"{to_pascal(name)}Request"
    given = dict(arguments)
    if given.get("page") is not None:
        given["page"] = getattr(sdk, f"{model}Page")(**given["page"])
    if given.get("users") is not None:
        given["users"] = [sdk.AddCustomAudienceUserRequestUsers(**user) for user in given["users"]]
    return getattr(sdk, model)(**given)


def call_sdk(client: SDKClient, name: str, arguments: dict[str, Any]) -> Any:
    return getattr(client, name)(sdk_request(name, arguments))


def our_request(name: str, arguments: dict[str, Any], users_in: str = "body") -> WireRequest:
    operation: AnyOperation = BY_NAME[name]
    capture = Capture()

    async def call() -> None:
        async with client_of(Sandbox(), ClientOptions(users_in=users_in), transport=capture) as client:
            await client.call(operation, operation.request.model_validate(arguments))

    anyio.run(call)
    assert capture.last is not None
    return capture.last


def decoded(request: WireRequest) -> dict[str, Any]:
    """The parameters as a server understands them."""
    values: dict[str, Any] = dict(request.parameters)
    for name in JSON_PARAMETERS:
        if name in values:
            values[name] = json.loads(values[name])
    for name in BOOLEANS:
        if name in values:
            # The Python SDK sends Python's True and False, the other SDKs true and false.
            values[name] = values[name].lower()
    return values


@pytest.fixture(scope="module")
def recorder() -> Generator[tuple[Recorder, SDKClient]]:
    app = Recorder()
    with serving(app) as url:
        yield app, sdk_client(url)


@pytest.mark.parametrize("name", ARGUMENTS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_server_decodes_from_our_request_what_it_decodes_from_the_sdks(
    recorder: tuple[Recorder, SDKClient], name: str, data: st.DataObject
) -> None:
    arguments = data.draw(ARGUMENTS[name])
    app, client = recorder
    call_sdk(client, name, arguments)
    theirs = app.last
    assert theirs is not None
    ours = our_request(name, arguments)

    assert decoded(ours) == decoded(theirs)
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    for header in ("x-acs-action", "x-acs-version"):
        assert ours.headers[header] == theirs.headers[header]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_empty_filter_is_left_out(recorder: tuple[Recorder, SDKClient], name: str) -> None:
    """Some assistants send every argument, and an empty text for what they leave out."""
    fields = BY_NAME[name].request.model_fields
    filters = {
        field: ""
        for field in fields
        if not fields[field].is_required()
        and field not in ("page", "page_size", "page_index", "users", "estimated_num_total", "batch_last_flag")
        and field not in ("is_bind", "channel_type", "group_status", "submit_time")
    }
    # The SDK has no defaults for pages: give them.
    page = {"page": {"size": 20, "index": 1}} if "page" in fields else {}
    page = {"page_size": 20, "page_index": 1} if "page_size" in fields else page
    arguments = VALID_ARGUMENTS[name] | page
    app, client = recorder
    call_sdk(client, name, arguments)

    assert app.last is not None
    assert decoded(our_request(name, arguments | filters)) == decoded(app.last)


@pytest.mark.parametrize("name", ARGUMENTS)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_users_in_the_query_or_in_the_body_decode_to_the_same(name: str, data: st.DataObject) -> None:
    arguments = data.draw(ARGUMENTS[name])
    in_body, in_query = our_request(name, arguments, "body"), our_request(name, arguments, "query")

    assert decoded(in_body) == decoded(in_query)
    assert in_query.body == b""
    assert "content-type" not in in_query.headers
    assert bool(in_body.body) is (name == "add_custom_audience_user")


@settings(deadline=None)
@given(arguments=ARGUMENTS["add_custom_audience_user"])
def test_people_never_stand_in_the_url_by_default(arguments: dict[str, Any]) -> None:
    request = our_request("add_custom_audience_user", arguments)

    assert "Users" not in request.query
    assert set(request.parameters) - {"Users"} == set(WireRequest("POST", "/", request.query, {}, b"").parameters)


@pytest.mark.parametrize("name", ["list_custom_audience", "list_message_campaign", "list_chat_group", "list_instance"])
def test_the_sdk_lists_from_the_sandbox(name: str) -> None:
    arguments = {
        "list_instance": {"page_size": 20, "page_index": 1},
    }.get(name, VALID_ARGUMENTS[name] | {"page": {"size": 20, "index": 1}})
    sandbox = Sandbox()
    with serving(sandbox_app(sandbox)) as url:
        body = call_sdk(sdk_client(url), name, arguments).body

    ours = anyio.run(list_ours, name, arguments)
    rows = body.data.list if name == "list_chat_group" else body.data
    total = {"list_instance": lambda: body.total_count, "list_chat_group": lambda: body.data.total}
    assert body.success
    assert total.get(name, lambda: body.total)() == ours["total"] > 200
    assert [{to_pascal(field): value for field, value in row.items()} for row in ours["data"]] == [
        {field: value for field, value in row.to_map().items() if value is not None} for row in rows
    ]


async def list_ours(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    operation: AnyOperation = BY_NAME[name]
    async with client_of(Sandbox()) as client:
        return (await client.call(operation, operation.request.model_validate(arguments))).to_content()


def test_the_sdk_adds_ten_thousand_people_in_its_url() -> None:
    sandbox = Sandbox()
    users = people(10_000)
    with serving(sandbox_app(sandbox)) as url:
        body = call_sdk(sdk_client(url), "add_custom_audience_user", TARGET | {"users": users}).body

    assert (body.success, body.code) == (True, "OK")
    assert sandbox.people(AUDIENCE) == {(user["email"], None) for user in users}


def test_the_sdk_is_refused_with_another_secret() -> None:
    with serving(sandbox_app(Sandbox())) as url:
        config = Config(access_key_id=SANDBOX_KEY.id, access_key_secret="other", protocol="http")
        config.endpoint = url.removeprefix("http://")
        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            SDKClient(config).list_instance(sdk.ListInstanceRequest(page_size=20, page_index=1))
