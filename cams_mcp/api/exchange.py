"""One attempt of a call over HTTP: how far it got, what came back within bounds, and what broke.

How far it got decides what a failed write means: until the request's headers go out, nothing was sent.
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
"""What an answer may be compressed with, and how zlib names it."""

MOST_MEMBERS = 1_000
"""Members of one gzip stream. Each costs time even if it is empty; writers of blocks need 256 for 16 MB."""

MOST_IDLE_CONNECTIONS = 20

BROKEN = (
    httpx.HTTPError,
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
"""What a broken connection raises. httpx maps most of it, but not every error of TLS and of the event loop."""

_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(slots=True)
class Progress:
    """How far a call got.

    Attributes:
        action: the operation.
        host: where it goes.
        attempts: how often it was tried, this time included.
        stage: of the present attempt: it waits for its turn, for the access key, for a connection, or for the answer.
        request_id: of the answer that is being read.
        failure: why the attempt before failed.
    """

    action: str
    host: str
    attempts: int = 0
    stage: Literal["turn", "key", "connection", "answer"] = "turn"
    request_id: str | None = None
    failure: CamsError | None = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Hear from httpx that the request goes out (its extension `trace`). A CONNECT asks a proxy for a tunnel."""
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self.stage = "answer"

    def too_late(self, seconds: float) -> CamsMcpError:
        """The error for a call or an attempt that has taken its time, `seconds`."""
        match self.stage:
            case "turn":
                waited = NotNow(
                    f"Nothing was sent: the call waited {seconds:g} s for its turn.", hint="Call again later."
                )
                return self.failure or waited
            case "key":
                return no_key_in_time(seconds)
            case "connection":
                return self.not_connected("timed out")
            case "answer":
                return self._broken(f"{self.host} did not answer within {seconds:g} s.")

    def broke(self, error: Exception, seconds: float) -> ConnectionFailed:
        """The error for one of `BROKEN`."""
        timed_out = isinstance(error, httpx.TimeoutException | TimeoutError)
        if self.stage != "answer" or isinstance(error, _NOT_CONNECTED):
            return self.not_connected("timed out" if timed_out else scrub(str(error)) or "no connection")
        if timed_out:
            return self._broken(f"{self.host} did not answer within {seconds:g} s.")
        return self._broken(f"the connection to {self.host} broke before the answer was complete.")

    def not_connected(self, reason: str) -> ConnectionFailed:
        return ConnectionFailed(
            f"no connection to {self.host} ({reason}). Nothing was sent.",
            action=self.action,
            not_executed=True,
            hint="Set SSL_CERT_FILE to the CA bundle of your network if it inspects TLS."
            if "CERTIFICATE" in reason.upper()
            else "Check the network, --endpoint and --region, and the proxy settings (HTTPS_PROXY, NO_PROXY).",
        )

    def _broken(self, message: str) -> ConnectionFailed:
        hint = "Call again later; check the network if it persists."
        return ConnectionFailed(message, action=self.action, request_id=self.request_id, hint=hint)


def no_key_in_time(seconds: float) -> MissingCredentials:
    return MissingCredentials(
        f"Nothing was sent: the credential chain gave no access key within {seconds:g} s.",
        hint="Check what it asks: ALIBABA_CLOUD_CREDENTIALS_URI, OIDC, or the ECS instance role.",
    )


def http_clients(
    transport: httpx.AsyncBaseTransport | None, timeout: float
) -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
    """What sends reads, and what sends writes; see `CamsClient`.

    A kept connection can hold bytes that the server sent beyond its last answer. They would be read as the answer to
    the next request, so writes never share a connection with any other request. A given `transport` serves both.

    Raises:
        ConfigurationError: the environment's proxy or CA bundle cannot be used.
    """
    # httpx logs whole URLs at INFO.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        if transport:
            given = _http_client(timeout, transport=transport, event_hooks={"request": [_goes_out]})
            return given, given
        # Reading the CA bundle is most of the work, so both clients share it.
        trusted = httpx.create_ssl_context()
        return _pooling(timeout, trusted, idle=MOST_IDLE_CONNECTIONS), _pooling(timeout, trusted, idle=0)
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


def _pooling(timeout: float, trusted: ssl.SSLContext, *, idle: int) -> httpx.AsyncClient:
    # Calls wait for their turn, never inside httpx for a connection.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=idle)
    return _http_client(timeout, verify=trusted, limits=limits)


def _http_client(timeout: float, event_hooks: Mapping[str, list[Any]] | None = None, **more: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        # httpx forgets to close a socket whose TLS handshake is cancelled, so it must itself notice the time.
        timeout=httpx.Timeout(timeout, connect=0.9 * timeout),
        headers={
            "user-agent": f"cams-mcp/{__version__}",
            "accept": "application/json",
            "accept-encoding": "gzip",
        },
        # Nothing may be remembered of an answer and go out with the next request.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        event_hooks={"response": [_leads_nowhere], **(event_hooks or {})},
        **more,
    )


async def _goes_out(request: httpx.Request) -> None:
    """Tell `Progress` what httpx's own transport tells it, for one that may not: after this, anything may be sent."""
    await request.extensions["trace"]("transport.send_request_headers.started", {"request": request})


async def _leads_nowhere(response: httpx.Response) -> None:
    """Redirects are not followed. httpx reads their addresses all the same, and crashes on some."""
    response.headers.pop("location", None)


async def exchange(
    http: httpx.AsyncClient, request: httpx.Request, auth: httpx.Auth, progress: Progress, *, most_bytes: int
) -> Answer:
    """Send a request and read the answer.

    Raises:
        MalformedAnswer: the answer is too large, or its compression cannot be undone.
        BROKEN: no connection, or it broke.
    """
    progress.request_id = None
    request.extensions = {**request.extensions, "trace": progress.trace}
    response = await http.send(request, auth=auth, stream=True)
    progress.request_id = identifier(response.headers.get("x-acs-request-id"))
    try:
        body = await _read(response, most_bytes)
    except _Unreadable as unreadable:
        raise MalformedAnswer(
            unreadable.message,
            action=progress.action,
            request_id=progress.request_id,
            http_status=response.status_code,
            hint=unreadable.hint,
        ) from None
    finally:
        # Closes the connection if there is more to come: what is left of this answer must not become the next one.
        await response.aclose()
    return Answer(response.status_code, dict(response.headers), body)


class _Unreadable(Exception):
    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


async def _read(response: httpx.Response, most: int) -> bytes:
    """The body, unpacked step by step. httpx would unpack each piece whole, which can be a thousand times as large."""
    unpacker = _unpacker(response)
    body = bytearray()
    received = 0
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for piece in response.stream:
        received += len(piece)
        try:
            body += unpacker.unpack(piece, most - len(body) + 1) if unpacker else piece
        except zlib.error:
            raise _Unreadable("the answer's compression is broken.") from None
        if max(received, len(body)) > most:
            raise _Unreadable(f"the answer is larger than {most:,} bytes and was refused.", "Ask for smaller pages.")
    if unpacker and received and not unpacker.complete:
        raise _Unreadable("the answer's compression is broken.")
    return bytes(body)


class _Unpacker:
    """Undoes gzip in steps of a given length: one or more members, and zero bytes as padding behind any of them."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._member = zlib.decompressobj(wbits)
        self._members = 1

    @property
    def complete(self) -> bool:
        """Whether the last member has ended."""
        return self._member.eof

    def unpack(self, piece: bytes, most: int) -> bytes:
        """Up to `most` bytes. Raises zlib.error for anything that is not gzip."""
        unpacked = b""
        while len(unpacked) < most:
            if self._member.eof:
                piece = piece.lstrip(b"\0")
                if piece:
                    self._begin_member()
            if not piece:
                break
            unpacked += self._member.decompress(piece, most - len(unpacked))
            piece = self._member.unused_data
        return unpacked

    def _begin_member(self) -> None:
        if self._members == MOST_MEMBERS:
            raise zlib.error
        self._members += 1
        self._member = zlib.decompressobj(self._wbits)


def _unpacker(response: httpx.Response) -> _Unpacker | None:
    """What undoes the answer's compression; None if there is none to undo."""
    named = response.headers.get_list("content-encoding", split_commas=True)
    encodings = [name.strip().lower() for name in named if name.strip().lower() not in ("", "identity")]
    if not encodings:
        return None
    if len(encodings) > 1 or encodings[0] not in ENCODINGS:
        raise _Unreadable("the answer's compression is not gzip, or there is more than one.")
    return _Unpacker(ENCODINGS[encodings[0]])
