"""What an answer says about a write: every combination of HTTP status, `Success` and `Code`."""

from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TARGET, client_of, people

from cams_mcp.api.client import ClientOptions
from cams_mcp.api.outcome import REFUSAL_STATUSES, SUCCESS_STATUSES, Verdict, verdict
from cams_mcp.errors import AmbiguousWrite, CamsError, ProxyAnswer, ServiceError, Throttled
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.sandbox import Sandbox

WRITE = ADD_CUSTOM_AUDIENCE_USER
OK = [200, 201, 202, 203]
REFUSING = [400, 401, 403, 404, 413, 422, 429]
NO_ANSWER = [100, 101, 204, 206, 302, 303, 304, 408, 409, 425, 444, 499, 500, 502, 504, 520, 524, 599]

REFUSALS = [
    *("InvalidParameter", "InvalidParameter.Users", "MissingUsers", "IllegalTimestamp", "UnsupportedOperation"),
    *("Forbidden.RAM", "NoPermission", "Authentication.NoAuth", "SignatureDoesNotMatch", "IncompleteSignature"),
    *("InvalidApi.NotFound", "InvalidTimeStamp.Expired", "InvalidAccessKeyId.NotFound", "InvalidSecurityToken.Expired"),
    *("InvalidAudience.NotExist", "InvalidUser.DoesNotExist", "InvalidPage.NonExistent", "InvalidPage.Not_Exists"),
    *("Product.Unsubscript", "Ram.PermissionDeny", "System.LimitControl", "Unknown.ResourceOwnerId"),
]
THROTTLING = ["Throttling", "Throttling.User", "Throttling.Api"]
UNCERTAIN = [
    *("ServiceTimeout", "RequestTimeout", "RequestTimedOut", "Gateway.Timeout", "TIME_OUT", "BackendError", "Busy"),
    *(
        "InternalError",
        "ServiceUnavailable",
        "SystemError",
        "ServiceUnavailableTemporary",
        "UnknownError",
        "Processing",
    ),
    *("SignatureNonceUsed", "InvalidResponse.UpstreamTimeout", "Throttling.Timeout", "Forbidden.GatewayTimeout"),
    *("Invalid.Duplicate", "InvalidState.AlreadyApplied", "InvalidParameter.UserExists", "InvalidParameter.Existed"),
    *("InvalidRequest.Repeated", "InvalidParameter.Idempotency", "Invalid.Conflict", "Throttling.Duplicate"),
    *("Forbidden.DuplicateRequest", "UnsupportedOperation.AlreadyExecuted", "InvalidPlugin.Exist"),
]
UNKNOWN = ["Example", "Success", "200", "ok", "SomethingNew", "isv.AUDIENCE_BROKEN"]
NONE = [None, ""]

S, R, T, U = Verdict.SUCCEEDED, Verdict.REFUSED, Verdict.THROTTLED, Verdict.UNCERTAIN

# (statuses, Success): what each sort of code comes to: absent, OK, refusal, throttling, uncertain, unknown.
TABLE: list[tuple[list[int], bool | None, str]] = [
    (OK, True, "S S U U U S"),
    (OK, False, "U U R T U U"),
    (OK, None, "U S R T U U"),
    (REFUSING, True, "U U U U U U"),
    (REFUSING, False, "U U R T U U"),
    (REFUSING, None, "U U R T U U"),
    ([503], True, "U U U U U U"),
    ([503], False, "U U U T U U"),
    ([503], None, "U U U T U U"),
    (NO_ANSWER, True, "U U U U U U"),
    (NO_ANSWER, False, "U U U U U U"),
    (NO_ANSWER, None, "U U U U U U"),
]
SORTS: list[list[str | None]] = [NONE, ["OK"], [*REFUSALS], [*THROTTLING], [*UNCERTAIN], [*UNKNOWN]]
CASES = [
    (status, success, code, {"S": S, "R": R, "T": T, "U": U}[letter])
    for statuses, success, letters in TABLE
    for letter, codes in zip(letters.split(), SORTS, strict=True)
    for status in statuses
    for code in codes
]


def test_each_combination_has_its_verdict() -> None:
    wrong = [case for case in CASES if verdict(*case[:3]) is not case[3]]

    assert wrong == []


@settings(deadline=None, max_examples=500)
@given(
    status=st.integers(100, 999),
    success=st.sampled_from([True, False, None]),
    code=st.none() | st.text(max_size=20) | st.sampled_from([code for codes in SORTS for code in codes]),
)
def test_a_refusal_is_said_by_status_success_and_code_alike(
    status: int, success: bool | None, code: str | None
) -> None:
    found = verdict(status, success, code)

    if found is S:
        assert status in SUCCESS_STATUSES
        assert success or code == "OK"
    if found in (R, T):
        assert success is not True
        assert code not in (None, "", "OK")
        assert status in SUCCESS_STATUSES | REFUSAL_STATUSES | {503}


class Answering(httpx.AsyncBaseTransport):
    """Answers everything the same, and counts."""

    def __init__(self, status: int, body: bytes, **headers: str) -> None:
        self.arrivals = 0
        self._answer = (status, headers, body)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.arrivals += 1
        status, headers, body = self._answer
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))


async def write(transport: Answering, retries: int = 2) -> CamsError | None:
    """How a write ended."""
    request = WRITE.request.model_validate(TARGET | {"users": people(1)})
    async with client_of(Sandbox(), ClientOptions(retries=retries), transport=transport) as client:
        try:
            await client.call(WRITE, request)
        except CamsError as error:
            return error
    return None


def document(success: bool | None, code: str | None) -> bytes:
    elements = {"Success": success, "Code": code, "RequestId": "R-1"}
    return json.dumps({name: value for name, value in elements.items() if value is not None}).encode()


@pytest.mark.slow
@pytest.mark.parametrize(("statuses", "success"), [row[:2] for row in TABLE], ids=str)
async def test_only_a_refusal_lets_a_write_be_repeated(statuses: list[int], success: bool | None) -> None:
    for status, said, code, expected in CASES:
        if status != statuses[0] or said is not success:
            continue
        transport = Answering(status, document(success, code))
        error = await write(transport)

        kind = {S: type(None), R: ServiceError, T: Throttled, U: AmbiguousWrite}[expected]
        assert isinstance(error, kind), (status, success, code, error)
        assert transport.arrivals == (3 if expected is T else 1), (status, success, code)
        assert error is None or error.not_executed is (expected in (R, T))


@pytest.mark.parametrize("status", [*OK, *REFUSING, *NO_ANSWER, 301, 307, 308, 503])
async def test_a_page_of_a_proxy_refuses_a_write_only_with_a_status_that_says_so(status: int) -> None:
    error = await write(Answering(status, b"<html></html>", location="https://login.example.com/"))

    refused = status in REFUSING or status in (301, 302, 307, 308)
    assert type(error) is (ProxyAnswer if refused else AmbiguousWrite)


UNREADABLE = [
    *(b"no", b'{"error": "denied"}', b"[]", b'{"Success": "maybe", "Code": "Invalid"}'),
    *(b'{"Success": true, "Co', b'{"Code": "Invalid", "Code": "OK"}', b'{"Code": "Invalid", "code": "OK"}'),
    *(b'\n {"Success": true', b'{"Success": true, "Code": NaN}', b"\xff<html>", b"\x1f\x8b\x08"),
]


@pytest.mark.parametrize("body", [b"", *UNREADABLE])
@pytest.mark.parametrize("content_type", ["application/json", "text/html", ""])
@pytest.mark.parametrize("status", [*OK, *REFUSING, *NO_ANSWER, 503])
async def test_a_write_is_never_refused_by_what_is_neither_camss_json_nor_a_page(
    status: int, body: bytes, content_type: str
) -> None:
    error = await write(Answering(status, body, **{"content-type": content_type}))

    proxys = not body and (status in (413, 302) or (content_type == "text/html" and status in REFUSING))
    assert type(error) is (ProxyAnswer if proxys else AmbiguousWrite)


@pytest.mark.parametrize("code", ["Invalid.Duplicate", "InvalidState.AlreadyApplied"])
async def test_a_read_is_not_tried_again_when_the_service_calls_it_a_repetition(code: str) -> None:
    transport = Answering(400, document(False, code))  # noqa: FBT003
    async with client_of(Sandbox(), ClientOptions(retries=2), transport=transport) as client:
        with pytest.raises(ServiceError) as caught:
            await client.call(LIST_INSTANCE, LIST_INSTANCE.request())

    assert transport.arrivals == 1
    assert "Temporary service failure" not in str(caught.value)


@pytest.mark.parametrize(("status", "code"), [(408, "Whatever"), (400, "ServiceTimeout"), (200, "RequestTimeout")])
async def test_a_read_is_tried_again_when_the_service_did_not_answer_in_time(status: int, code: str) -> None:
    transport = Answering(status, document(False, code))  # noqa: FBT003
    async with client_of(Sandbox(), ClientOptions(retries=2), transport=transport) as client:
        with pytest.raises(ServiceError):
            await client.call(LIST_INSTANCE, LIST_INSTANCE.request())

    assert transport.arrivals == 3
