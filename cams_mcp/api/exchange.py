"""One HTTP attempt of a call: track its progress, read a bounded response, and describe failures.

Progress decides what a failed write means: until httpx starts to send the request's headers, nothing was sent.
"""

from __future__ import annotations

import logging
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Literal

import anyio
import httpx

from cams_mcp import __version__
from cams_mcp.api.responses import Answer
from cams_mcp.errors import (
    CamsError,
    CamsMcpError,
    ConfigurationError,
    ConnectionFailed,
    MalformedAnswer,
    MissingCredentials,
    NotNow,
)
from cams_mcp.redaction import identifier, scrub

ENCODINGS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16}
"""Supported content encodings and their zlib window bits."""

MAX_MEMBERS = 1_000
"""Members in one gzip stream. Even an empty member takes time; block-wise writers need 256 of them for 16 MB."""

MAX_IDLE_CONNECTIONS = 20

BROKEN = (
    httpx.HTTPError,
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
"""Exceptions from a broken connection. httpx wraps most of them, but not every error from TLS or the event loop."""

_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(slots=True)
class Progress:
    """How far a call got.

    Attributes:
        action: the operation.
        host: the destination.
        attempts: the number of attempts, including the current one.
        stage: what the current attempt is waiting for: a slot, the access key, a connection, or the response.
        request_id: from the response that is being read.
        failure: the error of the previous attempt.
    """

    action: str
    host: str
    attempts: int = 0
    stage: Literal["slot", "key", "connection", "answer"] = "slot"
    request_id: str | None = None
    failure: CamsError | None = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note when httpx starts to send the request (its `trace` extension). A CONNECT only opens a proxy tunnel."""
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self.stage = "answer"

    def timed_out(self, seconds: float) -> CamsMcpError:
        """The error for a call or an attempt that timed out after `seconds`."""
        match self.stage:
            case "slot":
                no_slot = NotNow(
                    f"Nothing was sent: the call waited {seconds:g} s for a slot.", hint="Try again later."
                )
                return self.failure or no_slot
            case "key":
                return no_key_in_time(seconds)
            case "connection":
                return self.not_connected("timed out")
            case "answer":
                return self._broken(f"{self.host} did not respond within {seconds:g} s.")

    def connection_broke(self, error: Exception, seconds: float) -> ConnectionFailed:
        """The error for one of `BROKEN`."""
        is_timeout = isinstance(error, httpx.TimeoutException | TimeoutError)
        if self.stage != "answer" or isinstance(error, _NOT_CONNECTED):
            return self.not_connected("timed out" if is_timeout else scrub(str(error)) or "connection failed")
        if is_timeout:
            return self._broken(f"{self.host} did not respond within {seconds:g} s.")
        return self._broken(f"the connection to {self.host} broke before the response was complete.")

    def not_connected(self, reason: str) -> ConnectionFailed:
        return ConnectionFailed(
            f"cannot connect to {self.host} ({reason}). Nothing was sent.",
            action=self.action,
            not_executed=True,
            hint="If your network inspects TLS, set SSL_CERT_FILE to its CA bundle."
            if "CERTIFICATE" in reason.upper()
            else "Check the network, --endpoint and --region, and the proxy settings (HTTPS_PROXY, NO_PROXY).",
        )

    def _broken(self, message: str) -> ConnectionFailed:
        hint = "Try again later. If the error persists, check the network."
        return ConnectionFailed(message, action=self.action, request_id=self.request_id, hint=hint)


def no_key_in_time(seconds: float) -> MissingCredentials:
    return MissingCredentials(
        f"Nothing was sent: the credential chain returned no access key within {seconds:g} s.",
        hint="Check its sources: ALIBABA_CLOUD_CREDENTIALS_URI, OIDC, or the ECS instance role.",
    )


def http_clients(
    transport: httpx.AsyncBaseTransport | None, timeout: float
) -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
    """Create the HTTP client for reads and the one for writes; see `CamsClient`. A given `transport` serves both.

    A kept-alive connection may hold bytes that the server sent after its last response, and httpx would read them as
    the response to the next request. Writes therefore never share a connection with another request.

    Raises:
        ConfigurationError: the proxy or CA bundle from the environment cannot be used.
    """
    # httpx logs full URLs at INFO.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        if transport:
            given = _http_client(timeout, transport=transport, event_hooks={"request": [_mark_sent]})
            return given, given
        # Both clients share the context, because loading the CA bundle takes most of the time.
        ssl_context = httpx.create_ssl_context()
        return _network_client(timeout, ssl_context, idle=MAX_IDLE_CONNECTIONS), _network_client(
            timeout, ssl_context, idle=0
        )
    except OSError:
        raise ConfigurationError(
            "Cannot read the CA bundle that SSL_CERT_FILE or SSL_CERT_DIR names.",
            hint="Set SSL_CERT_FILE to a file with PEM certificates, or unset it.",
        ) from None
    except (ImportError, ValueError, httpx.InvalidURL):
        # Don't repeat the error message: a proxy URL may contain a password.
        raise ConfigurationError(
            "The proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names cannot be used.",
            hint="Use a URL like http://proxy.example.com:8080, or unset it. SOCKS requires the package socksio.",
        ) from None


def _network_client(timeout: float, ssl_context: ssl.SSLContext, *, idle: int) -> httpx.AsyncClient:
    # No connection limit: calls wait for a slot in the throttle, never for a connection inside httpx.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=idle)
    return _http_client(timeout, verify=ssl_context, limits=limits)


def _http_client(timeout: float, event_hooks: Mapping[str, list[Any]] | None = None, **more: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        # httpx leaks the socket if a TLS handshake is cancelled, so its own timeout must fire first.
        timeout=httpx.Timeout(timeout, connect=0.9 * timeout),
        headers={
            "user-agent": f"cams-mcp/{__version__}",
            "accept": "application/json",
            "accept-encoding": "gzip",
        },
        # Store no cookies: nothing from a response may be sent with the next request.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        event_hooks={"response": [_drop_location], **(event_hooks or {})},
        **more,
    )


async def _mark_sent(request: httpx.Request) -> None:
    """Mark the request as sent, because a custom transport may not emit the trace events of httpx's own."""
    await request.extensions["trace"]("transport.send_request_headers.started", {"request": request})


async def _drop_location(response: httpx.Response) -> None:
    """Drop the redirect target. httpx parses it even though redirects are disabled, and some values crash it."""
    response.headers.pop("location", None)


async def exchange(
    http: httpx.AsyncClient, request: httpx.Request, auth: httpx.Auth, progress: Progress, *, max_bytes: int
) -> Answer:
    """Send a request and read the response.

    Raises:
        MalformedAnswer: the response is too large or cannot be decompressed.
        BROKEN: the connection failed or broke.
    """
    progress.request_id = None
    request.extensions = {**request.extensions, "trace": progress.trace}
    response = await http.send(request, auth=auth, stream=True)
    progress.request_id = identifier(response.headers.get("x-acs-request-id"))
    try:
        body = await _read(response, max_bytes)
    except _Unreadable as unreadable:
        raise MalformedAnswer(
            unreadable.message,
            action=progress.action,
            request_id=progress.request_id,
            http_status=response.status_code,
            hint=unreadable.hint,
        ) from None
    finally:
        # Closes the connection if data remains, which must not be read as the next response.
        await response.aclose()
    return Answer(response.status_code, dict(response.headers), body)


class _Unreadable(Exception):
    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


async def _read(response: httpx.Response, limit: int) -> bytes:
    """Read and decompress the body in bounded steps. httpx would inflate whole chunks, up to a thousandfold."""
    decompressor = _decompressor(response)
    body = bytearray()
    received = 0
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for chunk in response.stream:
        received += len(chunk)
        try:
            body += decompressor.decompress(chunk, limit - len(body) + 1) if decompressor else chunk
        except zlib.error:
            raise _Unreadable("the response's compression is corrupt.") from None
        if max(received, len(body)) > limit:
            raise _Unreadable(f"the response is larger than {limit:,} bytes.", "Request smaller pages.")
    if decompressor and received and not decompressor.complete:
        raise _Unreadable("the response's compression is corrupt.")
    return bytes(body)


class _Decompressor:
    """Decompresses gzip in bounded steps: one or more members, each optionally followed by zero padding."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._member = zlib.decompressobj(wbits)
        self._members = 1

    @property
    def complete(self) -> bool:
        """Whether the last member has ended."""
        return self._member.eof

    def decompress(self, chunk: bytes, limit: int) -> bytes:
        """Return up to `limit` bytes. Raises zlib.error if the input is not gzip."""
        output = b""
        while len(output) < limit:
            if self._member.eof:
                chunk = chunk.lstrip(b"\0")
                if chunk:
                    self._start_member()
            if not chunk:
                break
            output += self._member.decompress(chunk, limit - len(output))
            chunk = self._member.unused_data
        return output

    def _start_member(self) -> None:
        if self._members == MAX_MEMBERS:
            raise zlib.error
        self._members += 1
        self._member = zlib.decompressobj(self._wbits)


def _decompressor(response: httpx.Response) -> _Decompressor | None:
    """The decompressor for this response, or None if it is not compressed."""
    named = response.headers.get_list("content-encoding", split_commas=True)
    encodings = [name.strip().lower() for name in named if name.strip().lower() not in ("", "identity")]
    if not encodings:
        return None
    if len(encodings) > 1 or encodings[0] not in ENCODINGS:
        raise _Unreadable("the response uses a compression other than gzip, or more than one.")
    return _Decompressor(ENCODINGS[encodings[0]])
