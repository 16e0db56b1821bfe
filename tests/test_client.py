from __future__ import annotations

import datetime as dt
import gzip
import ipaddress
import json
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support import VALID_ARGUMENTS, client_of, no_sleep, serving

from cams_mcp.api.client import LONGEST_BACKOFF, CamsClient, ClientOptions
from cams_mcp.api.credentials import AccessKey, ExplicitKey
from cams_mcp.api.endpoint import Endpoint
from cams_mcp.errors import (
    AmbiguousWrite,
    CamsError,
    ClockSkew,
    ConfigurationError,
    ConnectionFailed,
    MalformedAnswer,
    MissingCredentials,
    PermissionDenied,
    ProxyAnswer,
    Throttled,
)
from cams_mcp.models import Response
from cams_mcp.operation import AnyOperation
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_instance import LIST_INSTANCE, ListInstanceRequest
from cams_mcp.sandbox import FAULTS, SANDBOX_KEY, Fault, Faults, Sandbox, sandbox_app

READS = [operation for operation in OPERATIONS if not operation.writes]
WRITES = [operation for operation in OPERATIONS if operation.writes]
ALL = [*READS, *WRITES]

every_read = pytest.mark.parametrize("operation", READS, ids=lambda operation: operation.name)
every_write = pytest.mark.parametrize("operation", WRITES, ids=lambda operation: operation.name)
every_operation = pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)

Played = httpx.Response | Exception


class Script(httpx.AsyncBaseTransport):
    """Plays answers and breakdowns in turn, the last one for good, and counts what arrives."""

    def __init__(self, *played: Callable[[], Played]) -> None:
        self._played = played
        self.requests: list[httpx.Request] = []

    @property
    def arrivals(self) -> int:
        return len(self.requests)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        play = self._played[min(self.arrivals, len(self._played) - 1)]
        self.requests.append(request)
        answer = play()
        if isinstance(answer, Exception):
            raise answer
        return answer


def answers(status: int = 200, headers: dict[str, str] | None = None, **document: Any) -> Callable[[], Played]:
    return lambda: httpx.Response(status, headers=headers, json=document)


def raw(status: int, content: bytes, **headers: str) -> Callable[[], Played]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    # As a stream, because httpx unpacks a given content at once.
    return lambda: httpx.Response(status, headers=named, stream=httpx.ByteStream(content))


def breaks(kind: type[httpx.TransportError], text: str = "") -> Callable[[], Played]:
    return lambda: kind(text)


OK = answers(Success=True, Code="OK", RequestId="R-OK")
HTML = b"<html><head><title>Bad Gateway</title></head></html>"


class Waits:
    """In place of sleeping: remembers how long."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def request_of(operation: AnyOperation, **more: Any) -> Any:
    return operation.request.model_validate(VALID_ARGUMENTS[operation.name] | more)


async def run(
    operation: AnyOperation, transport: httpx.AsyncBaseTransport, options: ClientOptions | None = None, **more: Any
) -> Response:
    async with client_of(Sandbox(), options, transport=transport, **more) as client:
        return await client.call(operation, request_of(operation))


async def failure(operation: AnyOperation, transport: httpx.AsyncBaseTransport, *args: Any, **more: Any) -> CamsError:
    with pytest.raises(CamsError) as caught:
        await run(operation, transport, *args, **more)
    return caught.value


def with_faults(*faults: str) -> Sandbox:
    return Sandbox(Faults(map(Fault.parse, faults)))


# What a read does.

PASSING = {
    "reset": breaks(httpx.ReadError),
    "disconnect": breaks(httpx.RemoteProtocolError),
    "write error": breaks(httpx.WriteError),
    "read timeout": breaks(httpx.ReadTimeout),
    "connect error": breaks(httpx.ConnectError),
    "connect timeout": breaks(httpx.ConnectTimeout),
    "pool timeout": breaks(httpx.PoolTimeout),
    "proxy": breaks(httpx.ProxyError),
    "500": answers(500, Code="InternalError"),
    "503": answers(503, Code="ServiceUnavailable"),
    "500 of an unknown code": answers(500, Code="Whatever"),
    "InternalError with 200": answers(200, Success=False, Code="InternalError"),
    "SystemError with 200": answers(200, Success=False, Code="SystemError"),
    "502 as HTML": raw(502, HTML, content_type="text/html"),
    "503 as text": raw(503, b"upstream connect error", content_type="text/plain"),
    "504 without a body": raw(504, b""),
    "502 as other JSON": raw(502, b'{"error": "bad gateway"}'),
    "throttled with 400": answers(400, Code="Throttling.User"),
    "throttled with 429": answers(429, Code="Throttling"),
    "throttled with 503": answers(503, Code="Throttling.Api"),
    "throttled with 200": answers(200, Success=False, Code="Throttling"),
}
REFUSALS = {
    "denied": answers(403, Code="Forbidden.RAM"),
    "no access": answers(200, Success=False, Code="Authentication.NoAuth"),
    "unknown code": answers(200, Success=False, Code="SomethingNew"),
    "signature": answers(400, Code="SignatureDoesNotMatch"),
    "missing": answers(400, Code="MissingPageId"),
    "clock": answers(400, Code="InvalidTimeStamp.Expired"),
    "413": raw(413, HTML),
    "414": raw(414, HTML),
    "HTML": raw(200, HTML),
    "redirect": raw(302, b"", location="https://login.example.com/"),
    "no JSON": raw(200, b"nonsense"),
}


@every_read
@pytest.mark.parametrize("fault", PASSING)
async def test_a_read_is_tried_again_after_a_passing_fault(operation: AnyOperation, fault: str) -> None:
    script = Script(PASSING[fault], PASSING[fault], OK)

    assert (await run(operation, script)).request_id == "R-OK"
    assert script.arrivals == 3


@every_read
@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_a_read_is_given_up_after_the_last_retry(operation: AnyOperation, retries: int) -> None:
    script = Script(PASSING["503"])
    error = await failure(operation, script, ClientOptions(retries=retries))

    assert script.arrivals == error.attempts == retries + 1
    assert error.code == "ServiceUnavailable"
    assert (f"tried {retries + 1} times" in str(error)) is (retries > 0)


@every_operation
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refusal_is_not_tried_again(operation: AnyOperation, refusal: str) -> None:
    script = Script(REFUSALS[refusal], OK)
    error = await failure(operation, script)

    assert script.arrivals == error.attempts == 1
    assert str(error).startswith(f"{operation.action}: ")


async def test_waits_between_attempts_grow_and_vary_within_bounds() -> None:
    for jitter, expected in ((0.0, [0.25, 0.5, 1, 2, 4, 8, 10]), (1.0, [0.5, 1, 2, 4, 8, 16, 20])):
        waits = Waits()
        await failure(
            LIST_INSTANCE, Script(PASSING["503"]), ClientOptions(retries=7), sleep=waits, jitter=lambda at=jitter: at
        )

        assert waits.seconds == expected


@every_operation
@pytest.mark.parametrize(("asked", "waited"), [("5000", 5), ("19999.5", 19.9995), ("100", 0.5), ("20000", 20)])
async def test_the_wait_the_service_asks_for_is_honoured(operation: AnyOperation, asked: str, waited: float) -> None:
    waits = Waits()
    throttled = answers(400, {"x-acs-retry-after": asked}, Code="Throttling.User")
    script = Script(throttled, OK)
    await run(operation, script, sleep=waits, jitter=lambda: 1.0)

    assert waits.seconds == [waited]
    assert script.arrivals == 2


@every_operation
async def test_a_longer_wait_is_not_waited_for_but_told(operation: AnyOperation) -> None:
    waits = Waits()
    asked = {"x-acs-retry-after": f"{(LONGEST_BACKOFF + 40) * 1000:g}"}
    script = Script(answers(400, asked, Code="Throttling.User"), OK)
    error = await failure(operation, script, sleep=waits)

    assert isinstance(error, Throttled)
    assert error.retry_after == 60
    assert "Try again in 60 s." in str(error)
    assert waits.seconds == []
    assert script.arrivals == 1


@pytest.mark.parametrize("asked", ["", "soon", "-5", "0", "nan", "inf", "1e300", "Wed, 21 Oct 2026 07:28:00 GMT"])
async def test_a_wait_that_makes_no_sense_is_ignored(asked: str) -> None:
    waits = Waits()
    throttled = answers(400, {"x-acs-retry-after": asked}, Code="Throttling.User")
    error = await failure(LIST_INSTANCE, Script(throttled), sleep=waits, jitter=lambda: 1.0)

    assert isinstance(error, Throttled)
    assert error.retry_after is None
    assert waits.seconds == [0.5, 1]


# What a write does.

MAY_HAVE_BEEN_APPLIED = {
    name: PASSING[name]
    for name in PASSING
    if not name.startswith("throttled") and name not in ("connect error", "connect timeout", "pool timeout", "proxy")
} | {
    "truncated JSON": raw(200, b'{"RequestId": "R-1", "Succ', x_acs_request_id="R-1"),
    "no JSON": raw(200, b"nonsense"),
    "empty": raw(200, b""),
    "JSON of something else": raw(200, b"[]"),
    "over-long": raw(200, b"[" + b" " * 2_000, x_acs_request_id="R-1"),
    "broken compression": raw(200, b"not gzip", content_encoding="gzip", x_acs_request_id="R-1"),
    "elements of other types": answers(200, Success=True, Message=[1], RequestId="R-1"),
    "success with 500": answers(500, Success=True, Code="OK", RequestId="R-1"),
}
NOTHING_WAS_SENT = ["connect error", "connect timeout", "pool timeout", "proxy"]
THROTTLED = [name for name in PASSING if name.startswith("throttled")]


@every_write
@pytest.mark.parametrize("fault", MAY_HAVE_BEEN_APPLIED)
async def test_a_write_whose_outcome_is_unknown_is_sent_once(operation: AnyOperation, fault: str) -> None:
    script = Script(MAY_HAVE_BEEN_APPLIED[fault], OK)
    error = await failure(operation, script, ClientOptions(max_answer_bytes=1_000))

    assert isinstance(error, AmbiguousWrite)
    assert script.arrivals == error.attempts == 1
    assert "It may have been applied." in str(error)
    assert "Do not retry it yourself." in str(error)


@every_write
@pytest.mark.parametrize(
    "fault",
    ["truncated JSON", "over-long", "broken compression", "elements of other types", "success with 500"],
)
async def test_an_ambiguous_write_names_the_request_id(operation: AnyOperation, fault: str) -> None:
    error = await failure(operation, Script(MAY_HAVE_BEEN_APPLIED[fault]), ClientOptions(max_answer_bytes=1_000))

    assert error.request_id == "R-1"
    assert "request id R-1" in str(error)


@every_write
@pytest.mark.parametrize("fault", [*THROTTLED, *NOTHING_WAS_SENT])
async def test_a_write_that_cannot_have_been_executed_is_sent_again(operation: AnyOperation, fault: str) -> None:
    script = Script(PASSING[fault], PASSING[fault], OK)

    assert (await run(operation, script)).request_id == "R-OK"
    assert script.arrivals == 3


@every_write
@pytest.mark.parametrize("fault", NOTHING_WAS_SENT)
async def test_a_write_that_never_went_out_is_not_called_ambiguous(operation: AnyOperation, fault: str) -> None:
    script = Script(PASSING[fault])
    error = await failure(operation, script)

    assert isinstance(error, ConnectionFailed)
    assert not error.sent
    assert "Nothing was sent." in str(error)
    assert script.arrivals == error.attempts == 3


@every_write
async def test_a_write_that_breaks_after_a_throttled_attempt_is_ambiguous(operation: AnyOperation) -> None:
    script = Script(PASSING["throttled with 400"], PASSING["connect error"], PASSING["reset"], OK)
    error = await failure(operation, script, ClientOptions(retries=5))

    assert isinstance(error, AmbiguousWrite)
    assert script.arrivals == error.attempts == 3


@every_write
@pytest.mark.parametrize("fault", ["reset", "malformed", "latency:1:5"])
async def test_the_sandbox_executes_an_ambiguous_write_once(operation: AnyOperation, fault: str) -> None:
    sandbox = with_faults(fault)
    options = ClientOptions(timeout=0.01)
    async with client_of(sandbox, options) as client:
        with pytest.raises(AmbiguousWrite) as caught:
            await client.call(operation, request_of(operation))

    (call,) = sandbox.calls
    assert call.action == operation.action
    assert caught.value.request_id in (call.request_id, None)
    assert (caught.value.request_id is None) is (fault != "malformed")


@every_write
@pytest.mark.parametrize("fault", ["throttle", "error", "denied", "html413"])
async def test_the_sandbox_executes_no_refused_write(operation: AnyOperation, fault: str) -> None:
    sandbox = with_faults(fault)
    async with client_of(sandbox) as client:
        with pytest.raises(CamsError):
            await client.call(operation, request_of(operation))

    assert not sandbox.calls


@every_write
async def test_a_throttled_write_arrives_once_in_the_end(operation: AnyOperation) -> None:
    # Of the faults' random numbers, the first attempts strike and a later one does not.
    sandbox = with_faults("throttle:0.8:1")
    async with client_of(sandbox, ClientOptions(retries=50)) as client:
        await client.call(operation, request_of(operation))

    assert len(sandbox.calls) == 1


@every_operation
async def test_a_connection_that_breaks_after_the_headers_is_told_with_the_request_id(operation: AnyOperation) -> None:
    sandbox = with_faults("reset")
    with serving(sandbox_app(sandbox)) as url:
        async with CamsClient(Endpoint.parse(url), ExplicitKey(SANDBOX_KEY), sleep=no_sleep) as client:
            with pytest.raises(CamsError) as caught:
                await client.call(operation, request_of(operation))

    assert "broke before the response was complete" in str(caught.value)
    assert caught.value.request_id == sandbox.calls[-1].request_id
    assert len(sandbox.calls) == (1 if operation.writes else 3)


@every_operation
async def test_without_a_server_nothing_is_sent_and_the_error_says_so(operation: AnyOperation) -> None:
    with serving(sandbox_app(Sandbox())) as url:
        closed = url
    async with CamsClient(Endpoint.parse(closed), ExplicitKey(SANDBOX_KEY), sleep=no_sleep) as client:
        with pytest.raises(ConnectionFailed, match="Nothing was sent") as caught:
            await client.call(operation, request_of(operation))

    assert not caught.value.sent
    assert "HTTPS_PROXY" in str(caught.value)


@every_operation
async def test_a_key_that_cannot_be_found_stops_the_call_before_it_is_sent(operation: AnyOperation) -> None:
    async def none() -> AccessKey:
        raise MissingCredentials("No access key was found.")

    script = Script(OK)
    async with CamsClient(Endpoint("http", "sandbox.localhost"), none, transport=script, sleep=no_sleep) as client:
        with pytest.raises(MissingCredentials):
            await client.call(operation, request_of(operation))

    assert script.arrivals == 0


# What comes from somebody in between.


@every_operation
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raw(413, HTML, content_type="text/html"), ["proxy", "too large (413)", "client_max_body_size"]),
        (raw(413, b""), ["proxy", "too large (413)"]),
        (raw(414, HTML), ["proxy", "too long (414)", "--users-in body"]),
        (raw(414, b"URI too long", content_type="text/plain"), ["proxy", "too long (414)"]),
        (raw(200, HTML), ["an HTML page instead of CAMS's JSON", "login page"]),
        (raw(200, b"\r\n <!DOCTYPE html>"), ["an HTML page"]),
        (raw(403, HTML), ["an HTML page", "HTTP 403"]),
        (raw(407, b"<p>denied", content_type="text/html"), ["an HTML page", "HTTPS_PROXY"]),
        (raw(302, b"", location="https://login.example.com/"), ["a redirect", "HTTP 302"]),
        (raw(307, b"moved", content_type="text/plain; charset=utf-8"), ["a redirect"]),
        (raw(302, HTML), ["an HTML page"]),
    ],
)
async def test_what_a_proxy_answers_is_named_as_a_proxys(
    operation: AnyOperation, answer: Callable[[], Played], words: list[str]
) -> None:
    error = await failure(operation, Script(answer))

    # A page in place of a success may stand for one: a write that got it may have been applied.
    unknown = operation.writes and error.http_status == 200
    assert isinstance(error, AmbiguousWrite if unknown else ProxyAnswer)
    for word in ["an HTML page"] if unknown else words:
        assert word in str(error)


async def test_a_redirect_is_not_followed() -> None:
    script = Script(raw(307, b"", location="http://sandbox.localhost/elsewhere"), OK)
    await failure(ADD_CUSTOM_AUDIENCE_USER, script)

    assert [request.url.path for request in script.requests] == ["/"]


# How much is read.


@every_read
async def test_an_answer_over_the_limit_is_refused(operation: AnyOperation) -> None:
    rows = json.dumps({"Success": True, "Code": "OK", "Message": "x" * 2_000}).encode()
    error = await failure(operation, Script(raw(200, rows)), ClientOptions(max_answer_bytes=2_000))

    assert isinstance(error, MalformedAnswer)
    assert "larger than 2,000 bytes" in str(error)


@every_read
async def test_an_answer_at_the_limit_is_read(operation: AnyOperation) -> None:
    body = b'{"Success": true}'

    assert (await run(operation, Script(raw(200, body)), ClientOptions(max_answer_bytes=len(body)))).success


class Endless(httpx.AsyncByteStream):
    """A body that never ends, and counts how much of it was read."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = False

    async def __aiter__(self) -> Any:
        while True:
            self.given += 1_000
            yield b" " * 1_000

    async def aclose(self) -> None:
        self.closed = True


@every_operation
async def test_no_more_is_read_of_an_endless_answer_than_the_limit(operation: AnyOperation) -> None:
    body = Endless()
    error = await failure(
        operation, Script(lambda: httpx.Response(200, stream=body)), ClientOptions(max_answer_bytes=10_000)
    )

    assert "larger than 10,000 bytes" in str(error)
    assert body.given == 11_000
    assert body.closed


@pytest.mark.slow
@every_operation
async def test_a_small_answer_that_unpacks_to_a_large_one_is_refused(operation: AnyOperation) -> None:
    bomb = gzip.compress(b'{"Success": true, "Message": "' + b"0" * 50_000_000 + b'"}')
    assert len(bomb) < 100_000
    error = await failure(operation, Script(raw(200, bomb, content_encoding="gzip")))

    assert "larger than 16,777,216 bytes" in str(error)


async def test_a_compressed_answer_is_read() -> None:
    body = gzip.compress(b'{"Success": true, "Code": "OK"}')

    assert (await run(LIST_INSTANCE, Script(raw(200, body, content_encoding="gzip")))).has_succeeded


# What time it is, and who may.


@pytest.mark.parametrize(
    ("ahead", "words"),
    [(23 * 60 + 5, "23 min 5 s behind"), (-(23 * 60 + 5), "23 min 5 s ahead of"), (-42, "42 s ahead of")],
)
@every_operation
async def test_a_wrong_clock_is_told_by_how_much_and_which_way(operation: AnyOperation, ahead: int, words: str) -> None:
    here = dt.datetime(2026, 1, 31, 12, 0, 0, tzinfo=dt.UTC)
    date = (here + dt.timedelta(seconds=ahead)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    script = Script(answers(400, {"date": date}, Code="InvalidTimeStamp.Expired"))
    error = await failure(operation, script, now=lambda: here)

    assert isinstance(error, ClockSkew)
    assert f"This machine's clock is {words} the service's" in str(error)


@every_operation
async def test_the_sandboxs_wrong_clock_is_told(operation: AnyOperation) -> None:
    here = dt.datetime(2026, 1, 31, 12, 0, 0, tzinfo=dt.UTC)
    sandbox = Sandbox(Faults([Fault.parse("clock:1:1380")]), now=lambda: here)
    async with client_of(sandbox, now=lambda: here) as client:
        with pytest.raises(ClockSkew, match="23 min 0 s behind"):
            await client.call(operation, request_of(operation))


@pytest.mark.parametrize("date", [{}, {"date": "yesterday"}, {"date": ""}])
async def test_a_wrong_clock_without_a_usable_date_is_told_all_the_same(date: dict[str, str]) -> None:
    error = await failure(LIST_INSTANCE, Script(answers(400, date, Code="InvalidTimeStamp.Expired")))

    assert isinstance(error, ClockSkew)
    assert "Set this machine's clock" in str(error)


@every_operation
@pytest.mark.parametrize("code", ["Forbidden.RAM", "Forbidden", "NoPermission", "Forbidden.NoPermission"])
@pytest.mark.parametrize(
    "detail", [None, "{}", "None", {"AuthAction": "cams:*", "NoPermissionType": "ImplicitDeny"}, ["odd"]]
)
async def test_a_denied_operation_names_its_ram_action(operation: AnyOperation, code: str, detail: object) -> None:
    error = await failure(
        operation, Script(answers(403, Code=code, RequestId="R-2", Message="No.", AccessDeniedDetail=detail))
    )

    assert isinstance(error, PermissionDenied)
    assert f"cams:{operation.action}" in str(error)
    assert (error.code, error.request_id, error.http_status) == (code, "R-2", 403)


@every_operation
async def test_the_sandbox_denies_with_details_as_an_object(operation: AnyOperation) -> None:
    async with client_of(with_faults("denied")) as client:
        with pytest.raises(PermissionDenied, match=f"cams:{operation.action}"):
            await client.call(operation, request_of(operation))


# Cancellation.


@every_operation
async def test_cancelling_a_call_hangs_up(operation: AnyOperation) -> None:
    arrived, left = threading.Event(), threading.Event()

    async def hanging(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        arrived.set()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    with serving(hanging) as url:
        async with (
            CamsClient(Endpoint.parse(url), ExplicitKey(SANDBOX_KEY)) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(client.call, operation, request_of(operation))
            assert await anyio.to_thread.run_sync(arrived.wait, 10)
            tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            assert await anyio.to_thread.run_sync(left.wait, 10)


async def test_cancelling_during_the_wait_sends_nothing_more() -> None:
    script = Script(PASSING["503"])
    waiting = anyio.Event()

    async def wait(seconds: float) -> None:
        waiting.set()
        await anyio.sleep_forever()

    async with client_of(Sandbox(), transport=script, sleep=wait) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, LIST_INSTANCE, ListInstanceRequest())
        await waiting.wait()
        tasks.cancel_scope.cancel()

    assert script.arrivals == 1


# Proxies and CA bundles of the environment.


class RecordingProxy:
    """An HTTP proxy as an ASGI application: answers plain requests itself and refuses tunnels."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        headers = dict(scope["headers"])
        self.requests.append((scope["method"], headers[b"host"].decode()))
        body = b'{"Success": true, "Code": "OK", "RequestId": "BY-PROXY"}'
        status = 403 if scope["method"] == "CONNECT" else 200
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@every_operation
async def test_the_environments_proxy_is_used_for_http(
    environment: pytest.MonkeyPatch, operation: AnyOperation
) -> None:
    proxy = RecordingProxy()
    with serving(proxy) as url:
        environment.setenv("HTTP_PROXY", url)
        async with CamsClient(Endpoint("http", "127.0.0.1:9"), ExplicitKey(SANDBOX_KEY)) as client:
            response = await client.call(operation, request_of(operation))

    assert response.request_id == "BY-PROXY"
    assert proxy.requests == [("POST", "127.0.0.1:9")]


@every_operation
async def test_the_environments_proxy_is_used_for_https_and_its_refusal_sends_nothing(
    environment: pytest.MonkeyPatch, operation: AnyOperation
) -> None:
    proxy = RecordingProxy()
    with serving(proxy) as url:
        environment.setenv("HTTPS_PROXY", url)
        async with CamsClient(Endpoint.parse("cams.example.com"), ExplicitKey(SANDBOX_KEY), sleep=no_sleep) as client:
            with pytest.raises(ConnectionFailed, match="Nothing was sent") as caught:
                await client.call(operation, request_of(operation))

    assert not caught.value.sent
    assert {method for method, _ in proxy.requests} == {"CONNECT"}
    assert {host.removesuffix(":443") for _, host in proxy.requests} == {"cams.example.com"}


@every_operation
async def test_no_proxy_is_respected(environment: pytest.MonkeyPatch, operation: AnyOperation) -> None:
    proxy, sandbox = RecordingProxy(), Sandbox()
    with serving(proxy) as proxy_url, serving(sandbox_app(sandbox)) as url:
        environment.setenv("HTTP_PROXY", proxy_url)
        environment.setenv("NO_PROXY", "127.0.0.1")
        async with CamsClient(Endpoint.parse(url), ExplicitKey(SANDBOX_KEY)) as client:
            await client.call(operation, request_of(operation))

    assert proxy.requests == []
    assert len(sandbox.calls) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "ftp://proxy.example.com"),
        ("HTTPS_PROXY", "http://proxy.example.com:port"),
        ("ALL_PROXY", "gopher://someone:word@proxy.example.com"),
        ("SSL_CERT_FILE", "missing/ca.pem"),
    ],
)
def test_an_environment_that_cannot_work_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        CamsClient(Endpoint.parse("cams.example.com"), ExplicitKey(SANDBOX_KEY))

    assert name in str(caught.value)
    assert "word" not in str(caught.value)


def test_a_file_that_is_no_ca_bundle_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("not a certificate")
    environment.setenv("SSL_CERT_FILE", str(bundle))
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        CamsClient(Endpoint.parse("cams.example.com"), ExplicitKey(SANDBOX_KEY))


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    is_ca = name == issuer
    usage = x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A CA of our own, and a certificate of it for loopback."""
    place = tmp_path_factory.mktemp("tls")
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files = {
        "ca": _certificate("Test CA", ca_key, "Test CA", ca_key).public_bytes(pem),
        "certificate": _certificate("cams", key, "Test CA", ca_key).public_bytes(pem),
        "key": key.private_bytes(pem, private, serialization.NoEncryption()),
    }
    for name, content in files.items():
        (place / name).write_bytes(content)
    return {name: str(place / name) for name in files}


@contextmanager
def serving_tls(sandbox: Sandbox, authority: dict[str, str]) -> Generator[Endpoint]:
    app = sandbox_app(sandbox)
    with serving(app, ssl_certfile=authority["certificate"], ssl_keyfile=authority["key"]) as url:
        yield Endpoint("https", url.removeprefix("http://"))


@every_operation
async def test_a_ca_bundle_of_the_environment_is_trusted(
    environment: pytest.MonkeyPatch, authority: dict[str, str], operation: AnyOperation
) -> None:
    sandbox = Sandbox()
    environment.setenv("SSL_CERT_FILE", authority["ca"])
    with serving_tls(sandbox, authority) as endpoint:
        async with CamsClient(endpoint, ExplicitKey(SANDBOX_KEY)) as client:
            await client.call(operation, request_of(operation))

    assert len(sandbox.calls) == 1


@every_operation
async def test_an_unknown_ca_is_refused_before_anything_is_sent(
    environment: pytest.MonkeyPatch, authority: dict[str, str], operation: AnyOperation
) -> None:
    sandbox = Sandbox()
    with serving_tls(sandbox, authority) as endpoint:
        async with CamsClient(endpoint, ExplicitKey(SANDBOX_KEY), sleep=no_sleep) as client:
            with pytest.raises(ConnectionFailed, match="Nothing was sent") as caught:
                await client.call(operation, request_of(operation))

    assert "SSL_CERT_FILE" in str(caught.value)
    assert not sandbox.calls


# What errors and logs tell.

EMAIL, PHONE = "someone.private@example.com", "+12025550199"
SECRET, TOKEN = "a-very-secret-secret", "a-very-secret-token"
PRIVATE = [EMAIL, "someone.private", PHONE, PHONE[1:], SECRET, TOKEN]
ECHO = f"Users [{{'Email': '{EMAIL}', 'Phone': '{PHONE}'}}] %22{EMAIL.replace('@', '%40')}%22 are wrong."


LEAKY = {
    "business error": answers(200, Success=False, Code="InvalidParameter", Message=ECHO),
    "gateway error": answers(400, Code="InvalidParameter", Message=ECHO, Recommend=ECHO, HostId=ECHO),
    "in the code": answers(400, Code=ECHO, Message=ECHO),
    "server error": answers(500, Code="InternalError", Message=ECHO),
    "throttled": answers(400, Code="Throttling.User", Message=ECHO),
    "denied": answers(403, Code="Forbidden.RAM", Message=ECHO, AccessDeniedDetail={"Who": ECHO}),
    "other types": answers(200, Success=True, Message=[ECHO], Data=ECHO),
    "HTML": raw(502, f"<html>{ECHO}</html>".encode()),
    "text": raw(200, ECHO.encode()),
    "redirect": raw(302, ECHO.encode(), location=f"https://example.com/?{EMAIL}"),
    "reset": breaks(httpx.ReadError, ECHO),
    "unreachable": breaks(httpx.ConnectError, ECHO),
}


@pytest.mark.parametrize("users_in", ["body", "query"])
@pytest.mark.parametrize("leak", LEAKY)
async def test_addresses_the_service_repeats_stay_out_of_errors_and_logs(
    caplog: pytest.LogCaptureFixture, leak: str, users_in: str
) -> None:
    caplog.set_level(logging.DEBUG)
    key = AccessKey("STS.example", SECRET, TOKEN)
    options = ClientOptions(users_in=users_in)
    request = request_of(ADD_CUSTOM_AUDIENCE_USER, users=[{"email": EMAIL, "phone": PHONE}])
    here = Endpoint("http", "sandbox.localhost")
    async with CamsClient(here, ExplicitKey(key), options, transport=Script(LEAKY[leak]), sleep=no_sleep) as client:
        with pytest.raises(CamsError) as caught:
            await client.call(ADD_CUSTOM_AUDIENCE_USER, request)

    said = str(caught.value) + caplog.text
    assert caught.value.action in said
    for private in PRIVATE:
        assert private not in said
        assert private.replace("@", "%40") not in said


@pytest.mark.parametrize("users_in", ["body", "query"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_run_with_each_fault_leaves_no_address_or_secret_in_the_log(
    caplog: pytest.LogCaptureFixture, fault: str, users_in: str
) -> None:
    caplog.set_level(logging.DEBUG)
    key = AccessKey("STS.example", SECRET, TOKEN)
    sandbox = Sandbox(Faults([Fault.parse(f"{fault}:0.5" if fault != "latency" else "latency:1:0")]), key=key)
    request = request_of(ADD_CUSTOM_AUDIENCE_USER, users=[{"email": EMAIL, "phone": PHONE}])
    said = ""
    with serving(sandbox_app(sandbox), access_log=False) as url:
        options = ClientOptions(users_in=users_in)
        async with CamsClient(Endpoint.parse(url), ExplicitKey(key), options, sleep=no_sleep) as client:
            for _ in range(6):
                try:
                    await client.call(ADD_CUSTOM_AUDIENCE_USER, request)
                except CamsError as error:
                    said += str(error)

    assert "AddCustomAudienceUser" in caplog.text
    for private in PRIVATE:
        assert private not in said + caplog.text
        assert private.replace("@", "%40").replace("+", "%2B") not in said + caplog.text
