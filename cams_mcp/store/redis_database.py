"""Redis as what a store is kept in: one connection pool, used in steps that are whole or not at all.

A step reads under WATCH and writes in one MULTI/EXEC: if anything it read has changed meanwhile, on whatever host, it
begins anew. So the rules stay in Python, one text for SQLite and Redis, where Lua would need them a second time.

The client is the synchronous one, although the server is asynchronous: the guard runs every step in a worker thread,
to its end even if the call is cancelled, because SQLite needs that. One interface serves both, and no step can be cut
in its middle.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from redis import Connection, Redis, SSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, WatchError
from redis.retry import Retry

from cams_mcp.deadlines import STEP_SECONDS, busy, seconds_until, step_deadline, until
from cams_mcp.errors import StoreError

PREFIX = "cams-mcp:"
CONNECT_SECONDS = 1.0

LEAST_SECONDS = 0.001
"""A socket with a timeout of 0 would not wait at all, and fail in another way than one that waited too long."""

SALT = "salt"

T = TypeVar("T")


class _Punctual:
    """A connection that waits until the step's deadline only, where redis-py would begin anew with each answer."""

    _sock: Any

    def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        self._set_timeout()
        cast("Any", super()).send_packed_command(*arguments, **options)

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        self._set_timeout()
        return cast("Any", super()).read_response(*arguments, **options)

    def _set_timeout(self) -> None:
        if self._sock is not None:
            self._sock.settimeout(max(LEAST_SECONDS, seconds_until(step_deadline())))


class _PlainConnection(_Punctual, Connection):
    pass


class _TlsConnection(_Punctual, SSLConnection):
    pass


class RedisDatabase:
    """Connects at first use, and again whenever Redis is back. Safe for several threads, processes and hosts.

    Args:
        url: redis:// or rediss://, checked already.
        now: seconds since 1970, UTC; without it Redis's own clock, the one clock that all hosts share.
    """

    def __init__(self, url: str, now: Callable[[], float] | None = None) -> None:
        parts = urlsplit(url)
        self._place = f"{parts.hostname}:{parts.port or 6379}"
        self._now = now
        # Nothing is tried again on its own: of a step whose answer was lost, nobody knows whether it was made.
        self._client: Any = cast("Any", Redis).from_url(  # its types are incomplete
            url,
            connection_class=_TlsConnection if parts.scheme == "rediss" else _PlainConnection,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=STEP_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            protocol=2,
        )

    def close(self) -> None:
        self._client.close()

    def run(self, work: Callable[[Transaction], T]) -> T:
        """One step. `work` is run again if another step came between.

        Raises:
            StoreError: Redis does not answer in time, or not as it should, or other steps always came first.
        """
        deadline = step_deadline()
        try:
            with until(deadline):
                while True:
                    try:
                        return self._try(work)
                    except WatchError as error:
                        # redis-py says the same when the connection breaks: then the step may have been made.
                        if isinstance(error.__context__, RedisError | OSError):
                            raise error.__context__ from None
                        if not seconds_until(deadline):
                            raise busy() from None
        except (RedisError, OSError) as error:
            # Its text may hold what was being written.
            raise StoreError(
                f"The record of approvals and writes cannot be kept ({type(error).__name__} of Redis); "
                "no write goes out without it.",
                hint=f"Check that the Redis of --store answers at {self._place}. Reads are not affected. Writes "
                "work again as soon as it answers.",
            ) from None

    def _try(self, work: Callable[[Transaction], T]) -> T:
        with self._client.pipeline(transaction=True) as pipe:
            transaction = Transaction(pipe, self._now)
            result = work(transaction)
            transaction.commit()
            return result


class Transaction:
    """What one step reads and writes. Keys are given without their prefix.

    Attributes:
        salt: of the digests.
        now: when the step began, seconds since 1970, UTC.
    """

    def __init__(self, pipe: Any, now: Callable[[], float] | None) -> None:
        self._pipe = pipe
        self._clock = now
        self._writes: list[tuple[Any, ...]] = []
        self.salt = self._salt()
        self.now = self.time()

    def time(self) -> float:
        """The time now; `now` is that of the step's beginning."""
        if self._clock is not None:
            return self._clock()
        seconds, micros = self._pipe.time()
        return seconds + micros / 1e6

    def read(self, command: str, key: str, *arguments: Any) -> Any:
        """Read what must not change until the end of the step."""
        self._pipe.watch(PREFIX + key)
        return self.peek(command, key, *arguments)

    def peek(self, command: str, key: str, *arguments: Any) -> Any:
        """Read what may change meanwhile."""
        return self._pipe.execute_command(command, PREFIX + key, *arguments)

    def count(self, key: str) -> int:
        """The next number, at once. Numbers of steps that are not made stay unused."""
        return int(self._pipe.execute_command("INCR", PREFIX + key))

    def write(self, command: str, key: str, *arguments: Any) -> None:
        """Change something at the end of the step."""
        self._writes.append((command, PREFIX + key, *arguments))

    def commit(self) -> None:
        if not self._writes:
            return
        self._pipe.multi()
        for command in self._writes:
            self._pipe.execute_command(*command)
        self._pipe.execute()

    def _salt(self) -> bytes:
        """Made by whoever comes first. It is read in every step, because a Redis that lost it gets another one."""
        found = self.read("GET", SALT)
        if found is None:
            self.peek("SET", SALT, secrets.token_hex(32), "NX")
            found = self.read("GET", SALT)
        return bytes.fromhex(found)
