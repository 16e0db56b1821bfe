"""`CamsClient.call` signs and sends one operation, retries it where that is safe, and parses the response."""

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
from cams_mcp.models import Request
from cams_mcp.operation import AnyOperation, Operation, RequestT, ResponseT
from cams_mcp.settings import Settings

API_VERSION = "2020-06-06"
FORM = "application/x-www-form-urlencoded"
FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 20.0
"""Seconds. If CAMS asks for a longer wait, the client doesn't retry and reports the wait in the error."""

LONGEST_URL = 65_000
"""Bytes. httpx rejects longer URLs; many proxies have a much lower limit."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How to talk to CAMS.

    Attributes:
        users_in: where to send the parameters that a request marks for the body. Use "query" for gateways that reject
            request bodies.
        timeout: time limit of one attempt in seconds, from the credential lookup to the last byte of the response.
        retries: further attempts after the first.
        max_answer_bytes: maximum size of a response, both compressed and decompressed. Larger responses are rejected.
    """

    users_in: Literal["body", "query"] = Settings.users_in
    timeout: float = Settings.timeout
    retries: int = Settings.retries
    max_answer_bytes: int = 16 * 1024 * 1024

    @property
    def longest_call(self) -> float:
        """Upper bound on a whole call in seconds: all attempts, the waits between them, and one wait for a slot."""
        return (self.retries + 1) * self.timeout + self.retries * LONGEST_BACKOFF + LONGEST_WAIT_SECONDS


class CamsClient:
    """A client for one endpoint. Use it as an async context manager.

    Reads share a connection pool. Each attempt of a write opens a new connection and closes it afterwards.

    Args:
        endpoint: the CAMS endpoint.
        credentials: returns the access key; called for every attempt.
        options: timeouts, retries, limits.
        transport: for tests and the embedded sandbox. None uses the network, with the proxies (HTTPS_PROXY, NO_PROXY)
            and CA bundle (SSL_CERT_FILE, SSL_CERT_DIR) from the environment.
        slot: a context manager entered for each attempt, to limit them; see `Throttle.slot`.
        now, sleep, jitter, nonce: the clock (UTC), the wait (seconds), a random number in [0, 1), a unique string.

    Raises:
        ConfigurationError: the proxy or CA bundle from the environment cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: CredentialSource,
        options: ClientOptions | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        slot: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        jitter: Callable[[], float] = random.random,
        nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._options = options or ClientOptions()
        self._endpoint = endpoint
        self._credentials = credentials
        self._slot = slot
        self._now = now
        self._sleep = sleep
        self._jitter = jitter
        self._nonce = nonce
        self._reads, self._writes = http_clients(transport, self._options.timeout)
        self._exit_stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for http in {self._reads, self._writes}:
            await self._exit_stack.enter_async_context(http)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exit_stack.__aexit__(kind, error, traceback)

    @property
    def longest_call(self) -> float:
        """Upper bound on a whole call in seconds, whatever happens; see `ClientOptions`."""
        return self._options.longest_call

    async def call(self, operation: Operation[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Run one operation, within `longest_call` seconds.

        The client retries reads after connection failures, 5xx responses, timeouts and throttling. It retries a write
        only if the write was certainly not executed: the connection was never established, or CAMS throttled it.

        Raises:
            ServiceError: CAMS returned an error code (PermissionDenied, Throttled and ClockSkew are subclasses).
            ProxyAnswer, MalformedAnswer, ConnectionFailed: see `cams_mcp.errors`.
            AmbiguousWrite: a write may have been applied.
            MissingCredentials: no access key was found. Nothing was sent.
            NotNow: the call timed out waiting for a slot. Nothing was sent.
        """
        progress = Progress(operation.action, self._endpoint.authority)
        try:
            with cams_span(operation.action, self._endpoint.authority) as span:
                response = await self._call_with_deadline(operation, request, progress)
                span.set_attributes({"cams.attempts": progress.attempts, "cams.request_id": response.request_id or ""})
                return response
        except CamsMcpError:
            raise
        except Exception as error:
            if not operation.writes or progress.stage != "answer":
                raise
            # A bug in cams-mcp must not hide that the write was sent.
            logger.exception("%s: failed after the request was sent", operation.action)
            raise _internal_error(operation, progress) from error

    async def _call_with_deadline(
        self, operation: Operation[RequestT, ResponseT], request: RequestT, progress: Progress
    ) -> ResponseT:
        with anyio.move_on_after(self.longest_call):
            return await self._call(operation, request, progress)
        raise _final_error(operation, progress.timed_out(self.longest_call), progress)

    async def _call(
        self, operation: Operation[RequestT, ResponseT], request: RequestT, progress: Progress
    ) -> ResponseT:
        while True:
            try:
                return await self._attempt(operation, request, progress)
            except CamsError as error:
                final = _final_error(operation, error, progress)
                if final is not error:
                    raise final from error
                delay = self._delay_before_retry(error, progress.attempts)
                if delay is None:
                    raise
                progress.failure, progress.stage = error, "slot"
                logger.info("%s: attempt %d failed, retrying in %.1f s", operation.action, progress.attempts, delay)
            await self._sleep(delay)

    async def identity(self) -> str:
        """The endpoint and access key of this client. Approvals are bound to them."""
        with anyio.move_on_after(self._options.timeout):
            key = await self._credentials()
            return f"{self._endpoint.url} {key.identity}"
        raise no_key_in_time(self._options.timeout)

    def _delay_before_retry(self, error: CamsError, attempt: int) -> float | None:
        if attempt > self._options.retries or not _is_transient(error):
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
        async with self._slot():
            signed_at = self._now()
            answer = await self._exchange(self._writes if operation.writes else self._reads, built, progress)
        logger.debug("%s: HTTP %d, %d bytes", operation.action, answer.status, len(answer.body))
        return read_answer(operation, answer, signed_at=signed_at)

    async def _exchange(self, http: httpx.AsyncClient, request: httpx.Request, progress: Progress) -> Answer:
        seconds, max_bytes = self._options.timeout, self._options.max_answer_bytes
        with anyio.move_on_after(seconds):
            progress.stage = "key"
            auth = ACS3Auth(ExplicitKey(await self._credentials()), now=self._now, nonce=self._nonce)
            progress.stage = "connection"
            try:
                return await exchange(http, request, auth, progress, max_bytes=max_bytes)
            except BROKEN as error:
                raise progress.connection_broke(error, seconds) from error
        raise progress.timed_out(seconds)

    def _build(self, action: str, request: Request) -> httpx.Request:
        parameters = request.parameters()
        in_body = request.in_body if self._options.users_in == "body" else frozenset[str]()
        body = {name: value for name, value in parameters.items() if name in in_body}
        query = {name: value for name, value in parameters.items() if name not in in_body}
        # Set the raw path so that httpx cannot re-encode it: the signature covers these exact bytes.
        raw_path = f"/?{encode_form(query)}".encode("ascii")
        if len(raw_path) > LONGEST_URL:
            names = ", ".join(name.lower() for name in sorted(request.in_body)) or "arguments"
            raise InvalidArguments(action, [f"{names}: too long for a URL; send less per call, or use --users-in body"])
        url = httpx.URL(self._endpoint.url).copy_with(raw_path=raw_path)
        headers = {"x-acs-action": action, "x-acs-version": API_VERSION}
        if body:
            headers["content-type"] = FORM
        return self._reads.build_request("POST", url, headers=headers, content=encode_form(body).encode("ascii"))


def _is_transient(error: CamsError) -> bool:
    """Whether a later attempt may succeed."""
    if isinstance(error, ConnectionFailed | Throttled) or is_uncertain(error.code):
        return True
    status = error.http_status or 0
    return status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _final_error(operation: AnyOperation, error: CamsMcpError, progress: Progress) -> CamsMcpError:
    """The error to raise. A failed write is ambiguous unless it was certainly not executed."""
    if not isinstance(error, CamsError):
        return error
    error.attempts = progress.attempts
    if not operation.writes or error.not_executed:
        return error
    return AmbiguousWrite(
        f"the request was sent, but its outcome is unknown: {error.message} It may have been applied.",
        action=error.action,
        code=error.code,
        request_id=error.request_id,
        http_status=error.http_status,
        attempts=error.attempts,
        hint=_how_to_find_out(operation),
    )


def _how_to_find_out(operation: AnyOperation) -> str:
    assert operation.effect is not None
    return f"Do not retry it yourself. Tell the user, and {operation.effect.how_to_check}."


def _internal_error(operation: AnyOperation, progress: Progress) -> AmbiguousWrite:
    return AmbiguousWrite(
        "the request was sent, but cams-mcp failed before it could read the response. It may have been applied.",
        action=progress.action,
        request_id=progress.request_id,
        attempts=progress.attempts,
        hint=_how_to_find_out(operation),
    )
