"""The approval page's life: it starts when something waits, and closes when nothing does."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from starlette.requests import Request
from support_page import PERSON, FakeDesk, a_write

from cams_mcp.approval.page import ApprovalPage
from cams_mcp.approval.page_requests import comes_from_own_user

pytestmark = pytest.mark.slow

LINGER_SECONDS = 0.2
PATIENCE_SECONDS = 20


@dataclass
class Launcher:
    """Stands for the browser.

    Attributes:
        works: whether it can be started.
        loads: whether it then loads the page.
        urls: each address that it was to open.
        tab: the last page that it loaded.
    """

    works: bool = True
    loads: bool = True
    urls: list[str] = field(default_factory=list[str])
    tab: httpx.Client | None = None

    async def __call__(self, url: str) -> bool:
        self.urls.append(url)
        if self.works and self.loads:
            self.close()
            with anyio.CancelScope(shield=True):
                self.tab = await visit(url)
        return self.works

    async def get(self, path: str) -> httpx.Response:
        """A request of the page that was loaded."""
        assert self.tab is not None
        return await anyio.to_thread.run_sync(self.tab.get, path)

    def close(self) -> None:
        if self.tab is not None:
            self.tab.close()


class Ticks:
    """A monotonic clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return anyio.current_time() + self.ahead


async def visit(url: str) -> httpx.Client:
    """A browser that has opened the page and stays on it."""
    client = httpx.AsyncClient(trust_env=False)
    async with client:
        page = await client.get(url, follow_redirects=True)
        assert page.status_code == 200
    return httpx.Client(trust_env=False, base_url=str(page.url), cookies=client.cookies)


async def until_closed(url: str) -> None:
    """Wait until nothing listens at the address any more."""
    port = urlsplit(url).port
    assert port is not None
    with anyio.fail_after(PATIENCE_SECONDS):
        while is_listening(port):  # noqa: ASYNC110
            await anyio.sleep(0.02)


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex((host, port)) == 0


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk([a_write()])


@pytest.fixture
def launcher() -> Generator[Launcher]:
    made = Launcher()
    yield made
    made.close()


def page_over(desk: FakeDesk, launcher: Launcher, **options: object) -> ApprovalPage:
    return ApprovalPage(desk, person=PERSON, open_browser=launcher, **{"linger": LINGER_SECONDS} | options)  # type: ignore[arg-type]


def test_a_server_that_needs_no_page_loads_no_web_server() -> None:
    check = (
        "import sys, cams_mcp.approval.page; print(sorted({'starlette', 'uvicorn', 'webbrowser'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


async def test_the_page_is_served_on_loopback_once_it_is_shown(desk: FakeDesk, launcher: Launcher) -> None:
    async with page_over(desk, launcher) as page:
        assert launcher.urls == []
        assert await page.show()

        (url,) = launcher.urls
        assert url.startswith("http://127.0.0.1:")
        assert len(urlsplit(url).path) > 20
        assert "VIP-Q1-1" in (await launcher.get("")).text
        assert not is_listening(port_of(url), "127.0.0.2")
    assert not is_listening(port_of(url))


async def test_a_page_before_the_persons_eyes_is_not_opened_again(desk: FakeDesk, launcher: Launcher) -> None:
    ticks = Ticks()
    async with page_over(desk, launcher, now=ticks) as page:
        await page.show()
        ticks.ahead = 100
        await launcher.get("state?visible=1")
        assert page.is_watched
        assert await page.show()
        assert len(launcher.urls) == 1

        ticks.ahead = 200
        await launcher.get("state?visible=0")
        assert not page.is_watched
        assert await page.show()
    first, second = launcher.urls
    assert port_of(first) == port_of(second)
    assert first != second


async def test_while_the_browser_starts_no_second_tab_is_opened(desk: FakeDesk, launcher: Launcher) -> None:
    launcher.loads = False
    shown: list[bool] = []
    async with page_over(desk, launcher) as page:

        async def show() -> None:
            shown.append(await page.show())

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(show)
            await desk.asked()
            assert shown == []
            (url,) = launcher.urls
            (await visit(url)).close()
    assert shown == [True] * 5
    assert len(launcher.urls) == 1


async def test_a_browser_that_never_loads_the_page_counts_as_none(desk: FakeDesk, launcher: Launcher) -> None:
    launcher.loads = False
    async with page_over(desk, launcher, patience=0.05) as page:
        assert not await page.show()
        late = await visit(launcher.urls[0])
        assert "VIP-Q1-1" in (await anyio.to_thread.run_sync(late.get, "")).text
        late.close()
        assert await page.show()
    assert len(launcher.urls) == 1


async def test_the_next_browser_gets_an_address_of_its_own(desk: FakeDesk, launcher: Launcher) -> None:
    launcher.loads = False
    async with page_over(desk, launcher, patience=0.0) as page:
        await page.show()
        await page.show()
        assert len(set(launcher.urls)) == 2
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(launcher.urls[0])).status_code == 410
            assert (await client.get(launcher.urls[1])).status_code == 303


async def test_without_a_browser_the_page_says_so_and_closes(desk: FakeDesk, launcher: Launcher) -> None:
    launcher.works = False
    async with page_over(desk, launcher, linger=1000) as page:
        assert not await page.show()
        await until_closed(launcher.urls[0])
        assert not page.is_watched

        launcher.works = True
        assert await page.show()


async def test_a_browser_that_fails_does_not_take_the_page_from_one_that_shows_it(
    desk: FakeDesk, launcher: Launcher
) -> None:
    ticks = Ticks()
    async with page_over(desk, launcher, now=ticks) as page:
        await page.show()
        ticks.ahead = 100
        launcher.works = False
        assert not await page.show()
        assert (await launcher.get("state")).status_code == 200
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(launcher.urls[1])).status_code == 410


async def test_a_command_that_runs_until_the_browser_is_closed_holds_nothing_up(desk: FakeDesk) -> None:
    async def open_and_stay(url: str) -> bool:
        (await visit(url)).close()
        await anyio.sleep_forever()
        return False

    async with ApprovalPage(desk, person=PERSON, open_browser=open_and_stay) as page:
        with anyio.fail_after(PATIENCE_SECONDS):
            assert await page.show()


@pytest.mark.parametrize("outcome", ["sent", "refused", "unknown"])
async def test_the_page_closes_a_while_after_the_last_outcome_and_starts_anew(
    desk: FakeDesk, launcher: Launcher, outcome: str
) -> None:
    async with page_over(desk, launcher) as page:
        await page.show()
        await desk.decide("K7QX2MPD", "approve", "page")
        desk.finish("K7QX2MPD", None)
        assert (await launcher.get("state")).json()["busy"]
        desk.finish("K7QX2MPD", outcome)
        assert not (await launcher.get("state")).json()["busy"]
        await until_closed(launcher.urls[0])

        desk.writes.append(a_write("R4WPN8HT"))
        assert await page.show()
        first, second = map(urlsplit, launcher.urls)
        assert first.path != second.path
        async with httpx.AsyncClient(trust_env=False) as client:
            stale = await client.get(second._replace(path=first.path).geturl())
            assert stale.status_code == 404


@pytest.mark.parametrize("state", ["waiting", "approved", "sending"])
async def test_the_page_stays_while_anything_is_open(desk: FakeDesk, launcher: Launcher, state: str) -> None:
    ticks = Ticks()
    if state != "waiting":
        await desk.decide("K7QX2MPD", "approve", "page")
    if state == "sending":
        desk.finish("K7QX2MPD", None)
    async with page_over(desk, launcher, now=ticks) as page:
        await page.show()
        for _ in range(5):
            ticks.ahead += 20
            await desk.asked()
        assert is_listening(port_of(launcher.urls[0]))


async def test_a_store_that_fails_does_not_close_the_page_before_the_question_expires(
    desk: FakeDesk, launcher: Launcher
) -> None:
    desk.writes = [a_write(seconds=590)]
    clock = Ticks()
    start = desk.writes[0].asked - clock()
    async with page_over(desk, launcher, clock=lambda: start + clock()) as page:
        await page.show()
        await desk.asked()
        desk.broken = True
        await desk.asked()
        await desk.asked()
        assert is_listening(port_of(launcher.urls[0]))

        clock.ahead = 600
        await until_closed(launcher.urls[0])


async def test_the_page_leaves_signals_to_the_server(desk: FakeDesk, launcher: Launcher) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with page_over(desk, launcher) as page:
        await page.show()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_neither_the_address_nor_anything_of_a_request_is_printed_or_logged(
    desk: FakeDesk, launcher: Launcher, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for library in ("httpx", "httpcore"):
        caplog.set_level(logging.CRITICAL, library)
    caplog.set_level(logging.DEBUG)
    async with page_over(desk, launcher) as page:
        await page.show()
        assert launcher.tab is not None
        desk.broken = True
        assert (await launcher.get("state")).status_code == 503
        path = launcher.tab.base_url.path.strip("/")
        names = list(launcher.tab.cookies)

    assert "cannot read the store" in caplog.text
    for secret in (urlsplit(launcher.urls[0]).path.strip("/"), path, *names, str(port_of(launcher.urls[0]))):
        assert secret not in caplog.text
    assert capfd.readouterr() == ("", "")


async def test_leaving_closes_the_page_and_passes_errors_on(desk: FakeDesk, launcher: Launcher) -> None:
    async def fail() -> None:
        async with page_over(desk, launcher) as page:
            await page.show()
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        await fail()

    assert not is_listening(port_of(launcher.urls[0]))


async def test_cancelling_closes_the_page(desk: FakeDesk, launcher: Launcher) -> None:
    async with anyio.create_task_group() as group, page_over(desk, launcher) as page:
        await page.show()
        group.cancel_scope.cancel()
        await anyio.sleep_forever()

    assert not is_listening(port_of(launcher.urls[0]))


async def test_a_page_that_breaks_leaves_the_server_running(
    desk: FakeDesk, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(principal: str | None = None) -> list[object]:
        raise RuntimeError

    async with page_over(desk, launcher) as page:
        monkeypatch.setattr(desk, "pending", broken)
        launcher.loads = False
        assert not await page.show()
        await until_closed(launcher.urls[0])

        monkeypatch.undo()
        launcher.loads = True
        assert await page.show()


async def test_no_port_is_no_page(desk: FakeDesk, launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_port(*arguments: object) -> None:
        raise OSError

    async with page_over(desk, launcher) as page:
        with monkeypatch.context() as without:
            without.setattr(socket.socket, "bind", no_port)
            assert not await page.show()
        assert await page.show()


TAKE = """
import os, socket, sys
host, path = sys.argv[1].removeprefix("http://").split("/", 1)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
with socket.socket() as connection:
    connection.connect(("127.0.0.1", int(host.split(":")[1])))
    connection.sendall(f"GET /{path} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
    print(connection.recv(1000).split()[1].decode())
"""


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can act as another user")
async def test_another_user_who_sees_the_address_first_cannot_use_it(desk: FakeDesk) -> None:
    statuses: list[str] = []

    async def race(url: str) -> bool:
        """Another user reads the address among the arguments of the browser, and is faster."""
        done = await anyio.run_process([sys.executable, "-c", TAKE, url])
        statuses.append(done.stdout.decode().strip())
        (await visit(url)).close()
        return True

    async with ApprovalPage(desk, person=PERSON, open_browser=race, linger=LINGER_SECONDS) as page:
        assert await page.show()

    assert statuses == ["403"]


def request_from(port: int) -> Request:
    scope = {"type": "http", "server": ("127.0.0.1", 8001), "client": ("127.0.0.1", port), "headers": [], "path": "/"}
    return Request(scope)


LINE = "   0: {here} {there} 01 00000000:00000000 00:00000000 00000000 {uid:5} 0 1 1 0 20 4 30 10 -1\n"


@pytest.mark.parametrize("address", ["0100007F", "0000000000000000FFFF00000100007F"])
@pytest.mark.parametrize("is_own", [True, False])
def test_the_kernel_says_whose_connection_it_is(tmp_path: Path, address: str, *, is_own: bool) -> None:
    uid = os.getuid() if is_own else os.getuid() + 1
    table = tmp_path / "tcp"
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    theirs = LINE.format(here=f"{address}:C350", there=f"{address}:1F41", uid=uid)
    ours = LINE.format(here=f"{address}:1F41", there=f"{address}:C350", uid=os.getuid())
    table.write_text(head + ours + theirs, encoding="ascii")

    assert comes_from_own_user(request_from(50000), [str(table)]) is is_own
    assert not comes_from_own_user(request_from(50001), [str(table)])
    assert comes_from_own_user(request_from(50001), [str(tmp_path / "none")]), "not Linux"


async def test_connections_that_send_nothing_are_closed(desk: FakeDesk, launcher: Launcher) -> None:
    async with page_over(desk, launcher) as page:
        assert await page.show()
        with socket.create_connection(("127.0.0.1", port_of(launcher.urls[0])), 20) as silent:
            end = await anyio.to_thread.run_sync(silent.recv, 1)

    assert end == b""
