from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from types import CodeType, FunctionType

import pytest
from support_redis import MISSING, REDIS, RedisServer

from cams_mcp.sandbox import Sandbox

# A job in the background (nohup, some CI runners) starts with Ctrl-C or hang-ups ignored, and so would every program it
# starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    if REDIS is None:
        pytest.skip(MISSING)
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """An empty Redis."""
    redis_server.forget()
    return redis_server


STARTERS = {"subprocess", "serving", "StdioServerParameters", "RedisServer"}
"""What processes and servers are started with."""

TESTS = str(Path(__file__).parent)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests as slow that try many examples, or start a process or a server, themselves or by a fixture.

    The longest test comes first: started last, it would run on while the other processes wait.
    """
    items.sort(key=lambda item: item.path.name != "test_contributing.py")
    known: dict[FunctionType, bool] = {}
    for item in items:
        if isinstance(item, pytest.Function):
            fixtures = [each.func for found in item._fixtureinfo.name2fixturedefs.values() for each in found[-1:]]  # noqa: SLF001
            functions = map(inspect.unwrap, (item.function, *fixtures))
            if hasattr(item.function, "hypothesis") or any(_starts_something(each, known) for each in functions):
                item.add_marker(pytest.mark.slow)


def _starts_something(function: object, known: dict[FunctionType, bool]) -> bool:
    """Whether a function of the tests names a starter, or another function or class of the tests that does."""
    if inspect.isclass(function):
        return any(_starts_something(each, known) for each in vars(function).values())
    if not isinstance(function, FunctionType) or not function.__code__.co_filename.startswith(TESTS):
        return False
    if function not in known:
        known[function] = False  # while it is looked at
        names = set(_names(function.__code__))
        others = [inspect.unwrap(other) for name in names if callable(other := function.__globals__.get(name))]
        known[function] = bool(names & STARTERS) or any(_starts_something(other, known) for other in others)
    return known[function]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: every program that a test needs is installed there."""
    report = yield
    if report.skipped and os.environ.get("CAMS_MCP_TEST_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report
