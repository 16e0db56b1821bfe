"""Atomic steps in Redis, over one connection pool.

A step reads under WATCH and writes in one MULTI/EXEC. If another host or process changed anything that it read, the
step starts over. The rules therefore stay in Python and serve both SQLite and Redis; Lua would need a second copy.

The client is synchronous although the server is asynchronous. SQLite requires the guard to run every step in a worker
thread, to completion even if the call is cancelled. Redis uses the same interface, so no step can be cut short.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
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
"""A socket timeout of 0 means non-blocking mode, which fails with a different error than a timeout."""

SALT = "salt"

T = TypeVar("T")


class _DeadlineMixin:
    """Bounds all socket waits by the step's deadline. redis-py would restart its timeout with every reply."""

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


class _PlainConnection(_DeadlineMixin, Connection):
    pass


class _TlsConnection(_DeadlineMixin, SSLConnection):
    pass


class RedisDatabase:
    """Connects on first use and reconnects after outages. Safe to use from several threads, processes and hosts.

    Args:
        url: redis:// or rediss://, already validated.
        now: seconds since 1970, UTC. Defaults to Redis's clock, which all hosts share.
    """

    def __init__(self, url: str, now: Callable[[], float] | None = None) -> None:
        parts = urlsplit(url)
        self._place = f"{parts.hostname}:{parts.port or 6379}"
        self._now = now
        # No automatic retries: if the reply to a step is lost, Redis may already have applied it.
        self._client: Any = cast("Any", Redis).from_url(  # redis-py's types are incomplete
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
        """Run one step. Restarts `work` if another step changes what it read.

        Raises:
            StoreError: Redis does not respond in time, returns an error, or other steps interfere until the deadline.
        """
        deadline = step_deadline()
        try:
            with until(deadline):
                while True:
                    try:
                        return self._try(work)
                    except WatchError as error:
                        # redis-py also raises WatchError if the connection breaks. The step may have been applied then.
                        if isinstance(error.__context__, RedisError | OSError):
                            raise error.__context__ from None
                        if not seconds_until(deadline):
                            raise busy() from None
        except (RedisError, OSError) as error:
            # Don't repeat the error message: it may contain the data being written.
            raise StoreError(
                f"The record of approvals and writes is unavailable ({type(error).__name__} from Redis). The server "
                "sends no writes without it.",
                hint=f"Check that the Redis of --store is reachable at {self._place}. Reads still work, and writes "
                "work again as soon as Redis responds.",
            ) from None

    def _try(self, work: Callable[[Transaction], T]) -> T:
        with self._client.pipeline(transaction=True) as pipe:
            transaction = Transaction(pipe, self._now)
            result = work(transaction)
            transaction.commit()
            return result


class Transaction:
    """The reads and writes of one step. Callers pass keys without the prefix.

    Attributes:
        salt: for the digests.
        now: start of the step, seconds since 1970, UTC.
    """

    def __init__(self, pipe: Any, now: Callable[[], float] | None) -> None:
        self._pipe = pipe
        self._clock = now
        self._writes: list[tuple[Any, ...]] = []
        self.salt = self._salt()
        self.now = self.time()

    def time(self) -> float:
        """The current time, which may be later than `now`."""
        if self._clock is not None:
            return self._clock()
        seconds, micros = self._pipe.time()
        return seconds + micros / 1e6

    def read(self, command: str, key: str, *arguments: Any) -> Any:
        """Read a value. The step starts over if it changes before the step ends."""
        self._pipe.watch(PREFIX + key)
        return self.peek(command, key, *arguments)

    def read_texts(self, keys: Sequence[str]) -> list[str | None]:
        """`read` the text at each of these keys, with two commands for all of them."""
        if not keys:
            return []
        names = [PREFIX + key for key in keys]
        self._pipe.watch(*names)
        return self._pipe.execute_command("MGET", *names)

    def peek(self, command: str, key: str, *arguments: Any) -> Any:
        """Read a value that may change during the step."""
        return self._pipe.execute_command(command, PREFIX + key, *arguments)

    def count(self, key: str) -> int:
        """Take the next number immediately. If the step starts over, the number stays unused."""
        return int(self._pipe.execute_command("INCR", PREFIX + key))

    def write(self, command: str, key: str, *arguments: Any) -> None:
        """Queue a change for the end of the step."""
        self._writes.append((command, PREFIX + key, *arguments))

    def commit(self) -> None:
        if not self._writes:
            return
        self._pipe.multi()
        for command in self._writes:
            self._pipe.execute_command(*command)
        self._pipe.execute()

    def _salt(self) -> bytes:
        """Every step reads the salt, because a Redis that lost its data gets a new one from the next step."""
        found = self.read("GET", SALT)
        if found is None:
            self.peek("SET", SALT, secrets.token_hex(32), "NX")
            found = self.read("GET", SALT)
        return bytes.fromhex(found)
