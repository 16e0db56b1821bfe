"""Servers that misbehave on the wire: slow, endless, oversized, contradictory. Real sockets on loopback."""

from __future__ import annotations

import dataclasses
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import model_validator
from support import ERAS, TARGET, VALID_ARGUMENTS, client_of, no_sleep, people, serving
from support_http import LISTENING
from support_process import Program

from cams_mcp.api.client import LONGEST_BACKOFF, CamsClient, ClientOptions
from cams_mcp.api.credentials import AccessKey, ExplicitKey
from cams_mcp.api.endpoint import Endpoint
from cams_mcp.api.throttle import LONGEST_WAIT_SECONDS
from cams_mcp.errors import (
    AmbiguousWrite,
    CamsError,
    CamsMcpError,
    ConnectionFailed,
    MalformedAnswer,
    MissingCredentials,
    NotNow,
    ProxyAnswer,
    Throttled,
)
from cams_mcp.operation import AnyOperation
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.sandbox import SANDBOX_KEY, Sandbox

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
one_of_each = pytest.mark.parametrize("operation", [LIST_INSTANCE, ADD_CUSTOM_AUDIENCE_USER], ids=["read", "write"])
"""For tests that take their time."""

PATIENCE_SECONDS = 20
"""What hangs for so long has no deadline. Deadlines in these tests are far below it."""

OK = b'{"Success": true, "Code": "OK", "RequestId": "R-OK"}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

Stream = anyio.abc.SocketStream
Handler = Callable[[Stream], Awaitable[None]]


@asynccontextmanager
async def server(handle: Handler) -> AsyncGenerator[str]:
    """The authority (host:port) of a server that handles each connection so."""

    async def connected(stream: Stream) -> None:
        async with stream:
            # The client may hang up at any time.
            with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                await handle(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, connected)
        yield f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"  # noqa: S610 - no database
        group.cancel_scope.cancel()


async def read_request(stream: Stream) -> bytes:
    """One request, whole."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.receive()
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += await stream.receive()
    return head


def request_of(operation: AnyOperation, users: int = 1) -> Any:
    more = {"users": people(users)} if "users" in operation.request.model_fields else {}
    return operation.request.model_validate(VALID_ARGUMENTS[operation.name] | more)


async def failure_of(client: CamsClient, operation: AnyOperation, users: int = 1) -> CamsMcpError:
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(CamsMcpError) as caught:
        await client.call(operation, request_of(operation, users))
    return caught.value


def client_at(authority: str, options: ClientOptions | None = None, scheme: str = "http", **more: Any) -> CamsClient:
    return CamsClient(Endpoint(scheme, authority), ExplicitKey(SANDBOX_KEY), options, sleep=no_sleep, **more)


# Time


async def drip(stream: Stream, start: bytes, piece: bytes) -> None:
    await stream.send(start)
    while True:
        await stream.send(piece)
        await anyio.sleep(0.02)


async def drips_a_body(stream: Stream) -> None:
    await read_request(stream)
    await drip(stream, HEAD + b"content-length: 1000000\r\n\r\n", b" ")


async def drips_a_body_without_an_end(stream: Stream) -> None:
    await read_request(stream)
    await drip(stream, HEAD + b"\r\n", b" ")


async def drips_chunks(stream: Stream) -> None:
    await read_request(stream)
    await drip(stream, HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n")


async def drips_empty_gzip_blocks(stream: Stream) -> None:
    await read_request(stream)
    start = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    opening = start.compress(b"") + start.flush(zlib.Z_SYNC_FLUSH)
    head = HEAD + b"content-encoding: gzip\r\n\r\n"
    await drip(stream, head + opening, b"\x00\x00\x00\xff\xff")


async def dribbles_headers(stream: Stream) -> None:
    await read_request(stream)
    await drip(stream, HEAD, b"x: 1\r\n")


async def dribbles_one_header(stream: Stream) -> None:
    await read_request(stream)
    await drip(stream, HEAD + b"x: ", b"1")


async def says_continue_for_ever(stream: Stream) -> None:
    await read_request(stream)
    await drip(stream, b"", b"HTTP/1.1 100 Continue\r\n\r\n")


async def never_reads_the_request(stream: Stream) -> None:
    await anyio.sleep_forever()


async def never_answers(stream: Stream) -> None:
    await read_request(stream)
    await anyio.sleep_forever()


SLOW = [
    *(drips_a_body, drips_a_body_without_an_end, drips_chunks, drips_empty_gzip_blocks, dribbles_headers),
    *(dribbles_one_header, says_continue_for_ever, never_reads_the_request, never_answers),
]


@pytest.mark.slow
@one_of_each
@pytest.mark.parametrize("slow", SLOW, ids=lambda slow: slow.__name__)
async def test_an_attempt_ends_however_slowly_the_server_answers(operation: AnyOperation, slow: Handler) -> None:
    # Writing many users takes part of the time.
    timeout = 1 if operation.writes else 0.3
    async with server(slow) as authority, client_at(authority, ClientOptions(timeout=timeout, retries=0)) as client:
        error = await failure_of(client, operation, users=10_000)

    assert type(error) is (AmbiguousWrite if operation.writes else ConnectionFailed)
    assert f"did not respond within {timeout} s" in str(error)


async def test_a_read_is_tried_again_after_an_attempt_that_took_too_long() -> None:
    connections = 0

    async def slow_at_first(stream: Stream) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await drips_a_body(stream)
        await read_request(stream)
        await stream.send(HEAD + f"content-length: {len(OK)}\r\n\r\n".encode() + OK)

    options = ClientOptions(timeout=1, retries=1)
    async with server(slow_at_first) as authority, client_at(authority, options) as client:
        assert (await client.call(LIST_INSTANCE, request_of(LIST_INSTANCE))).request_id == "R-OK"


@pytest.mark.slow
@one_of_each
@pytest.mark.parametrize("way", ["TLS", "a tunnel through a proxy"])
async def test_nothing_was_sent_when_the_connection_is_not_made_in_time(
    monkeypatch: pytest.MonkeyPatch, operation: AnyOperation, way: str
) -> None:
    async with server(never_answers) as authority:
        if way == "TLS":
            target = authority
        else:
            target = "cams.example.com"
            monkeypatch.setenv("HTTPS_PROXY", f"http://{authority}")
        async with client_at(target, ClientOptions(timeout=1, retries=0), "https") as client:
            error = await failure_of(client, operation)

    assert isinstance(error, ConnectionFailed)
    assert not error.sent
    assert "Nothing was sent." in str(error)


@every_operation
async def test_a_proxy_that_hangs_up_on_a_tunnel_got_nothing(
    monkeypatch: pytest.MonkeyPatch, operation: AnyOperation
) -> None:
    async with server(read_request) as authority:  # type: ignore[arg-type]
        monkeypatch.setenv("HTTPS_PROXY", f"http://{authority}")
        async with client_at("cams.example.com", ClientOptions(retries=0), "https") as client:
            error = await failure_of(client, operation)

    assert isinstance(error, ConnectionFailed)
    assert not error.sent


async def hanging_key() -> AccessKey:
    await anyio.sleep_forever()
    raise AssertionError


class Counting(httpx.AsyncBaseTransport):
    """Counts requests and answers them with `answer`."""

    def __init__(self, answer: Callable[[], Awaitable[httpx.Response]]) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return await self._answer()


async def well() -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(OK))


async def throttled() -> httpx.Response:
    return httpx.Response(400, json={"Code": "Throttling.User"})


async def hanging() -> httpx.Response:
    await anyio.sleep_forever()
    raise AssertionError


@every_operation
async def test_an_access_key_that_does_not_come_holds_no_call(operation: AnyOperation) -> None:
    transport = Counting(well)
    options = ClientOptions(timeout=0.1)
    async with client_of(Sandbox(), options, credentials=hanging_key, transport=transport) as client:
        error = await failure_of(client, operation)

    assert isinstance(error, MissingCredentials)
    assert "Nothing was sent: the credential chain returned no access key within 0.1 s." in str(error)
    assert "ALIBABA_CLOUD_CREDENTIALS_URI" in str(error)
    assert not transport.requests


async def test_an_access_key_that_does_not_come_holds_no_look_at_the_identity() -> None:
    async with client_of(Sandbox(), ClientOptions(timeout=0.1), credentials=hanging_key) as client:
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(MissingCredentials, match="Nothing was sent"):
            await client.identity()


async def sleep_for_ever(seconds: float) -> None:
    await anyio.sleep_forever()


class Impatient(ClientOptions):
    """Options whose whole call ends soon."""

    longest_call = 0.2  # type: ignore[assignment]


@asynccontextmanager
async def no_slot() -> AsyncGenerator[None]:
    await anyio.sleep_forever()
    yield


@every_operation
@pytest.mark.parametrize("hangs", ["slot", "key", "wait between attempts", "answer"])
async def test_a_whole_call_ends_wherever_it_hangs(operation: AnyOperation, hangs: str) -> None:
    collaborators: dict[str, Any] = {
        "slot": {"slot": no_slot, "transport": Counting(well)},
        "key": {"credentials": hanging_key, "transport": Counting(well)},
        "wait between attempts": {"sleep": sleep_for_ever, "transport": Counting(throttled)},
        "answer": {"transport": Counting(hanging)},
    }[hangs]
    async with client_of(Sandbox(), Impatient(), **collaborators) as client:
        error = await failure_of(client, operation)

    expected = {"slot": NotNow, "key": MissingCredentials, "wait between attempts": Throttled}
    assert type(error) is expected.get(hangs, AmbiguousWrite if operation.writes else ConnectionFailed)
    assert len(collaborators["transport"].requests) == (0 if hangs in ("slot", "key") else 1)
    assert ("Nothing was sent" in str(error)) is (hangs in ("slot", "key"))


def test_the_longest_call_has_room_for_all_attempts_waits_and_a_turn() -> None:
    options = ClientOptions(timeout=5, retries=2)

    assert options.longest_call == 3 * 5 + 2 * LONGEST_BACKOFF + LONGEST_WAIT_SECONDS
    assert client_of(Sandbox(), options).longest_call == options.longest_call


# Size


def packed(body: bytes, **headers: str) -> Callable[[], Awaitable[httpx.Response]]:
    async def answer() -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.Response(200, headers=named, stream=httpx.ByteStream(body))

    return answer


@pytest.mark.slow
@every_operation
async def test_a_bomb_takes_no_more_memory_than_the_limit_allows(operation: AnyOperation) -> None:
    bomb = gzip.compress(b"0" * 100_000_000)
    transport = Counting(packed(bomb, content_encoding="gzip"))
    async with client_of(
        Sandbox(), ClientOptions(max_answer_bytes=1_000_000, retries=0), transport=transport
    ) as client:
        await failure_of(client, operation)  # imports and models are in place after this one
        tracemalloc.start()
        try:
            error = await failure_of(client, operation)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert "larger than 1,000,000 bytes" in str(error)
    assert peak < 5_000_000


@every_operation
async def test_a_large_document_of_small_values_takes_no_multiple_of_its_memory(operation: AnyOperation) -> None:
    transport = Counting(packed(b'{"Success": true, "Extra": [' + b"[]," * 3_000_000 + b"1]}"))
    async with client_of(Sandbox(), ClientOptions(retries=0), transport=transport) as client:
        tracemalloc.start()
        try:
            error = await failure_of(client, operation)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert isinstance(error, AmbiguousWrite | MalformedAnswer)
    assert peak < 60_000_000


GZIPPED = gzip.compress(OK)
UNREADABLE_PACKING = {
    "twice": (gzip.compress(GZIPPED), {"content_encoding": "gzip, gzip"}),
    "twice, of which one is none": (GZIPPED, {"content_encoding": "gzip, deflate"}),
    "deflate": (zlib.compress(OK), {"content_encoding": "deflate"}),
    "brotli": (OK, {"content_encoding": "br"}),
    "an unknown one": (OK, {"content_encoding": "x-cams"}),
    "not gzip": (OK, {"content_encoding": "gzip"}),
    "cut off": (GZIPPED[:-4], {"content_encoding": "gzip"}),
    "a wrong checksum": (GZIPPED[:-8] + b"12345678", {"content_encoding": "gzip"}),
    "something else behind its end": (GZIPPED + b"more", {"content_encoding": "gzip"}),
    "something else behind its padding": (GZIPPED + b"\0" * 512 + b"more", {"content_encoding": "gzip"}),
    "padding alone": (b"\0" * 512, {"content_encoding": "gzip"}),
    "a second member cut off": (GZIPPED + GZIPPED[:-4], {"content_encoding": "gzip"}),
    "thousands of empty members": (GZIPPED + gzip.compress(b"") * 2_000, {"content_encoding": "gzip"}),
}


@every_operation
@pytest.mark.parametrize("case", UNREADABLE_PACKING)
async def test_compression_that_cannot_be_undone_is_malformed(operation: AnyOperation, case: str) -> None:
    body, headers = UNREADABLE_PACKING[case]
    transport = Counting(packed(body, **headers, x_acs_request_id="R-1"))
    async with client_of(Sandbox(), transport=transport) as client:
        error = await failure_of(client, operation)

    assert type(error) is (AmbiguousWrite if operation.writes else MalformedAnswer)
    assert isinstance(error, CamsError)
    assert error.request_id == "R-1"
    assert "compression" in str(error)


@pytest.mark.parametrize("named", ["gzip", "GZIP", "x-gzip", "gzip, identity", " gzip ,"])
async def test_gzip_is_undone_under_each_of_its_names(named: str) -> None:
    transport = Counting(packed(GZIPPED, content_encoding=named))
    async with client_of(Sandbox(), transport=transport) as client:
        assert (await client.call(LIST_INSTANCE, request_of(LIST_INSTANCE))).request_id == "R-OK"

    assert transport.requests[0].headers["accept-encoding"] == "gzip"


@every_operation
@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(OK[:9]) + gzip.compress(OK[9:]),
        b"".join(gzip.compress(OK[place : place + 1]) for place in range(len(OK))),
        gzip.compress(b"") + GZIPPED + gzip.compress(b""),
        GZIPPED + b"\0" * 512,
    ],
    ids=["two members", "a member for each byte", "empty members", "zero padding"],
)
@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_gzip_of_several_members_and_with_padding_is_undone(
    operation: AnyOperation, body: bytes, step: int
) -> None:
    class InPieces(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            for start in range(0, len(body), step):
                yield body[start : start + step]

    async def answer() -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=InPieces())

    async with client_of(Sandbox(), transport=Counting(answer)) as client:
        assert (await client.call(operation, request_of(operation))).request_id == "R-OK"


@every_operation
async def test_the_members_of_an_answer_count_together_towards_its_limit(operation: AnyOperation) -> None:
    transport = Counting(packed(gzip.compress(b" " * 400) * 3, content_encoding="gzip"))
    async with client_of(Sandbox(), ClientOptions(max_answer_bytes=1_000), transport=transport) as client:
        assert "larger than 1,000 bytes" in str(await failure_of(client, operation))


async def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again() -> None:
    heads: list[int] = []

    async def large_at_first(stream: Stream) -> None:
        heads.append(0)
        connection = len(heads) - 1
        while True:
            await read_request(stream)
            heads[connection] += 1
            body = b" " * 100_000 if connection == 0 else OK
            await stream.send(HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body)

    options = ClientOptions(max_answer_bytes=1_000)
    async with server(large_at_first) as authority, client_at(authority, options) as client:
        assert "larger than 1,000 bytes" in str(await failure_of(client, LIST_INSTANCE))
        for _ in range(2):
            assert (await client.call(LIST_INSTANCE, request_of(LIST_INSTANCE))).request_id == "R-OK"

    assert heads == [1, 2]


# Left-over answers


def framed(body: bytes, framing: str, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 " + status + b"\r\ncontent-type: application/json\r\n"
    if framing == "chunked":
        return head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    if framing == "gzip":
        body, head = gzip.compress(body), head + b"content-encoding: gzip\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


class AnsweringTwice:
    """Executes every write, and sends more than the answer to each request.

    Attributes:
        actions: for each connection, the operations that came over it.
        left: set when the latest surplus has gone out.
    """

    def __init__(self, framing: str, surplus: bytes, *, later: bool, throttled_writes: int = 0) -> None:
        self.actions: list[list[str]] = []
        self.left = anyio.Event()
        self._framing, self._surplus, self._later = framing, surplus, later
        self._throttled = throttled_writes

    @property
    def writes(self) -> list[list[str]]:
        return [actions for actions in self.actions if ADD_CUSTOM_AUDIENCE_USER.action in actions]

    async def __call__(self, stream: Stream) -> None:
        mine: list[str] = []
        self.actions.append(mine)
        while True:
            head = await read_request(stream)
            named = [line for line in head.decode().splitlines() if line.lower().startswith("x-acs-action:")]
            mine.append(named[0].partition(":")[2].strip())
            answer = self._answer(mine[-1])
            if not self._later:
                await stream.send(answer + self._surplus)
                continue
            await stream.send(answer)
            await stream.send(self._surplus)
            self.left.set()

    def _answer(self, action: str) -> bytes:
        if action == ADD_CUSTOM_AUDIENCE_USER.action and len(self.writes) <= self._throttled:
            return framed(b'{"Code": "Throttling.User"}', self._framing, b"400 Bad Request")
        return framed(OK, self._framing)


SURPLUS = {
    "throttling": b'{"Code": "Throttling.User", "RequestId": "R-LEFT"}',
    "refusal": b'{"Code": "InvalidParameter", "Success": false, "RequestId": "R-LEFT"}',
    "success": b'{"Code": "OK", "Success": true, "RequestId": "R-LEFT"}',
}


@pytest.mark.parametrize("later", [False, True], ids=["in the same packet", "in its own packet"])
@pytest.mark.parametrize("hint", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["alone", "after a 100"])
@pytest.mark.parametrize("framing", ["length", "chunked", "gzip"])
@pytest.mark.parametrize("surplus", SURPLUS)
async def test_an_answer_left_over_from_a_read_is_never_taken_for_that_of_a_write(
    surplus: str, framing: str, hint: bytes, later: bool
) -> None:
    handle = AnsweringTwice(framing, hint + framed(SURPLUS[surplus], framing), later=later)
    async with server(handle) as authority, client_at(authority) as client:
        await client.call(LIST_INSTANCE, request_of(LIST_INSTANCE))
        if later:
            await handle.left.wait()
        response = await client.call(ADD_CUSTOM_AUDIENCE_USER, request_of(ADD_CUSTOM_AUDIENCE_USER))

    assert response.request_id == "R-OK"
    assert handle.writes == [[ADD_CUSTOM_AUDIENCE_USER.action]]


@pytest.mark.parametrize("later", [False, True], ids=["in the same packet", "in its own packet"])
async def test_an_answer_left_over_from_a_write_reaches_no_other_request(later: bool) -> None:
    handle = AnsweringTwice("length", framed(SURPLUS["refusal"], "length"), later=later)
    async with server(handle) as authority, client_at(authority) as client:
        for operation in (ADD_CUSTOM_AUDIENCE_USER, ADD_CUSTOM_AUDIENCE_USER, LIST_INSTANCE):
            assert (await client.call(operation, request_of(operation))).request_id == "R-OK"

    assert handle.writes == [[ADD_CUSTOM_AUDIENCE_USER.action]] * 2


async def test_each_attempt_of_a_throttled_write_has_a_connection_of_its_own() -> None:
    handle = AnsweringTwice("length", framed(SURPLUS["success"], "length"), later=False, throttled_writes=2)
    async with server(handle) as authority, client_at(authority, ClientOptions(retries=2)) as client:
        response = await client.call(ADD_CUSTOM_AUDIENCE_USER, request_of(ADD_CUSTOM_AUDIENCE_USER))

    assert response.request_id == "R-OK"
    assert handle.writes == [[ADD_CUSTOM_AUDIENCE_USER.action]] * 3


async def test_reads_share_a_connection() -> None:
    handle = AnsweringTwice("length", b"", later=False)
    async with server(handle) as authority, client_at(authority) as client:
        for _ in range(3):
            await client.call(LIST_INSTANCE, request_of(LIST_INSTANCE))

    assert handle.actions == [[LIST_INSTANCE.action] * 3]


@pytest.mark.parametrize("later", [False, True], ids=["in the same packet", "in its own packet"])
async def test_a_write_through_a_proxy_shares_no_connection_either(
    monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    handle = AnsweringTwice("length", framed(SURPLUS["throttling"], "length"), later=later)
    async with server(handle) as authority:
        monkeypatch.setenv("HTTP_PROXY", f"http://{authority}")
        async with client_at("cams.example.com") as client:
            for operation in (LIST_INSTANCE, ADD_CUSTOM_AUDIENCE_USER):
                assert (await client.call(operation, request_of(operation))).request_id == "R-OK"

    assert handle.writes == [[ADD_CUSTOM_AUDIENCE_USER.action]]


# Form


ODD_ANSWERS = {
    "a negative length": b"content-length: -5\r\n\r\n" + OK,
    "two lengths": b"content-length: 5\r\ncontent-length: 6\r\n\r\n" + OK,
    "a length that is no number": b"content-length: many\r\n\r\n" + OK,
    "a length beyond the body": b"content-length: 1000\r\n\r\n" + OK,
    "a broken chunk": b"transfer-encoding: chunked\r\n\r\nzz\r\n" + OK,
    "an unknown transfer encoding": b"transfer-encoding: gzip, chunked\r\n\r\n" + OK,
    "a header without a name": b": x\r\n\r\n" + OK,
    "a header of 200 KB": b"x: " + b"1" * 200_000 + b"\r\n\r\n" + OK,
    "50,000 headers": b"x: 1\r\n" * 50_000 + b"\r\n" + OK,
}


def answering(answer: bytes) -> Handler:
    async def handle(stream: Stream) -> None:
        await read_request(stream)
        await stream.send(answer)

    return handle


@every_operation
@pytest.mark.parametrize("case", ODD_ANSWERS)
async def test_an_answer_that_breaks_http_is_an_error_of_ours(operation: AnyOperation, case: str) -> None:
    handle = answering(HEAD + ODD_ANSWERS[case])
    async with server(handle) as authority, client_at(authority, ClientOptions(retries=0)) as client:
        error = await failure_of(client, operation)

    assert type(error) is (AmbiguousWrite if operation.writes else ConnectionFailed)


@every_operation
@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"\r\n" + OK,
        HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(OK), OK),
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 50 + HEAD + b"\r\n" + OK,
    ],
    ids=["without a length", "with trailers", "after hints"],
)
async def test_unusual_answers_that_keep_to_http_are_read(operation: AnyOperation, answer: bytes) -> None:
    async with server(answering(answer)) as authority, client_at(authority) as client:
        assert (await client.call(operation, request_of(operation))).request_id == "R-OK"


@every_operation
@pytest.mark.parametrize(
    "location",
    [
        b"",
        b"http://[",
        b"https://example.com:99999999/",
        b"//\xff\xfe",
        b"http://\xe2\x98\x83" * 99,
        b"javascript:x",
        b"http://xn--/",
    ],
)
async def test_no_location_of_a_redirect_is_followed_or_crashes_a_call(
    operation: AnyOperation, location: bytes
) -> None:
    answer = b"HTTP/1.1 307 Moved\r\ncontent-length: 0\r\nlocation: " + location + b"\r\n\r\n"
    async with server(answering(answer)) as authority, client_at(authority, ClientOptions(retries=0)) as client:
        error = await failure_of(client, operation)

    assert type(error) is ProxyAnswer
    assert "a redirect" in str(error)


async def test_a_cookie_of_an_answer_is_not_sent_back() -> None:
    transport = Counting(packed(OK, set_cookie="session=1; Path=/; Domain=sandbox.localhost"))
    async with client_of(Sandbox(), transport=transport) as client:
        for _ in range(2):
            await client.call(LIST_INSTANCE, request_of(LIST_INSTANCE))

    assert "cookie" not in transport.requests[1].headers


# Defects of ours


class Defect(Exception):
    pass


async def defect() -> Any:
    raise Defect("someone.private@example.com")


class BreakingStream(httpx.AsyncByteStream):
    async def __aiter__(self) -> Any:
        yield b"{"
        raise Defect("someone.private@example.com")


async def breaks_while_it_is_read() -> httpx.Response:
    return httpx.Response(200, headers={"x-acs-request-id": "R-1"}, stream=BreakingStream())


def with_broken_model(operation: AnyOperation) -> AnyOperation:
    class Broken(operation.response):  # type: ignore[name-defined]
        @model_validator(mode="before")
        @classmethod
        def _breaks(cls, data: Any) -> Any:
            raise Defect(data)

    return dataclasses.replace(operation, response=Broken)


@every_operation
@pytest.mark.parametrize("place", ["transport", "body", "model"])
async def test_a_defect_after_the_request_went_out_does_not_hide_that_it_did(
    caplog: pytest.LogCaptureFixture, operation: AnyOperation, place: str
) -> None:
    transport = Counting({"transport": defect, "body": breaks_while_it_is_read, "model": well}[place])
    broken = with_broken_model(operation) if place == "model" else operation
    async with client_of(Sandbox(), transport=transport) as client:
        with pytest.raises(AmbiguousWrite if operation.writes else Defect) as caught:
            await client.call(broken, request_of(operation))

    assert len(transport.requests) == 1
    if operation.writes:
        assert "It may have been applied." in str(caught.value)
        assert "someone.private" not in str(caught.value)
        assert "failed after the request was sent" in caplog.text


@every_operation
@pytest.mark.parametrize("place", ["key", "nonce", "clock", "slot"])
async def test_a_defect_before_anything_was_sent_makes_nothing_ambiguous(operation: AnyOperation, place: str) -> None:
    def broken() -> Any:
        raise Defect

    name = {"key": "credentials", "nonce": "nonce", "clock": "now", "slot": "slot"}[place]
    transport = Counting(well)
    collaborator = defect if place == "key" else broken
    async with client_of(Sandbox(), transport=transport, **{name: collaborator}) as client:
        with pytest.raises(Defect):
            await client.call(operation, request_of(operation))

    assert not transport.requests


# Text that cannot be encoded, seen by a client of the real server


class Unencodable:
    """Answers every request with lone surrogates in all of its text."""

    body = (
        rb"""{"Success": %b, "Code": "%b\ud800", "Message": "\udfff", "RequestId": "\ud800", """
        rb""""Data": [{"InstanceName": "\ud800"}]}"""
    )

    def __init__(self) -> None:
        self.answer = (b"", b"")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.body % self.answer})


KEY = ("--access-key-id", SANDBOX_KEY.id, "--access-key-secret", SANDBOX_KEY.secret, "--confirm", "off")
ANSWERS = [(b"true", b"OK"), (b"false", b"Invalid")]
CALLS = [(tool, answer) for tool in ("list_instance", "add_custom_audience_user") for answer in ANSWERS]


def arguments_of(tool: str, number: int) -> dict[str, Any]:
    # A list for each call: the same one again would be asked about.
    return TARGET | {"users": people(120, number * 1000)} if tool == "add_custom_audience_user" else {}


@pytest.mark.parametrize("mode", ERAS)
def test_text_that_cannot_be_encoded_does_not_end_the_stdio_server(tmp_path: Any, mode: str) -> None:
    cams = Unencodable()
    state = ("--state-dir", str(tmp_path))
    with serving(cams) as url, Program("serve", "--endpoint", url, *KEY, *state) as program:
        program.connect(mode)
        for number, (tool, cams.answer) in enumerate(CALLS):
            given = {"name": tool, "arguments": arguments_of(tool, number)}
            result = program.ask("tools/call", given)["result"]
            assert "tools" in program.ask("tools/list")["result"]

            text = json.dumps(result, ensure_ascii=False).encode().decode()
            assert "cams-mcp itself failed" not in text
            assert bool(result.get("isError")) is (cams.answer[0] == b"false")


async def test_text_that_cannot_be_encoded_reaches_a_client_over_http(tmp_path: Any) -> None:
    cams = Unencodable()
    serve = ("serve", "--transport", "http", "--port", "0", "--state-dir", str(tmp_path))
    with serving(cams) as url, Program(*serve, "--endpoint", url, *KEY) as program:
        address = program.error_line(LISTENING).removeprefix(LISTENING)
        for era, mode in enumerate(ERAS):
            async with Client(streamable_http_client(address), mode=mode) as client:
                for number, (tool, cams.answer) in enumerate(CALLS, era * len(CALLS)):
                    result = await client.call_tool(tool, arguments_of(tool, number))
                    assert bool(result.is_error) is (cams.answer[0] == b"false")
