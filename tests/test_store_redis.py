"""What is Redis's own; test_store.py has what all kinds of store have in common."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from mcp import Client
from store_worker import a_write, asked, begun
from support import AUDIENCE, ERAS, TARGET, VALID_ARGUMENTS, Person, examples, mcp_client, text_of, yes
from support_cli import run_here
from support_http import program
from support_redis import MISSING, REDIS, RedisServer, free_port
from test_guard_machine import GuardMachine
from test_store import ATTEMPTS, BINDINGS, WRITE, events, run_at_once, spend_each_once

from cams_mcp.app import check, store_of
from cams_mcp.deadlines import until
from cams_mcp.errors import ConfigurationError, NotConfirmed, StoreError
from cams_mcp.sandbox import Sandbox
from cams_mcp.settings import Settings
from cams_mcp.store import BaseStore, Ending, Pending, open_store
from cams_mcp.store.redis import RedisStore
from cams_mcp.store.redis_database import Transaction

needs_redis = pytest.mark.skipif(REDIS is None, reason=MISSING)
PASSWORD = "correct-horse-battery"
NOBODY = "redis://127.0.0.1:1/0"
"""Nothing listens there."""


@pytest.fixture
def store(redis: RedisServer) -> Iterator[RedisStore]:
    with closing(RedisStore(redis.url)) as store:
        yield store


# When Redis is away


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("confirm", ["auto", "token", "off"])
async def test_without_redis_writes_are_refused_and_reads_go_on(confirm: str, mode: str) -> None:
    sandbox = Sandbox()
    store = RedisStore(NOBODY)
    async with mcp_client(sandbox, mode=mode, confirm=confirm, store=store, elicitation_callback=yes()) as client:
        refused = await client.call_tool(WRITE, VALID_ARGUMENTS[WRITE])
        read = await client.call_tool("list_instance", {})

    assert refused.is_error
    assert "sends no writes without it" in text_of(refused)
    assert "Check that the Redis of --store is reachable at 127.0.0.1:1." in text_of(refused)
    assert not read.is_error
    assert "AddCustomAudienceUser" not in [call.action for call in sandbox.calls]


@needs_redis
def test_the_store_comes_back_with_redis_and_has_forgotten_nothing(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, closing(RedisStore(server.url)) as store:
        kept, spent = (asked(store, a_write(binding, binding)) for binding in ("kept", "spent"))
        begun(store, a_write("spent", "spent"), "token", spent)
        server.stop()
        for _ in range(2):
            with pytest.raises(StoreError):
                begun(store, a_write("kept", "kept"), "token", kept)
        server.start()

        assert begun(store, a_write("kept", "kept"), "token", kept)
        assert isinstance(store.begin(a_write("spent", "spent"), "token", spent), Pending)
        assert events(store) == ["asked", "asked", "approved", "approved"]


def test_a_redis_that_never_answers_is_given_up_soon() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        closing(RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")) as store,
        until(time.monotonic() + 0.1),
        pytest.raises(StoreError, match="TimeoutError from Redis"),
    ):
        asked(store, a_write())


@needs_redis
@pytest.mark.parametrize("given", ["", f":{PASSWORD}-wrong@", f"somebody:{PASSWORD}@"])
def test_a_redis_that_refuses_the_password_is_told_without_it(tmp_path: Path, given: str) -> None:
    with RedisServer(tmp_path, "--requirepass", PASSWORD) as server:
        url = server.url.replace("redis://", f"redis://{given}")
        with closing(RedisStore(url)) as store, pytest.raises(StoreError) as caught:
            asked(store, a_write())

    assert "AuthenticationError" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


@needs_redis
def test_a_redis_with_a_password_works(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--requirepass", PASSWORD) as server:
        url = server.url.replace("redis://", f"redis://:{PASSWORD}@")
        with closing(RedisStore(url)) as store:
            assert begun(store, a_write(), "token", asked(store, a_write()))


@pytest.mark.parametrize("limit", ["replica", "memory"])
@needs_redis
def test_a_redis_that_takes_no_writes_holds_ours_back(tmp_path: Path, limit: str) -> None:
    options = ("--replicaof", "127.0.0.1", "1") if limit == "replica" else ("--maxmemory", "1")
    with (
        RedisServer(tmp_path, *options) as server,
        closing(RedisStore(server.url)) as store,
        pytest.raises(StoreError),
    ):
        store.begin_unasked(a_write())


def test_keys_of_somebody_else_are_an_error_that_repeats_nothing(store: RedisStore, redis: RedisServer) -> None:
    with redis.connect() as client:
        client.set("cams-mcp:audience:6000019000000", "x")

    with pytest.raises(StoreError) as caught:
        store.begin_unasked(a_write())
    assert "6000019000000" not in str(caught.value)


class LosesAnswers:
    """A way to Redis that breaks once it has passed an EXEC on, so that its answer does not come back."""

    def __init__(self, port: int) -> None:
        self.lose = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = port
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        # A thread that waits in accept() is not woken by closing what it waits on.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._pass_on, args=(near,)))
                self._threads[-1].start()

    def _pass_on(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._port)) as far:
            while asked := near.recv(1_000_000):
                far.sendall(asked)
                answer = far.recv(1_000_000)
                if self.lose and b"EXEC" in asked:
                    return
                near.sendall(answer)


@contextmanager
def losing_answers(redis: RedisServer) -> Generator[LosesAnswers]:
    with closing(LosesAnswers(redis.port)) as way:
        yield way


def test_a_step_whose_answer_was_lost_is_not_made_twice(redis: RedisServer) -> None:
    with losing_answers(redis) as way, closing(RedisStore(way.url)) as store, closing(RedisStore(redis.url)) as other:
        token = asked(store, a_write())
        way.lose = True
        with pytest.raises(StoreError):
            begun(store, a_write(), "token", token)
        way.lose = False

        # It was made, and nothing was sent: what is unknown counts as sent.
        assert events(other) == ["asked", "approved"]
        again = store.begin(a_write(), "token", token)
        assert isinstance(again, Pending)
        assert (again.state, again.write, again.outcome) == ("spent", 1, None)
        assert events(other) == ["asked", "approved"]


# TLS


def certificate_for(address: str, directory: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = (directory / "cert.pem", directory / "key.pem")
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@needs_redis
@pytest.mark.parametrize(
    ("address", "trusted", "good"),
    [("127.0.0.1", True, True), ("127.0.0.1", False, False), ("127.0.0.2", True, False)],
)
def test_over_tls_only_a_redis_with_a_trusted_certificate_of_its_name_is_used(
    tmp_path: Path, address: str, trusted: bool, good: bool
) -> None:
    cert, key = certificate_for(address, tmp_path)
    options = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-auth-clients", "no")
    tls_port = free_port()
    with RedisServer(tmp_path, "--tls-port", str(tls_port), "--tls-ca-cert-file", str(cert), *options):
        url = f"rediss://127.0.0.1:{tls_port}/0" + (f"?ssl_ca_certs={cert}" if trusted else "")
        with closing(store_of(Settings(store=url))) as store:
            if good:
                assert store.begin_unasked(a_write())
            else:
                with pytest.raises(StoreError):
                    store.begin_unasked(a_write())


# What is kept


def test_redis_holds_no_token_but_its_hash(store: RedisStore, redis: RedisServer) -> None:
    token = asked(store, a_write())

    assert token not in redis.content()
    assert hashlib.sha256(token.encode()).hexdigest() in redis.content()


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("action", ["accept", "decline", "two steps"])
async def test_no_address_is_in_redis_after_a_write(redis: RedisServer, mode: str, action: str) -> None:
    users = [{"email": f"Zoe.Recognisable{index}@example.com", "phone": f"+1202555{index:04}"} for index in range(20)]
    person = None if action == "two steps" else Person(action, {"confirm": True})
    with closing(RedisStore(redis.url)) as store:
        async with mcp_client(Sandbox(), mode=mode, store=store, elicitation_callback=person) as client:
            result = await client.call_tool(WRITE, TARGET | {"users": users})
            if action == "two steps":
                token = result.structured_content["confirmation_token"]
                await client.call_tool(WRITE, TARGET | {"users": users, "confirmation_token": token})
    found = redis.content().lower()

    assert AUDIENCE in found
    for user in users:
        assert user["email"].partition("@")[0].lower() not in found
        assert user["phone"].removeprefix("+") not in found
        assert hashlib.sha256(user["email"].encode()).hexdigest() not in found


def test_every_key_begins_with_the_servers_name(store: RedisStore, redis: RedisServer) -> None:
    store.finish(store.begin_unasked(a_write()), a_write(), "off", Ending(outcome="sent", request_id="R-1"))
    job, owner = store.journal.start("/data/people.csv", {}, "b", 10, 1)
    store.journal.before(job, owner, 0, 10)
    asked(store, a_write())

    with redis.connect() as client:
        assert {key.partition(":")[0] for key in client.scan_iter()} == {"cams-mcp"}


def test_the_ledger_outlasts_the_longest_hold_and_then_goes(store: RedisStore, redis: RedisServer) -> None:
    number = store.begin_unasked(a_write())

    with redis.connect() as client:
        for key in (f"write:{number}", "list:l", "audience:6000019000000"):
            assert client.ttl(f"cams-mcp:{key}") > 8760 * 3600
        assert client.ttl("cams-mcp:audit") == -1


def test_hosts_share_one_salt_also_after_redis_lost_everything(redis: RedisServer) -> None:
    with closing(RedisStore(redis.url)) as one, closing(RedisStore(redis.url)) as two:
        before = one.digest("x")
        assert two.digest("x") == before
        redis.forget()

        assert one.digest("x") == two.digest("x") != before


def test_the_time_is_that_of_redis_so_that_hosts_may_differ(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time()
    with closing(RedisStore(redis.url)) as ahead, closing(RedisStore(redis.url)) as behind:
        monkeypatch.setattr(time, "time", lambda: real + 1e6)
        token = asked(ahead, a_write())
        monkeypatch.setattr(time, "time", lambda: real - 1e6)

        assert begun(behind, a_write(), "token", token)
        assert all(abs(entry["time"] - real) < 1000 for entry in behind.audit())


def test_a_long_trail_is_read_whole_and_in_order(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cams_mcp.store.redis.PAGE", 7)
    for number in range(20):
        store.record("blocked", a_write(), "token", f"limit {number}")

    assert [entry["reason"] for entry in store.audit()] == [f"limit {number}" for number in range(20)]
    assert len({entry["id"] for entry in store.audit()}) == 20


# Many at once


@needs_redis
@given(attempts=ATTEMPTS, bindings=BINDINGS)
@settings(deadline=None, max_examples=15)
def test_each_approval_is_spent_exactly_once_however_many_hosts_try(
    redis_server: RedisServer, attempts: list[list[int]], bindings: list[str]
) -> None:
    redis_server.forget()
    with closing(RedisStore(redis_server.url)) as one, closing(RedisStore(redis_server.url)) as two:
        spend_each_once(one, two, attempts, bindings)


def test_an_approval_that_is_issued_while_another_step_runs_does_not_come_from_the_future(redis: RedisServer) -> None:
    tokens: list[str] = []
    with closing(RedisStore(redis.url, lambda: 1000.5)) as quick:
        quick.digest("so that there is a salt")

        def clock() -> float:
            if tokens:
                return 1001.0
            tokens.append(asked(quick, a_write("quick", "quick")))
            return 1000.0

        with closing(RedisStore(redis.url, clock)) as slow:
            asked(slow, a_write("slow", "slow"))

        assert begun(quick, a_write("quick", "quick"), "token", tokens[0])


def test_a_step_starts_over_if_the_waiting_write_has_changed_meanwhile(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile: list[Callable[[], object]] = []
    commit = Transaction.commit

    def commit_late(transaction: Transaction) -> None:
        if meanwhile:
            meanwhile.pop()()
        commit(transaction)

    monkeypatch.setattr(Transaction, "commit", commit_late)
    with closing(RedisStore(redis.url)) as one, closing(RedisStore(redis.url)) as two:
        token = asked(one, a_write())
        meanwhile.append(lambda: two.begin(a_write(), "token", token))
        spent = one.withdraw(a_write(), "dismissed", hold=False)

        assert spent is not None
        assert spent.state == "spent"
        assert one.pending() == [spent]
        assert events(one) == ["asked", "approved"]


def test_several_processes_lose_nothing_of_each_other(redis: RedisServer) -> None:
    run_at_once(redis.url, processes=4, times=10)

    with closing(RedisStore(redis.url)) as store:
        assert Counter(events(store)) == {"asked": 40, "approved": 40, "sent": 40}


@needs_redis
class TestGuardOverRedis:
    def test_chance_against_the_guard(self, redis_server: RedisServer) -> None:
        class Machine(GuardMachine):
            def open_store(self) -> BaseStore:
                if not hasattr(self, "stores"):
                    redis_server.forget()
                return RedisStore(redis_server.url, now=lambda: self.clock)

        Machine.TestCase.settings = settings(
            max_examples=examples(40),
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        Machine.TestCase("runTest").runTest()


# Where the store is


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "redis://127.0.0.1:6379/0",
        "redis://[::1]:6379/15",
        f"rediss://user:{PASSWORD}@redis.example.com:6380/0",
        "rediss://redis.example.com/0?ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_a_url_of_a_redis_is_taken(url: str) -> None:
    store = store_of(Settings(store=url))

    assert isinstance(store, RedisStore)
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "postgres",
        "SQLITE",
        "http://127.0.0.1",
        "redis:",
        "redis://",
        f"redis://:{PASSWORD}@",
        f"unix://:{PASSWORD}@/tmp/redis.sock",
        f"redis://:{PASSWORD}@host:port",
        f"redis://:{PASSWORD}@host:0",
        f"redis://:{PASSWORD}@host/name",
        f"redis://:{PASSWORD}@host/0#x",
        f"redis://:{PASSWORD}@host/0?socket_timeout=1000",
        f"redis://:{PASSWORD}@host/0?ssl_ca_certs=/etc/ca.pem",
        f"rediss://:{PASSWORD}@host/0?ssl_cert_reqs=none",
        f"redis://:{PASSWORD}@ho st/0",
        f"redis://:{PASSWORD}@host/0\n",
    ],
)
def test_another_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"--store (is neither|\(CAMS_MCP_STORE\) contains a control character)"
    ) as caught:
        check(Settings(store=url))

    assert PASSWORD not in str(caught.value)


def test_settings_do_not_show_the_url() -> None:
    assert PASSWORD not in repr(Settings(store=f"redis://:{PASSWORD}@127.0.0.1/0"))


def test_a_state_directory_beside_another_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="exclude each other"):
        Settings(store=NOBODY, state_dir=tmp_path)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cams_mcp.store.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ConfigurationError, match=r"Install cams-mcp\[redis\]"):
        open_store(NOBODY, None)


def test_the_library_is_imported_only_if_it_is_asked_for() -> None:
    code = (
        "import sys; from cams_mcp.app import store_of; from cams_mcp.settings import Settings; "
        "store_of(Settings(sandbox=True)); print('redis' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "False\n"


# The command line


def test_the_trail_and_the_jobs_are_shown_and_the_doctor_is_content(redis: RedisServer, tmp_path: Path) -> None:
    with closing(RedisStore(redis.url)) as store:
        store.record("blocked", a_write(), "token", "a limit")
        job, _ = store.journal.start("/data/people.csv", {}, "binding", 30, 7)
    given = {"CAMS_MCP_STORE": redis.url}

    assert "a limit" in run_here(tmp_path, "audit", env=given).stdout
    assert job in run_here(tmp_path, "uploads", env=given).stdout
    checks = json.loads(run_here(tmp_path, "doctor", "--json", "--sandbox", env=given).stdout)
    assert {check["check"]: check["status"] for check in checks}["state"] == "ok"


def test_the_commands_say_that_redis_is_away_without_its_password(tmp_path: Path) -> None:
    given = {"CAMS_MCP_STORE": f"redis://:{PASSWORD}@127.0.0.1:1/0"}
    for command in ("audit", "uploads"):
        ended = run_here(tmp_path, command, env=given)
        assert ended.returncode == 1
        assert "is reachable at 127.0.0.1:1" in ended.stderr
        assert PASSWORD not in ended.stderr
    found = run_here(tmp_path, "doctor", "--sandbox", env=given).stdout
    assert "The store is unreachable" in found
    assert PASSWORD not in found


@pytest.mark.parametrize(("sessions", "asked"), [("auto", 0), ("off", 0), ("on", 1)])
async def test_a_legacy_client_is_asked_in_mid_call_only_where_it_has_a_session(
    redis: RedisServer, sessions: str, asked: int
) -> None:
    person = yes()
    with program("--legacy-sessions", sessions, env={"CAMS_MCP_STORE": redis.url}) as (_, url):
        async with Client(url, mode="legacy", elicitation_callback=person) as client:
            result = await client.call_tool(WRITE, VALID_ARGUMENTS[WRITE])

    assert len(person.asked) == asked
    assert result.structured_content["status"] == ("sent" if asked else "confirmation_required")


# Upload jobs


@pytest.fixture(params=["sqlite", "redis"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore]:
    url = "sqlite" if request.param == "sqlite" else request.getfixturevalue("redis").url
    with closing(open_store(url, tmp_path)) as store:
        yield store


def test_a_job_is_what_was_entered(any_store: BaseStore) -> None:
    journal = any_store.journal
    job, owner = journal.start("/data/people.csv", {"page_id": "1"}, "binding", 30, 7)
    journal.before(job, owner, 0, 10)
    journal.after(job, owner, 0, "sent", "R-1")
    journal.before(job, owner, 10, 10)
    journal.after(job, owner, 10, "refused", None)
    journal.before(job, owner, 10, 5)
    journal.end(job, owner, "stopped", "throttled")

    found = journal.job(job)
    assert found is not None
    assert (found.path, dict(found.arguments), found.binding) == ("/data/people.csv", {"page_id": "1"}, "binding")
    assert (found.total, found.write, found.state, found.reason) == (30, 7, "stopped", "throttled")
    assert [(each.first, each.count, each.state, each.request_id) for each in found.batches] == [
        (0, 10, "sent", "R-1"),
        (10, 5, "sending", None),
    ]
    assert found.sent == 10
    assert found.ambiguous == found.batches[1]
    assert journal.jobs() == [found]


def test_whoever_took_a_job_over_has_it_alone(any_store: BaseStore) -> None:
    journal = any_store.journal
    job, first = journal.start("/data/people.csv", {}, "binding", 30, 7)
    second = journal.take(job, (0, 0), 8, approved=True)

    with pytest.raises(NotConfirmed, match="took over this upload"):
        journal.before(job, first, 0, 10)
    journal.end(job, first, "stopped", "not mine any more")
    journal.before(job, second, 0, 10)
    found = journal.job(job)
    assert found is not None
    assert (found.state, found.reason, len(found.batches)) == ("running", "", 1)


def test_jobs_come_newest_first_and_an_unknown_one_is_none(any_store: BaseStore) -> None:
    journal = any_store.journal
    assert journal.jobs() == []
    jobs = [journal.start("/data/people.csv", {}, "binding", number, 7)[0] for number in range(3)]

    assert [job.id for job in journal.jobs()] == jobs[::-1]
    assert journal.job("unknown") is None
    journal.after("unknown", "nobody", 0, "sent", None)
    journal.end("unknown", "nobody", "done", "")
    with pytest.raises(NotConfirmed):
        journal.take("unknown", (0, 0), 8, approved=True)
    assert journal.job("unknown") is None
    with pytest.raises(NotConfirmed):
        journal.before("unknown", "nobody", 0, 1)
