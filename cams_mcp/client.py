"""`CamsClient.call`: one operation, signed, sent, retried where that is safe, its answer parsed or its error raised."""

from __future__ import annotations

import datetime as dt
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import anyio
import httpx

from cams_mcp import __version__
from cams_mcp.answers import Answer, read_answer
from cams_mcp.credentials import CredentialSource
from cams_mcp.endpoint import Endpoint
from cams_mcp.errors import (
    UNDECIDED_CODES,
    AmbiguousWrite,
    CamsError,
    ConfigurationError,
    ConnectionFailed,
    InvalidArguments,
    MalformedAnswer,
    ProxyAnswer,
    Throttled,
)
from cams_mcp.models import Operation, Request, RequestT, ResponseT
from cams_mcp.redaction import scrub
from cams_mcp.signing import ACS3Auth, encode_form
from cams_mcp.telemetry import cams_span

API_VERSION = "2020-06-06"
FORM = "application/x-www-form-urlencoded"
FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 20.0
"""Seconds. A service that asks for a longer wait gets no retry; its wait goes into the error."""

LONGEST_ADDRESS = 65_000
"""Bytes. httpx takes no longer URL; proxies stop far below it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How to talk to CAMS.

    Attributes:
        users_in: where the parameters a request marks for the body go. "query" is for gateways that refuse a body.
        timeout: seconds to wait for a connection, and for each part of an answer.
        retries: further attempts after the first.
        max_answer_bytes: larger answers are refused.
    """

    users_in: Literal["body", "query"] = "body"
    timeout: float = 30.0
    retries: int = 2
    max_answer_bytes: int = 16 * 1024 * 1024


class CamsClient:
    """A pooled client for one endpoint. Use it as an async context manager.

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
        nonce: Callable[[], str] | None = None,
    ) -> None:
        self._options = options or ClientOptions()
        self._endpoint = endpoint
        self._credentials = credentials
        self._upstream = upstream
        self._now = now
        self._sleep = sleep
        self._jitter = jitter
        # httpx logs whole URLs at INFO.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        try:
            self._http = httpx.AsyncClient(
                transport=transport,
                auth=ACS3Auth(credentials, now=now, **({"nonce": nonce} if nonce else {})),
                timeout=self._options.timeout,
                headers={"user-agent": f"cams-mcp/{__version__}", "accept": "application/json"},
            )
        except OSError:
            raise ConfigurationError(
                "The CA bundle of the environment (SSL_CERT_FILE, SSL_CERT_DIR) cannot be read.",
                hint="Set SSL_CERT_FILE to a file of PEM certificates, or unset it.",
            ) from None
        except (ImportError, ValueError, httpx.InvalidURL):
            # Not the error's text: a proxy's address can hold a password.
            raise ConfigurationError(
                "A proxy of the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) cannot be used.",
                hint="Use a URL like http://proxy.example.com:8080, or unset it. SOCKS needs the package socksio.",
            ) from None

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def call(self, operation: Operation[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Run one operation.

        A read is tried again after connection faults, 5xx and throttling. A write only when it cannot have been
        executed: the connection was never made, or the service answered that it throttled it.

        Raises:
            ServiceError: CAMS refused (PermissionDenied, Throttled, ClockSkew are kinds of it).
            ProxyAnswer, MalformedAnswer, ConnectionFailed: see `cams_mcp.errors`.
            AmbiguousWrite: a write may have been applied.
            MissingCredentials: no access key; nothing was sent.
        """
        with cams_span(operation.action, self._endpoint.authority) as span:
            response, attempts = await self._call(operation, request)
            span.set_attributes({"cams.attempts": attempts, "cams.request_id": response.request_id or ""})
            return response

    async def _call(self, operation: Operation[RequestT, ResponseT], request: RequestT) -> tuple[ResponseT, int]:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(operation, request), attempt
            except CamsError as error:
                error.attempts = attempt
                if operation.writes and _may_have_been_applied(error):
                    raise _ambiguous(error) from error
                delay = self._delay_before_retry(error, attempt)
                if delay is None:
                    raise
                logger.info("%s: attempt %d failed, next in %.1f s", operation.action, attempt, delay)
            await self._sleep(delay)

    async def identity(self) -> str:
        """The endpoint and the access key that calls are made with, as approvals are bound to them."""
        key = await self._credentials()
        return f"{self._endpoint.url} {key.identity}"

    def _delay_before_retry(self, error: CamsError, attempt: int) -> float | None:
        if attempt > self._options.retries or not _is_passing(error):
            return None
        delay = min(FIRST_BACKOFF * 2 ** (attempt - 1), LONGEST_BACKOFF) * (0.5 + self._jitter() / 2)
        asked = error.retry_after if isinstance(error, Throttled) else None
        if asked is None:
            return delay
        return None if asked > LONGEST_BACKOFF else max(asked, delay)

    async def _attempt(self, operation: Operation[RequestT, ResponseT], request: RequestT) -> ResponseT:
        async with self._upstream():
            signed_at = self._now()
            answer = await self._exchange(operation.action, self._build(operation.action, request))
        logger.debug("%s: HTTP %d, %d bytes", operation.action, answer.status, len(answer.body))
        return read_answer(operation, answer, signed_at=signed_at)

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
        return self._http.build_request("POST", url, headers=headers, content=encode_form(body).encode("ascii"))

    async def _exchange(self, action: str, request: httpx.Request) -> Answer:
        host = self._endpoint.authority
        request_id: str | None = None
        try:
            response = await self._http.send(request, stream=True)
            request_id = response.headers.get("x-acs-request-id")
            try:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > self._options.max_answer_bytes:
                        raise MalformedAnswer(
                            f"the answer is larger than {self._options.max_answer_bytes:,} bytes and was refused.",
                            action=action,
                            request_id=request_id,
                            http_status=response.status_code,
                            hint="Ask for smaller pages.",
                        )
                return Answer(response.status_code, dict(response.headers), bytes(body))
            finally:
                await response.aclose()
        except httpx.DecodingError as error:
            raise MalformedAnswer(
                "the answer's compression is broken.", action=action, request_id=request_id
            ) from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise _not_connected(action, host, error) from error
        except httpx.TimeoutException as error:
            message = f"{host} did not answer within {self._options.timeout:g} s."
            raise _broken(action, message, request_id) from error
        except httpx.TransportError as error:
            message = f"the connection to {host} broke before the answer was complete."
            raise _broken(action, message, request_id) from error


def _not_connected(action: str, host: str, error: Exception) -> ConnectionFailed:
    reason = "timed out" if isinstance(error, httpx.TimeoutException) else scrub(str(error)) or "no connection"
    failed = ConnectionFailed(
        f"no connection to {host} ({reason}). Nothing was sent.",
        action=action,
        hint="Set SSL_CERT_FILE to the CA bundle of your network if it inspects TLS."
        if "CERTIFICATE" in reason.upper()
        else "Check the network, --endpoint and --region, and the proxy settings (HTTPS_PROXY, NO_PROXY).",
    )
    failed.sent = False
    return failed


def _broken(action: str, message: str, request_id: str | None) -> ConnectionFailed:
    failed = ConnectionFailed(
        message, action=action, request_id=request_id, hint="Call again later; check the network if it persists."
    )
    failed.sent = True
    return failed


def _is_passing(error: CamsError) -> bool:
    """Whether a later attempt may fare better."""
    if isinstance(error, ConnectionFailed | Throttled):
        return True
    return error.code in UNDECIDED_CODES or (error.http_status or 0) >= 500  # noqa: PLR2004


def _may_have_been_applied(error: CamsError) -> bool:
    """Whether the request may have been executed although no success came back."""
    if isinstance(error, Throttled):
        return False
    if isinstance(error, ConnectionFailed):
        return error.sent
    # A page in place of a success may stand for one; a proxy's refusal (3xx, 4xx) never reached CAMS.
    unreadable = isinstance(error, ProxyAnswer) and (error.http_status or 0) < 300  # noqa: PLR2004
    return unreadable or isinstance(error, MalformedAnswer) or _is_passing(error)


def _ambiguous(error: CamsError) -> AmbiguousWrite:
    return AmbiguousWrite(
        f"the request went out, but no clear answer came back: {error.message} It may have been applied.",
        action=error.action,
        code=error.code,
        request_id=error.request_id,
        http_status=error.http_status,
        attempts=error.attempts,
        hint=(
            "Do not send it again on your own. Tell the user, and compare token_total of the audience "
            "(list_custom_audience) with its value before; Meta may take up to a day to count."
        ),
    )
