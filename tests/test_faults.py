"""Faults on request: how they are written, and what each of them looks like from the other side of the client."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import AUDIENCE, TARGET, VALID_ARGUMENTS, client_of, no_sleep, people, serving

from cams_mcp.api.client import CamsClient, ClientOptions
from cams_mcp.api.credentials import ExplicitKey
from cams_mcp.api.endpoint import Endpoint
from cams_mcp.errors import (
    AmbiguousWrite,
    CamsError,
    ClockSkew,
    ConfigurationError,
    ConnectionFailed,
    MalformedAnswer,
    PermissionDenied,
    ProxyAnswer,
    ServiceError,
    Throttled,
)
from cams_mcp.models import Request
from cams_mcp.operation import AnyOperation
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.sandbox import FAULTS, SANDBOX_KEY, Fault, Faults, Sandbox, sandbox_app

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
READS = [operation for operation in OPERATIONS if not operation.writes]
WRITE = ADD_CUSTOM_AUDIENCE_USER
Connect = Callable[..., AbstractAsyncContextManager[CamsClient]]

DO_NOT_REPEAT = "Do not retry it yourself. Tell the user, and compare "
MAY_HAVE = "the request was sent, but its outcome is unknown: {} It may have been applied."


# How a fault is written


@pytest.mark.parametrize("text", ["", "typo", "Throttle", ":1", "throttle,1", " throttle"])
def test_an_unknown_fault_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Fault.parse(text)

    assert "--fault (CAMS_MCP_FAULT) names an unknown fault." in str(caught.value)
    assert all(name in str(caught.value) for name in FAULTS)


@pytest.mark.parametrize(
    "text",
    [
        *("throttle:often", "throttle:-0.1", "throttle:1.1", "throttle:nan", "throttle:inf"),
        *("latency:1:long", "latency:1:-1", "latency:1:inf", "latency:1:nan", "latency:1:1e10", "latency:1:2:3"),
        *("error:1:0", "error:1:99", "error:1:200", "error:1:399", "error:1:600", "error:1:500.5"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Fault.parse(text)

    assert "--fault (CAMS_MCP_FAULT) does not have the form NAME[:RATE[:VALUE]]" in str(caught.value)
    assert "throttle:0.2" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("throttle", Fault("throttle", 1, 0)),
        ("throttle:0.2", Fault("throttle", 0.2, 0)),
        ("throttle:0", Fault("throttle", 0, 0)),
        ("throttle::1500", Fault("throttle", 1, 1500)),
        ("latency", Fault("latency", 1, 0.5)),
        ("latency:1:0.25", Fault("latency", 1, 0.25)),
        ("error", Fault("error", 1, 503)),
        ("error:0.5:400", Fault("error", 0.5, 400)),
        ("error:1:599", Fault("error", 1, 599)),
        ("clock", Fault("clock", 1, 1380)),
    ],
)
def test_rate_and_value_may_be_left_out(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_says_what_it_does(name: str) -> None:
    assert Fault.parse(name) == Fault(name, 1, FAULTS[name][0])
    assert FAULTS[name][1]


# How often it strikes


def strikes(rate: float, seed: int, number: int = 200) -> list[bool]:
    faults = Faults([Fault("throttle", rate, 0)], seed)
    return [faults.strikes("throttle") is not None for _ in range(number)]


@settings(deadline=None)
@given(rate=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_the_same_seed_strikes_the_same_calls(rate: float, seed: int) -> None:
    assert strikes(rate, seed) == strikes(rate, seed)


def test_another_seed_strikes_other_calls() -> None:
    assert strikes(0.5, 1) != strikes(0.5, 2)


def test_a_rate_is_about_the_share_of_calls() -> None:
    assert sum(strikes(0, 1)) == 0
    assert sum(strikes(1, 1)) == 200
    assert 20 <= sum(strikes(0.2, 1)) <= 60


def test_a_fault_that_was_not_asked_for_never_strikes() -> None:
    faults = Faults([Fault("throttle", 1, 0)])

    assert [name for name in FAULTS if faults.strikes(name)] == ["throttle"]


async def test_two_sandboxes_with_one_seed_fail_the_same_calls() -> None:
    first, second = [await outcomes(Sandbox(Faults([Fault.parse("throttle:0.4")], seed=3))) for _ in range(2)]

    assert first == second
    assert set(first) == {"answered", "Throttling.User"}


async def outcomes(sandbox: Sandbox) -> list[str]:
    """What thirty single attempts came to."""
    async with client_of(sandbox, ClientOptions(retries=0)) as client:
        results: list[str] = []
        for _ in range(30):
            try:
                await client.call(*request_of(READS[0]))
                results.append("answered")
            except ServiceError as error:
                results.append(error.code or "")
        return results


# What it looks like


def request_of(operation: AnyOperation) -> tuple[AnyOperation, Request]:
    arguments = TARGET | {"users": people(120)} if operation.writes else VALID_ARGUMENTS[operation.name]
    return operation, operation.request.model_validate(arguments)


@pytest.fixture(params=["in process", "over HTTP"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Connects a client to a sandbox, in one of the two ways."""

    @asynccontextmanager
    async def in_process(sandbox: Sandbox, options: ClientOptions | None = None) -> AsyncGenerator[CamsClient]:
        async with client_of(sandbox, options, now=lambda: NOW) as client:
            yield client

    @asynccontextmanager
    async def over_http(sandbox: Sandbox, options: ClientOptions | None = None) -> AsyncGenerator[CamsClient]:
        with serving(sandbox_app(sandbox)) as url:
            key = ExplicitKey(SANDBOX_KEY)
            async with CamsClient(Endpoint.parse(url), key, options, sleep=no_sleep, now=lambda: NOW) as client:
                yield client

    return in_process if request.param == "in process" else over_http


@dataclass(frozen=True)
class Case:
    """What a fault does to a read and to a write: the kind of error, phrases of its text, whether it was executed."""

    fault: str
    kind: type[CamsError]
    says: tuple[str, ...]
    write_kind: type[CamsError]
    write_says: tuple[str, ...]
    tried: int = 1
    write_tried: int = 1
    executed: bool = False


BUSY = 'CAMS returned Throttling.User ("Request was denied due to user flow control.").'
DOWN = 'CAMS returned ServiceUnavailable ("The request has failed due to a temporary failure.").'
GARBLED = "the response is not the JSON with a Code that CAMS documents."
TOO_LARGE = "a proxy in front of CAMS rejected the request as too large (413)."
FEWER = "Send less per call, or raise the proxy's body limit (nginx: client_max_body_size)."

CASES = [
    Case(
        "throttle",
        Throttled,
        (BUSY, "HTTP 400", "Wait a minute, then try again with fewer concurrent calls."),
        Throttled,
        (BUSY, "HTTP 400", "Wait a minute, then try again with fewer concurrent calls."),
        tried=3,
        write_tried=3,
    ),
    Case(
        "throttle:1:2500",
        Throttled,
        (BUSY, "Try again in 2.5 s."),
        Throttled,
        (BUSY, "Try again in 2.5 s."),
        tried=3,
        write_tried=3,
    ),
    Case(
        "throttle:1:30000",
        Throttled,
        (BUSY, "Try again in 30 s."),
        Throttled,
        (BUSY, "Try again in 30 s."),
    ),
    Case(
        "error",
        ServiceError,
        (DOWN, "HTTP 503"),
        AmbiguousWrite,
        (MAY_HAVE.format(DOWN), "HTTP 503", DO_NOT_REPEAT),
        tried=3,
    ),
    Case(
        "error:1:500",
        ServiceError,
        (DOWN, "HTTP 500"),
        AmbiguousWrite,
        (MAY_HAVE.format(DOWN), "HTTP 500", DO_NOT_REPEAT),
        tried=3,
    ),
    Case(
        "malformed",
        MalformedAnswer,
        (GARBLED, "HTTP 200", "Check --endpoint. If it is correct, try again later."),
        AmbiguousWrite,
        (MAY_HAVE.format(GARBLED), "HTTP 200", DO_NOT_REPEAT),
        executed=True,
    ),
    Case("html413", ProxyAnswer, (TOO_LARGE, "HTTP 413", FEWER), ProxyAnswer, (TOO_LARGE, "HTTP 413", FEWER)),
    Case(
        "denied",
        PermissionDenied,
        (
            "CAMS returned Forbidden.RAM",
            "HTTP 403",
            "is not allowed to run cams:{action}.",
            "allow this action in a RAM policy",
        ),
        PermissionDenied,
        (
            "CAMS returned Forbidden.RAM",
            "HTTP 403",
            "is not allowed to run cams:{action}.",
            "allow this action in a RAM policy",
        ),
    ),
    Case(
        "clock",
        ClockSkew,
        ("InvalidTimeStamp.Expired", "This machine's clock is 23 min 0 s behind the service's", "Set the clock"),
        ClockSkew,
        ("InvalidTimeStamp.Expired", "This machine's clock is 23 min 0 s behind the service's", "Set the clock"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault)
async def test_a_read_fails_with_the_cause_and_what_to_do(connect: Connect, case: Case) -> None:
    sandbox = Sandbox(Faults([Fault.parse(case.fault)]), now=lambda: NOW)

    async with connect(sandbox) as client:
        for operation in READS:
            with pytest.raises(CamsError) as caught:
                await client.call(*request_of(operation))

            assert type(caught.value) is case.kind
            check_text(caught.value, operation, case.says, case.tried)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault)
async def test_a_write_fails_with_the_cause_and_whether_it_may_have_been_applied(connect: Connect, case: Case) -> None:
    sandbox = Sandbox(Faults([Fault.parse(case.fault)]), now=lambda: NOW)

    async with connect(sandbox) as client:
        with pytest.raises(CamsError) as caught:
            await client.call(*request_of(WRITE))

    assert type(caught.value) is case.write_kind
    check_text(caught.value, WRITE, case.write_says, case.write_tried)
    assert len(sandbox.people(AUDIENCE)) == (120 if case.executed else 0)
    assert len(sandbox.calls) == (1 if case.executed else 0)


def check_text(error: CamsError, operation: AnyOperation, says: tuple[str, ...], tried: int) -> None:
    text = str(error)
    assert text.startswith(f"{operation.action}: ")
    for phrase in says:
        assert phrase.format(action=operation.action) in text
    assert (f"tried {tried} times" in text) == (tried > 1)
    assert error.attempts == tried
    assert ("It may have been applied." in text) == isinstance(error, AmbiguousWrite)


BROKE = "broke before the response was complete."


async def test_a_reset_breaks_the_connection_of_a_read(connect: Connect) -> None:
    sandbox = Sandbox(Faults([Fault.parse("reset")]), now=lambda: NOW)

    async with connect(sandbox) as client:
        with pytest.raises(ConnectionFailed) as caught:
            await client.call(*request_of(READS[0]))

    check_text(
        caught.value,
        READS[0],
        ("the connection to ", BROKE, "Try again later. If the error persists, check the network."),
        3,
    )
    assert len(sandbox.calls) == 3


async def test_a_reset_leaves_it_open_whether_a_write_was_applied(connect: Connect) -> None:
    sandbox = Sandbox(Faults([Fault.parse("reset")]), now=lambda: NOW)

    async with connect(sandbox) as client:
        with pytest.raises(AmbiguousWrite) as caught:
            await client.call(*request_of(WRITE))

    check_text(caught.value, WRITE, (BROKE, DO_NOT_REPEAT), 1)
    assert len(sandbox.people(AUDIENCE)) == 120
    assert len(sandbox.calls) == 1


async def test_over_http_a_reset_is_a_connection_closed_in_mid_answer() -> None:
    with serving(sandbox_app(Sandbox(Faults([Fault.parse("reset")])))) as url:
        async with httpx.AsyncClient(trust_env=False) as http:
            with pytest.raises(httpx.TransportError):
                await http.post(url)


QUICK = ClientOptions(timeout=0.3, retries=0)


async def test_latency_above_the_timeout_fails_a_read(connect: Connect) -> None:
    sandbox = Sandbox(Faults([Fault.parse("latency:1:1")]), now=lambda: NOW)

    async with connect(sandbox, QUICK) as client:
        with pytest.raises(ConnectionFailed) as caught:
            await client.call(*request_of(READS[0]))

    check_text(caught.value, READS[0], ("did not respond within 0.3 s.", "Try again later."), 1)


async def test_latency_above_the_timeout_leaves_it_open_whether_a_write_was_applied(connect: Connect) -> None:
    sandbox = Sandbox(Faults([Fault.parse("latency:1:1")]), now=lambda: NOW)

    async with connect(sandbox, QUICK) as client:
        with pytest.raises(AmbiguousWrite) as caught:
            await client.call(*request_of(WRITE))

    check_text(caught.value, WRITE, ("did not respond within 0.3 s.", DO_NOT_REPEAT), 1)
    assert len(sandbox.people(AUDIENCE)) == 120


async def test_latency_below_the_timeout_is_only_slow(connect: Connect) -> None:
    sandbox = Sandbox(Faults([Fault.parse("latency:1:0.01")]), now=lambda: NOW)

    async with connect(sandbox) as client:
        assert (await client.call(*request_of(READS[0]))).success
        assert (await client.call(*request_of(WRITE))).success


async def test_faults_strike_together() -> None:
    sandbox = Sandbox(Faults(map(Fault.parse, ("latency:1:0.01", "clock:1:60", "denied"))), now=lambda: NOW)

    async with client_of(sandbox, now=lambda: NOW) as client:
        with pytest.raises(PermissionDenied):
            await client.call(*request_of(READS[0]))


async def test_a_clock_that_is_little_off_passes() -> None:
    sandbox = Sandbox(Faults([Fault.parse("clock:1:600")]), now=lambda: NOW)

    async with client_of(sandbox, now=lambda: NOW) as client:
        assert (await client.call(*request_of(READS[0]))).success


async def test_reads_get_through_a_sandbox_that_throttles_some_calls() -> None:
    sandbox = Sandbox(Faults([Fault.parse("throttle:0.3")]))

    async with client_of(sandbox, ClientOptions(retries=10)) as client:
        for operation in READS:
            assert (await client.call(*request_of(operation))).success
