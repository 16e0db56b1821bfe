"""`CamsClient.call`: one operation, signed, sent, retried where that is safe, its answer parsed or its error raised."""

from __future__ import annotations

import datetime as dt
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Literal, Self

import anyio
import httpx

from cams_mcp.api.credentials import CredentialSource, ExplicitKey
from cams_mcp.api.endpoint import Endpoint
from cams_mcp.api.exchange import BROKEN, Progress, exchange, http_clients, no_key_in_time
from cams_mcp.api.outcome import is_uncertain
from cams_mcp.api.responses import Answer, read_answer
from cams_mcp.api.signing import ACS3Auth, encode_form
from cams_mcp.api.throttle import LONGEST_WAIT_SECONDS
from cams_mcp.api.tracing import cams_span
from cams_mcp.errors import (
    AmbiguousWrite,
    CamsError,
    CamsMcpError,
    ConnectionFailed,
    InvalidArguments,
    Throttled,
)
from cams_mcp.models import AnyOperation, Operation, Request, RequestT, ResponseT
from cams_mcp.settings import Settings

API_VERSION = "2020-06-06"
FORM = "application/x-www-form-urlencoded"
FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 20.0
"""Seconds. A service that asks for a longer wait gets no retry; its wait goes into the error."""

LONGEST_ADDRESS = 65_000
"""Bytes. httpx takes no longer URL; proxies stop far below it."""

_HOW_TO_FIND_OUT = (
    "Do not send it again on your own. Tell the user, and compare token_total of the audience (list_custom_audience) "
    "with its value before; Meta may take up to a day to count."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How to talk to CAMS.

    Attributes:
        users_in: where the parameters a request marks for the body go. "query" is for gateways that refuse a body.
        timeout: seconds that an attempt may take, from the access key to the last byte of the answer.
        retries: further attempts after the first.
        max_answer_bytes: larger answers are refused, unpacked or not.
    """

    users_in: Literal["body", "query"] = Settings.users_in
    timeout: float = Settings.timeout
    retries: int = Settings.retries
    max_answer_bytes: int = 16 * 1024 * 1024

    @property
    def longest_call(self) -> float:
        """Seconds after which a call has ended: all attempts, the waits between them, and one for its turn."""
        return (self.retries + 1) * self.timeout + self.retries * LONGEST_BACKOFF + LONGEST_WAIT_SECONDS


class CamsClient:
    """A client for one endpoint. Use it as an async context manager.

    Reads share a pool of connections. Each attempt of a write opens a connection of its own and closes it afterwards.

    Args:
        endpoint: where CAMS answers.
        credentials: gives the access key, awaited for every attempt.
        options: timeouts, retries, limits.
        transport: for tests and the embedded sandbox; None is the network, with proxies (HTTPS_PROXY, NO_PROXY) and
            CA bundles (SSL_CERT_FILE, SSL_CERT_DIR) as the environment says.
        upstream: opened around each attempt, to limit them.
        now, sleep, jitter, nonce: the clock (UTC), the wait (seconds), a number in [0, 1), a fresh text.

    Raises:
        ConfigurationError: the environment's proxy or CA bundle cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: CredentialSource,
        options: ClientOptions | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        upstream: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        jitter: Callable[[], float] = random.random,
        nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._options = options or ClientOptions()
        self._endpoint = endpoint
        self._credentials = credentials
        self._upstream = upstream
        self._now = now
        self._sleep = sleep
        self._jitter = jitter
        self._nonce = nonce
        self._reads, self._writes = http_clients(transport, self._options.timeout)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for http in {self._reads, self._writes}:
            await self._open.enter_async_context(http)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.__aexit__(kind, error, traceback)

    @property
    def longest_call(self) -> float:
        """Seconds after which a call has ended, whatever happens; see `ClientOptions`."""
        return self._options.longest_call

    async def call(self, operation: Operation[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Run one operation, within `longest_call` seconds.

        A read is tried again after connection faults, 5xx, time-outs and throttling. A write only when it was certainly
        not executed: the connection was never made, or the service answered that it throttled it.

        Raises:
            ServiceError: CAMS refused (PermissionDenied, Throttled, ClockSkew are kinds of it).
            ProxyAnswer, MalformedAnswer, ConnectionFailed: see `cams_mcp.errors`.
            AmbiguousWrite: a write may have been applied.
            MissingCredentials: no access key; nothing was sent.
            NotNow: the call got no turn; nothing was sent.
        """
        progress = Progress(operation.action, self._endpoint.authority)
        try:
            with cams_span(operation.action, self._endpoint.authority) as span:
                response = await self._call_in_time(operation, request, progress)
                span.set_attributes({"cams.attempts": progress.attempts, "cams.request_id": response.request_id or ""})
                return response
        except CamsMcpError:
            raise
        except Exception as error:
            if not operation.writes or progress.stage != "answer":
                raise
            # A defect of ours must not hide that a write went out.
            logger.exception("%s: failed after the request was sent", operation.action)
            raise _defect(progress) from error

    async def _call_in_time(
        self, operation: Operation[RequestT, ResponseT], request: RequestT, progress: Progress
    ) -> ResponseT:
        with anyio.move_on_after(self.longest_call):
            return await self._call(operation, request, progress)
        raise _told(operation, progress.too_late(self.longest_call), progress)

    async def _call(
        self, operation: Operation[RequestT, ResponseT], request: RequestT, progress: Progress
    ) -> ResponseT:
        while True:
            try:
                return await self._attempt(operation, request, progress)
            except CamsError as error:
                told = _told(operation, error, progress)
                if told is not error:
                    raise told from error
                delay = self._delay_before_retry(error, progress.attempts)
                if delay is None:
                    raise
                progress.failure, progress.stage = error, "turn"
                logger.info("%s: attempt %d failed, next in %.1f s", operation.action, progress.attempts, delay)
            await self._sleep(delay)

    async def identity(self) -> str:
        """The endpoint and the access key that calls are made with, as approvals are bound to them."""
        with anyio.move_on_after(self._options.timeout):
            key = await self._credentials()
            return f"{self._endpoint.url} {key.identity}"
        raise no_key_in_time(self._options.timeout)

    def _delay_before_retry(self, error: CamsError, attempt: int) -> float | None:
        if attempt > self._options.retries or not _is_passing(error):
            return None
        delay = min(FIRST_BACKOFF * 2 ** (attempt - 1), LONGEST_BACKOFF) * (0.5 + self._jitter() / 2)
        asked = error.retry_after if isinstance(error, Throttled) else None
        if asked is None:
            return delay
        return None if asked > LONGEST_BACKOFF else max(asked, delay)

    async def _attempt(
        self, operation: Operation[RequestT, ResponseT], request: RequestT, progress: Progress
    ) -> ResponseT:
        progress.attempts += 1
        built = self._build(operation.action, request)
        async with self._upstream():
            signed_at = self._now()
            answer = await self._answer(self._writes if operation.writes else self._reads, built, progress)
        logger.debug("%s: HTTP %d, %d bytes", operation.action, answer.status, len(answer.body))
        return read_answer(operation, answer, signed_at=signed_at)

    async def _answer(self, http: httpx.AsyncClient, request: httpx.Request, progress: Progress) -> Answer:
        seconds, most_bytes = self._options.timeout, self._options.max_answer_bytes
        with anyio.move_on_after(seconds):
            progress.stage = "key"
            auth = ACS3Auth(ExplicitKey(await self._credentials()), now=self._now, nonce=self._nonce)
            progress.stage = "connection"
            try:
                return await exchange(http, request, auth, progress, most_bytes=most_bytes)
            except BROKEN as error:
                raise progress.broke(error, seconds) from error
        raise progress.too_late(seconds)

    def _build(self, action: str, request: Request) -> httpx.Request:
        parameters = request.parameters()
        in_body = request.in_body if self._options.users_in == "body" else frozenset[str]()
        body = {name: value for name, value in parameters.items() if name in in_body}
        query = {name: value for name, value in parameters.items() if name not in in_body}
        # The raw path is taken as it is: what is signed must be what is sent.
        raw_path = f"/?{encode_form(query)}".encode("ascii")
        if len(raw_path) > LONGEST_ADDRESS:
            raise InvalidArguments(
                action, ["users: too many for a request's address; send fewer users in a call, or use --users-in body"]
            )
        url = httpx.URL(self._endpoint.url).copy_with(raw_path=raw_path)
        headers = {"x-acs-action": action, "x-acs-version": API_VERSION}
        if body:
            headers["content-type"] = FORM
        return self._reads.build_request("POST", url, headers=headers, content=encode_form(body).encode("ascii"))


def _is_passing(error: CamsError) -> bool:
    """Whether a later attempt may fare better."""
    if isinstance(error, ConnectionFailed | Throttled) or is_uncertain(error.code):
        return True
    status = error.http_status or 0
    return status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _told(operation: AnyOperation, error: CamsMcpError, progress: Progress) -> CamsMcpError:
    """The error as the caller hears it: a failed write is ambiguous unless it is certain that it was not executed."""
    if not isinstance(error, CamsError):
        return error
    error.attempts = progress.attempts
    if not operation.writes or error.not_executed:
        return error
    return AmbiguousWrite(
        f"the request went out, but no clear answer came back: {error.message} It may have been applied.",
        action=error.action,
        code=error.code,
        request_id=error.request_id,
        http_status=error.http_status,
        attempts=error.attempts,
        hint=_HOW_TO_FIND_OUT,
    )


def _defect(progress: Progress) -> AmbiguousWrite:
    return AmbiguousWrite(
        "the request went out, but cams-mcp itself failed before it had read the answer. It may have been applied.",
        action=progress.action,
        request_id=progress.request_id,
        attempts=progress.attempts,
        hint=_HOW_TO_FIND_OUT,
    )
