"""A real nginx in front of two server processes, one Redis behind them, and one CAMS (the sandbox) behind all."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client
from store_worker import a_write, asked, begun
from support import AUDIENCE, ERAS, TARGET, VALID_ARGUMENTS, people, serving, text_of, writes_that_arrived, yes
from support_http import LISTENING, get
from support_nginx import NGINX, nginx
from support_process import Program
from support_redis import MISSING, REDIS, RedisServer, free_port

from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, sandbox_app
from cams_mcp.store import Ending, Pending
from cams_mcp.store.redis import RedisStore

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)"),
    pytest.mark.skipif(REDIS is None, reason=MISSING),
]

WRITE = "add_custom_audience_user"
UPLOAD = "upload_audience_file"

CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr notice;
{user}
events {{ }}
http {{
    log_format upstreams $upstream_addr;
    access_log {directory}/access.log upstreams;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream servers {{
        server {first};
        server {second};
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffering off;
        }}
    }}
}}
"""


class Cams:
    """The sandbox behind a gate, where writes can be made to wait before they are executed."""

    def __init__(self) -> None:
        self.sandbox = Sandbox()
        self._passing: int | None = None
        self._open = threading.Event()
        self._waits = threading.Event()
        self._app = sandbox_app(self.sandbox)

    def shut_after(self, number: int) -> None:
        """Let so many more writes pass."""
        self._passing = number

    def open(self) -> None:
        self._passing = None
        self._open.set()

    async def until_one_waits(self) -> None:
        assert await anyio.to_thread.run_sync(self._waits.wait, 20)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"x-acs-action", b"AddCustomAudienceUser") in scope["headers"]:
            if self._passing == 0:
                self._waits.set()
                await anyio.to_thread.run_sync(self._open.wait, 20)
            elif self._passing is not None:
                self._passing -= 1
        await self._app(scope, receive, send)

    @property
    def writes(self) -> int:
        return len(writes_that_arrived(self.sandbox))


class Site:
    """All of it.

    Attributes:
        cams: what is behind.
        servers: the two processes; `urls` are theirs.
        url: the proxy's.
    """

    def __init__(self, cams: Cams, redis: RedisServer, directory: Path) -> None:
        self.cams = cams
        self.redis = redis
        self.servers: list[Program] = []
        self.urls: list[str] = []
        self.url = ""
        self._directory = directory

    def used(self) -> set[str]:
        """The servers that the proxy has used."""
        return set((self._directory / "access.log").read_text().split()) - {"-", ","}

    def miss_renewals(self) -> None:
        """What happens once a process that was killed has not renewed its name for some seconds."""
        with self.redis.connect() as client:
            for key in client.scan_iter("cams-mcp:running:*"):
                client.delete(key)

    def trail(self) -> list[str]:
        store = RedisStore(self.redis.url)
        events = [entry["event"] for entry in store.audit()]
        store.close()
        return events


@contextmanager
def site_with(directory: Path, redis: RedisServer, *arguments: str) -> Generator[Site]:
    site = Site(Cams(), redis, directory)
    environment = {
        "CAMS_MCP_STORE": redis.url,
        "CAMS_MCP_ACCESS_KEY_ID": SANDBOX_KEY.id,
        "CAMS_MCP_ACCESS_KEY_SECRET": SANDBOX_KEY.secret,
    }
    with ExitStack() as stack:
        upstream = stack.enter_context(serving(site.cams))
        # Left open when a test fails, it would hold the end of the server up.
        stack.callback(site.cams.open)
        serve = ("serve", "--transport", "http", "--port", "0", "--endpoint", upstream, *arguments)
        site.servers = [stack.enter_context(Program(*serve, env=environment)) for _ in range(2)]
        site.urls = [server.error_line(LISTENING).removeprefix(LISTENING) for server in site.servers]
        site.url = stack.enter_context(proxy(directory, *site.urls))
        yield site


@contextmanager
def proxy(directory: Path, first: str, second: str) -> Generator[str]:
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    places = [url.removeprefix("http://").removesuffix("/mcp") for url in (first, second)]
    with nginx(
        directory, CONFIGURATION.format(directory=directory, port=port, user=user, first=places[0], second=places[1])
    ):
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.fixture
def site(tmp_path: Path, redis: RedisServer) -> Iterator[Site]:
    with site_with(tmp_path, redis) as site:
        yield site


async def ask(url: str, mode: str, arguments: dict[str, Any] | None = None, tool: str = WRITE) -> str:
    """The first of two steps; gives the token for the second."""
    async with Client(url, mode=mode) as client:
        result = await client.call_tool(tool, arguments or VALID_ARGUMENTS[WRITE])
        assert not result.is_error, text_of(result)
        return result.structured_content["confirmation_token"]


async def confirm(url: str, mode: str, token: str, arguments: dict[str, Any] | None = None, tool: str = WRITE) -> Any:
    async with Client(url, mode=mode) as client:
        return await client.call_tool(tool, (arguments or VALID_ARGUMENTS[WRITE]) | {"confirmation_token": token})


def recorded(result: Any) -> dict[str, Any]:
    """What an identical call had returned; fails unless this one says that it sent nothing."""
    assert not result.is_error, text_of(result)
    content = dict(result.structured_content)
    assert "This is its recorded result. Nothing was sent again." in content.pop("next")
    return content


# Any server finishes what another began


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_behind_the_proxy_does_not_notice_that_there_are_two(site: Site, mode: str) -> None:
    person = yes()
    async with Client(site.url, mode=mode, elicitation_callback=person) as client:
        assert not (await client.call_tool("list_instance", {})).is_error
        for number in range(1, 4):
            given = TARGET | {"users": people(number)}
            result = await client.call_tool(WRITE, given)
            if mode == "legacy":
                token = result.structured_content["confirmation_token"]
                result = await client.call_tool(WRITE, given | {"confirmation_token": token})
            assert not result.is_error, text_of(result)

    assert site.cams.writes == 3
    assert len(person.asked) == (0 if mode == "legacy" else 3)
    assert len(site.used()) == 2
    assert site.trail() == ["asked", "approved", "sent"] * 3


@pytest.mark.parametrize("mode", ERAS)
async def test_what_one_server_asked_the_other_sends_and_once_only(site: Site, mode: str) -> None:
    one, other = site.urls
    token = await ask(one, mode)
    first = await confirm(other, mode, token)
    again = [await confirm(url, mode, token) for url in (one, other)]

    assert first.structured_content["status"] == "sent"
    assert [recorded(result) for result in again] == [first.structured_content] * 2
    assert site.cams.writes == 1


async def test_the_eras_share_one_approval(site: Site) -> None:
    one, other = site.urls

    result = await confirm(other, "auto", await ask(one, "legacy"))
    assert result.structured_content["status"] == "sent"


@pytest.mark.parametrize("mode", ERAS)
async def test_of_many_who_spend_one_approval_over_both_servers_one_wins(site: Site, mode: str) -> None:
    token = await ask(site.urls[0], mode)
    results: list[Any] = []

    async def try_it(url: str) -> None:
        results.append(await confirm(url, mode, token))

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(try_it, site.urls[number % 2])

    (sent,) = [result for result in results if "next" not in result.structured_content]
    assert [recorded(result) for result in results if result is not sent] == [sent.structured_content] * 7
    assert site.cams.writes == 1
    assert site.trail() == ["asked", "approved", "sent"]


async def test_the_days_limit_holds_over_both_servers(tmp_path: Path, redis: RedisServer) -> None:
    with site_with(tmp_path, redis, "--confirm", "off", "--max-users-per-day", "5") as site:
        results: list[Any] = []

        async def send(number: int) -> None:
            given = TARGET | {"users": people(2, start=2 * number)}
            async with Client(site.urls[number % 2]) as client:
                results.append(await client.call_tool(WRITE, given))

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(send, number)

    refused = [text_of(result) for result in results if result.is_error]
    assert len(refused) == 4
    assert all("at most 5 users per day" in text for text in refused)
    assert site.cams.writes == 2


# A server goes away


@pytest.mark.parametrize("mode", ERAS)
async def test_of_a_server_that_dies_in_mid_call_the_other_tells_that_it_may_have_sent(site: Site, mode: str) -> None:
    one, other = site.urls
    token = await ask(one, mode)
    site.cams.shut_after(0)
    async with anyio.create_task_group() as group:
        group.start_soon(confirm, one, mode, token)
        await site.cams.until_one_waits()
        group.cancel_scope.cancel()
        site.servers[0].signal(signal.SIGKILL)
    site.cams.open()
    site.miss_renewals()
    spent = await confirm(other, mode, token)
    async with Client(other, mode=mode) as client:
        preview = await client.call_tool(
            WRITE, VALID_ARGUMENTS[WRITE] | {"users": VALID_ARGUMENTS[WRITE]["users"][::-1]}
        )
    async with Client(site.url, mode=mode) as client:
        read = await client.call_tool("list_instance", {})

    assert "an identical call was approved" in text_of(spent)
    assert "its outcome is unknown: it may have been applied" in text_of(spent)
    assert "it is unknown whether CAMS applied it" in text_of(preview)
    assert not read.is_error
    assert site.trail() == ["asked", "approved", "unknown", "asked"]


async def test_an_upload_that_one_server_began_the_other_ends(tmp_path: Path, redis: RedisServer) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    rows = "".join(f"customer{number:04}@example.com\n" for number in range(300))
    (folder / "people.csv").write_text(f"email\n{rows}", encoding="utf-8")
    given = TARGET | {"path": "people.csv"}
    with site_with(tmp_path, redis, "--upload-dir", str(folder), "--batch-bytes", "4000") as site:
        one, other = site.urls
        token = await ask(one, "auto", given, UPLOAD)
        site.cams.shut_after(2)
        async with anyio.create_task_group() as group:
            group.start_soon(confirm, one, "auto", token, given, UPLOAD)
            await site.cams.until_one_waits()
            group.cancel_scope.cancel()
            site.servers[0].signal(signal.SIGKILL)
        site.cams.open()
        store = RedisStore(redis.url)
        (job,) = store.journal.jobs()
        assert job.state == "running"
        assert job.ambiguous is not None
        again = given | {"resume": job.id}
        result = await confirm(other, "auto", await ask(other, "auto", again, UPLOAD), again, UPLOAD)
        (job,) = store.journal.jobs()
        store.close()

    assert not result.is_error, text_of(result)
    assert result.structured_content["state"] == "done"
    assert (job.state, job.sent) == ("done", 300)
    assert len(site.cams.sandbox.people(AUDIENCE)) == 300


# Redis goes away


@pytest.mark.parametrize("mode", ERAS)
async def test_without_redis_writes_are_refused_and_reads_go_on_until_it_is_back(
    site: Site, redis: RedisServer, mode: str
) -> None:
    token = await ask(site.urls[0], mode)
    redis.stop()
    try:
        refused = [await confirm(url, mode, token) for url in site.urls]
        async with Client(site.url, mode=mode) as client:
            read = await client.call_tool("list_instance", {})
        ready = [get(url, "/readyz") for url in site.urls]
    finally:
        redis.start()
    sent = await confirm(site.urls[1], mode, token)

    assert all("sends no writes without it" in text_of(result) for result in refused)
    assert not read.is_error
    assert [answer.status_code for answer in ready] == [503, 503]
    assert all(answer.json()["failed"] == ["store"] for answer in ready)
    assert sent.structured_content["status"] == "sent"
    assert site.cams.writes == 1


def test_the_rights_that_the_documentation_names_are_enough(tmp_path: Path) -> None:
    password = "correct-horse-battery"
    text = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
    named = re.search(r"`ACL SETUSER ([^`]*) >PASSWORD ([^`]*)`", text)
    assert named
    with RedisServer(tmp_path, "--user", *named[1].split(), f">{password}", *named[2].split()) as server:
        url = server.url.replace("redis://", f"redis://cams-mcp:{password}@")
        with closing(RedisStore(url)) as store:
            number = begun(store, a_write(), "token", asked(store, a_write()), per_day=10)
            store.finish(number, a_write(), "token", Ending(outcome="refused", request_id="R-1", is_reported=False))
            spent = store.begin(a_write(), "token", "again")
            assert isinstance(spent, Pending)
            store.forget(spent)
            store.decline(a_write(), asked(store, a_write(), hold_seconds=60), "no", hold=True)
            (declined,) = store.pending()
            assert store.decide(declined.id, approve=True, channel="page") == declined
            job, owner = store.journal.start("/data/people.csv", {}, "b", 10, number)
            store.journal.before(job, owner, 0, 10)
            store.journal.after(job, owner, 0, "sent", None)
            store.journal.end(job, owner, "done", "")
            assert [job.state for job in store.journal.jobs()] == ["done"]
            assert [entry["event"] for entry in store.audit()] == ["asked", "approved", "failed", "asked", "declined"]
