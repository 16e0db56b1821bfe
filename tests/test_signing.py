from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import re
from collections.abc import Iterator
from urllib.parse import unquote

import anyio
import anyio.from_thread
import httpx
import pytest
from alibabacloud_tea_openapi.utils import Utils
from alibabacloud_tea_openapi.utils_models import OpenApiRequest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import client_of, no_sleep, serving

from cams_mcp.api.client import CamsClient, ClientOptions
from cams_mcp.api.credentials import AccessKey, ExplicitKey
from cams_mcp.api.endpoint import Endpoint
from cams_mcp.api.signing import (
    ACS3Auth,
    authorization,
    canonical_request,
    encode,
    encode_form,
    signature,
    signed_header_names,
    string_to_sign,
)
from cams_mcp.errors import ServiceError
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER, AddCustomAudienceUserRequest
from cams_mcp.operations.list_instance import LIST_INSTANCE, ListInstanceRequest
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, SandboxTransport, WireRequest

ANY_TEXT = st.one_of(st.text(), st.text(alphabet="*~+%/ &=?#'\"!()[]{}:;@,<>\\|^`$\x00\ta\u00e9\u4e0a\U0001f600"))
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=500)
"""What a tool takes as a filter."""

PARAMETERS = st.dictionaries(ANY_TEXT.filter(bool), ANY_TEXT, max_size=6)

# The worked example of Alibaba Cloud's documentation of signature V3.
QUERY = "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai"
HEADERS = {
    "host": "ecs.cn-shanghai.aliyuncs.com",
    "x-acs-action": "RunInstances",
    "x-acs-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "x-acs-date": "2023-10-26T10:22:32Z",
    "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
    "x-acs-version": "2014-05-26",
}
HASHED_CANONICAL = "7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259"
SIGNATURE = "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
EXAMPLE_KEY = AccessKey("YourAccessKeyId", "YourAccessKeySecret")


def test_each_step_gives_what_the_documentation_shows() -> None:
    canonical = canonical_request("POST", "/", QUERY, HEADERS, sorted(HEADERS), HEADERS["x-acs-content-sha256"])
    to_sign = string_to_sign(canonical)

    assert hashlib.sha256(b"").hexdigest() == HEADERS["x-acs-content-sha256"]
    assert hashlib.sha256(canonical.encode()).hexdigest() == HASHED_CANONICAL
    assert to_sign == f"ACS3-HMAC-SHA256\n{HASHED_CANONICAL}"
    assert signature(EXAMPLE_KEY.secret, to_sign) == SIGNATURE


def test_the_whole_header_is_what_the_documentation_shows() -> None:
    assert authorization(EXAMPLE_KEY, "POST", "/", QUERY, HEADERS) == (
        "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;"
        f"x-acs-signature-nonce;x-acs-version,Signature={SIGNATURE}"
    )


async def test_the_auth_signs_the_documented_request_as_documented() -> None:
    request = httpx.Request(
        "POST",
        f"https://{HEADERS['host']}/?{QUERY}",
        headers={"x-acs-action": HEADERS["x-acs-action"], "x-acs-version": HEADERS["x-acs-version"]},
    )
    auth = ACS3Auth(
        ExplicitKey(EXAMPLE_KEY),
        now=lambda: dt.datetime(2023, 10, 26, 10, 22, 32, tzinfo=dt.UTC),
        nonce=lambda: HEADERS["x-acs-signature-nonce"],
    )
    signed = await anext(aiter(auth.async_auth_flow(request)))

    assert signed.headers["authorization"].endswith(f"Signature={SIGNATURE}")


@pytest.mark.parametrize("change", ["method", "path", "query", "header", "body", "secret"])
def test_a_change_of_anything_signed_changes_the_signature(change: str) -> None:
    changed = {
        "method": ("GET", "/", QUERY, HEADERS, EXAMPLE_KEY),
        "path": ("POST", "/other", QUERY, HEADERS, EXAMPLE_KEY),
        "query": ("POST", "/", QUERY + "1", HEADERS, EXAMPLE_KEY),
        "header": ("POST", "/", QUERY, HEADERS | {"x-acs-action": "StopInstances"}, EXAMPLE_KEY),
        "body": ("POST", "/", QUERY, HEADERS | {"x-acs-content-sha256": "0" * 64}, EXAMPLE_KEY),
        "secret": ("POST", "/", QUERY, HEADERS, AccessKey(EXAMPLE_KEY.id, "another")),
    }
    method, path, query, headers, key = changed[change]

    assert not authorization(key, method, path, query, headers).endswith(SIGNATURE)


@settings(deadline=None)
@given(ANY_TEXT)
def test_encoded_text_decodes_to_itself_and_has_only_unreserved_characters(text: str) -> None:
    assert unquote(encode(text), errors="strict") == text
    assert re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})*", encode(text))


@pytest.mark.parametrize(
    ("text", "encoded"), [(" ", "%20"), ("*", "%2A"), ("~", "~"), ("+", "%2B"), ("/", "%2F"), ("é", "%C3%A9")]
)
def test_the_characters_other_encoders_disagree_about(text: str, encoded: str) -> None:
    assert encode(text) == encoded


@settings(deadline=None)
@given(PARAMETERS)
def test_a_form_is_sorted_and_keeps_every_value_the_empty_too(parameters: dict[str, str]) -> None:
    pairs = [pair.split("=") for pair in encode_form(parameters).split("&")] if parameters else []

    assert [(unquote(name), unquote(value)) for name, value in pairs] == sorted(parameters.items())


@settings(deadline=None)
@given(
    st.dictionaries(st.from_regex(r"[A-Za-z0-9.]{1,12}", fullmatch=True), ANY_TEXT, max_size=6),
    st.dictionaries(
        st.sampled_from(
            ["host", "content-type", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-security-token"]
        ),
        st.text(alphabet="abc XYZ019./;=-", max_size=30),
        min_size=1,
    ),
    st.binary(max_size=50),
    st.text(alphabet="abcXYZ019", min_size=1, max_size=30),
)
def test_signatures_are_those_of_the_official_sdk(
    parameters: dict[str, str], headers: dict[str, str], body: bytes, secret: str
) -> None:
    hashed = hashlib.sha256(body).hexdigest()
    headers = headers | {"x-acs-content-sha256": hashed}
    theirs = OpenApiRequest(query=parameters, headers=headers)
    theirs.method, theirs.pathname = "POST", "/"

    assert authorization(
        AccessKey("key-id", secret), "POST", "/", encode_form(parameters), headers
    ) == Utils.get_authorization(theirs, "ACS3-HMAC-SHA256", hashed, "key-id", secret)


class Recorder:
    """An ASGI application that keeps requests as they came and lets every operation succeed."""

    def __init__(self) -> None:
        self.requests: list[WireRequest] = []

    async def __call__(self, scope, receive, send) -> None:  # noqa: ANN001 - ASGI
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("ascii")
        self.requests.append(WireRequest(scope["method"], scope["path"], query, headers, body))
        answer = b'{"Success": true, "Code": "OK"}'
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"31")]})
        await send({"type": "http.response.body", "body": answer})


class Wire:
    """A client in a loop of its own, and the server that records what it sends."""

    def __init__(self, portal: anyio.from_thread.BlockingPortal, recorder: Recorder, url: str) -> None:
        self._portal = portal
        self._recorder = recorder
        self._url = url

    async def _send(self, users_in: str, filter_str: str, audience: str, email: str) -> None:
        transport = httpx.AsyncHTTPTransport(verify=False)  # plain http here; spares loading a CA bundle every time
        options = ClientOptions(users_in=users_in)
        async with CamsClient(
            Endpoint.parse(self._url), ExplicitKey(SANDBOX_KEY), options, transport=transport, sleep=no_sleep
        ) as client:
            await client.call(LIST_INSTANCE, ListInstanceRequest(filter_str=filter_str))
            await client.call(ADD_CUSTOM_AUDIENCE_USER, add_one(audience, email))

    def send(self, users_in: str, text: str, audience: str, email: str) -> list[WireRequest]:
        self._recorder.requests.clear()
        self._portal.call(self._send, users_in, text, audience, email)
        return self._recorder.requests


def add_one(audience: str, email: str) -> AddCustomAudienceUserRequest:
    target = {"cust_space_id": "cams-1", "page_id": "1", "ad_account_id": "2"}
    return AddCustomAudienceUserRequest(custom_audience_id=audience, users=[{"email": email}], **target)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    recorder = Recorder()
    with serving(recorder) as url, anyio.from_thread.start_blocking_portal() as portal:
        yield Wire(portal, recorder, url)


@pytest.mark.parametrize("users_in", ["body", "query"])
@settings(deadline=None, max_examples=60)
@given(
    text=TEXT,
    audience=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20),
    local=st.text(alphabet="az09+%~*/'é上", min_size=1, max_size=20),
)
def test_what_is_signed_is_what_is_sent(wire: Wire, users_in: str, text: str, audience: str, local: str) -> None:
    email = f"{local}@example.com"
    listed, added = wire.send(users_in, text, audience, email)

    assert listed.query == encode_form(ListInstanceRequest(filter_str=text).parameters())
    assert listed.body == b""
    parameters = add_one(audience, email).parameters()
    users = {"Users": parameters.pop("Users")}
    if users_in == "query":
        parameters, users = parameters | users, {}
    assert added.query == encode_form(parameters)
    assert added.body.decode("ascii") == encode_form(users)
    for sent in (listed, added):
        # The official SDK signs what arrived and comes to the same.
        names = sent.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        theirs = OpenApiRequest(query=sent.parameters, headers={name: sent.headers[name] for name in names})
        theirs.method, theirs.pathname = sent.method, sent.path
        if sent.body:
            theirs.query.pop("Users")
        hashed = hashlib.sha256(sent.body).hexdigest()
        assert sent.headers["x-acs-content-sha256"] == hashed
        assert sent.headers["authorization"] == Utils.get_authorization(
            theirs, "ACS3-HMAC-SHA256", hashed, SANDBOX_KEY.id, SANDBOX_KEY.secret
        )


def test_headers_a_proxy_may_rewrite_are_not_signed(wire: Wire) -> None:
    for sent in wire.send("body", "", "3", "someone@example.com"):
        signed = sent.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")

        assert {"user-agent", "accept", "accept-encoding", "connection", "content-length"} <= sent.headers.keys()
        assert signed == signed_header_names(list(sent.headers))
        assert set(signed) == {
            "host",
            "x-acs-action",
            "x-acs-version",
            "x-acs-date",
            "x-acs-signature-nonce",
            "x-acs-content-sha256",
        } | ({"content-type"} if sent.body else set())


class Capture(httpx.AsyncBaseTransport):
    """Keeps requests and gives the answers in turn."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = iter(answers)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return next(self._answers)


def refusal() -> httpx.Response:
    return httpx.Response(503, json={"Code": "ServiceUnavailable", "RequestId": "1"})


async def test_every_attempt_has_a_nonce_a_date_and_a_signature_of_its_own() -> None:
    times = itertools.count()
    capture = Capture(refusal(), refusal(), httpx.Response(200, json={"Success": True}))
    async with client_of(
        Sandbox(), transport=capture, now=lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(next(times))
    ) as client:
        await client.call(LIST_INSTANCE, ListInstanceRequest())

    for name in ("x-acs-signature-nonce", "x-acs-date", "authorization"):
        assert len({request.headers[name] for request in capture.requests}) == 3
    assert {request.url for request in capture.requests} == {capture.requests[0].url}


async def test_the_sandbox_refuses_a_nonce_that_comes_twice(sandbox: Sandbox) -> None:
    async with client_of(sandbox, nonce=lambda: "always-the-same") as client:
        await client.call(LIST_INSTANCE, ListInstanceRequest())
        with pytest.raises(ServiceError) as caught:
            await client.call(LIST_INSTANCE, ListInstanceRequest())

    assert caught.value.code == "SignatureNonceUsed"


async def test_rotated_keys_are_picked_up_between_attempts() -> None:
    keys = iter([AccessKey("first", "one"), AccessKey("second", "two", "token-2")])

    async def rotating() -> AccessKey:
        return next(keys)

    capture = Capture(refusal(), httpx.Response(200, json={"Success": True}))
    async with CamsClient(Endpoint("http", "sandbox.localhost"), rotating, transport=capture, sleep=no_sleep) as client:
        await client.call(LIST_INSTANCE, ListInstanceRequest())

    first, second = capture.requests
    assert "Credential=first," in first.headers["authorization"]
    assert "x-acs-security-token" not in first.headers
    assert "Credential=second," in second.headers["authorization"]
    assert second.headers["x-acs-security-token"] == "token-2"


async def test_temporary_credentials_are_sent_and_signed() -> None:
    key = AccessKey("STS.example", "temporary-secret", "temporary-token")
    capture = Capture(httpx.Response(200, json={"Success": True}))
    async with CamsClient(Endpoint("http", "sandbox.localhost"), ExplicitKey(key), transport=capture) as client:
        await client.call(LIST_INSTANCE, ListInstanceRequest())

    (request,) = capture.requests
    assert request.headers["x-acs-accesskey-id"] == key.id
    assert request.headers["x-acs-security-token"] == key.security_token
    signed = request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    assert {"x-acs-accesskey-id", "x-acs-security-token"} <= set(signed)


@pytest.mark.parametrize(
    ("token", "code"),
    [("temporary-token", None), ("another", "SignatureDoesNotMatch"), (None, "SignatureDoesNotMatch")],
)
async def test_temporary_credentials_are_good_with_their_own_token_only(token: str | None, code: str | None) -> None:
    sandbox = Sandbox(key=AccessKey("STS.example", "temporary-secret", "temporary-token"))
    given = ExplicitKey(AccessKey("STS.example", "temporary-secret", token))
    async with CamsClient(Endpoint("http", "sandbox.localhost"), given, transport=SandboxTransport(sandbox)) as client:
        try:
            answered = (await client.call(LIST_INSTANCE, ListInstanceRequest())).code
        except ServiceError as error:
            answered = error.code

    assert answered == (code or "OK")


def test_secrets_stay_out_of_repr() -> None:
    shown = repr(AccessKey("key-id", "a-secret", "a-token"))

    assert "key-id" in shown
    assert "a-secret" not in shown
    assert "a-token" not in shown
