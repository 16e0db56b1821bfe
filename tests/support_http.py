"""What tests of the HTTP server need: keys and tokens, a key server, a server of ours that asks for them, clients."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.provider import TokenVerifier
from support import serving, toolbox_over
from support_process import ENVELOPE, HANDSHAKE, Program

from cams_mcp.http import Draining, Health, http_app
from cams_mcp.http.auth import current_access
from cams_mcp.sandbox import Sandbox
from cams_mcp.server.server import create_server
from cams_mcp.settings import HttpSettings
from cams_mcp.store import Store
from cams_mcp.tools.definitions import load_catalog
from cams_mcp.tools.result import Tools

ISSUER = "https://login.example.com/tenant"
AUDIENCE = "https://mcp.example.com/mcp"
READ, WRITE = "cams:read", "cams:write"
BOTH = f"{READ} {WRITE}"
OAUTH = {"auth_issuer": ISSUER, "auth_audience": AUDIENCE, "auth_jwks_url": "https://login.example.com/keys"}
LISTENING = "Listening on "
SERVE = ("serve", "--transport", "http", "--port", "0", "--sandbox")


class SigningKey:
    """A key pair of an authorization server."""

    def __init__(self, kid: str | None = "first", algorithm: str = "RS256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private: Any
        if algorithm.startswith("ES"):
            self.private = ec.generate_private_key({"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}[algorithm])
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def public(self, **more: Any) -> dict[str, Any]:
        """The public half as a JWK."""
        kinds = {"RS": RSAAlgorithm, "PS": RSAAlgorithm, "ES": ECAlgorithm, "Ed": OKPAlgorithm}
        made = json.loads(kinds[self.algorithm[:2]].to_jwk(self.private.public_key()))
        return made | ({"kid": self.kid} if self.kid else {}) | {"use": "sig"} | more

    def token(self, scope: str = BOTH, *, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """An access token. A claim of None is left out."""
        given = standard_claims() | {"scope": scope} | claims
        given = {name: value for name, value in given.items() if value is not None}
        named = {"kid": self.kid} if self.kid else {}
        return jwt.encode(given, self.private, self.algorithm, headers={**named, **(headers or {})})


def standard_claims() -> dict[str, Any]:
    now = int(time.time())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "nbf": now, "exp": now + 300}


def handmade(header: Mapping[str, Any], claims: Mapping[str, Any], signature: bytes = b"") -> str:
    """A token that no library would write."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


class KeyServer:
    """An ASGI application that publishes keys, and counts how often it is asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.status = 200
        self.body: bytes | None = None
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.asked += 1
        body = self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()
        await send({"type": "http.response.start", "status": self.status, "headers": [(b"content-type", b"x/json")]})
        await send({"type": "http.response.body", "body": body})


class Clock:
    """Seconds that go on only when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def token_line(name: str, token: str, *scopes: str) -> str:
    return f"{name} sha256:{hashlib.sha256(token.encode()).hexdigest()} {' '.join(scopes)}\n"


def write_tokens(path: Path, *lines: str, mode: int = 0o600) -> Path:
    path.write_text("".join(lines), encoding="utf-8")
    path.chmod(mode)
    return path


ALICE, BOB, READER, NOTHING = (f"{name}-0123456789abcdefghij" for name in ("alice", "bob", "reader", "nothing"))
"""Bearer tokens of `people_of`."""


def people_of(path: Path) -> Path:
    """A token file of two who may write, one who may read, and one who may only write, which is nothing."""
    return write_tokens(
        path,
        token_line("alice", ALICE, READ, WRITE),
        token_line("bob", BOB, READ, WRITE),
        token_line("reader", READER, READ),
        token_line("nothing", NOTHING, WRITE),
    )


@asynccontextmanager
async def http_server(
    sandbox: Sandbox,
    verifier: TokenVerifier | None,
    *,
    store: Store | None = None,
    around: Callable[[Tools], Tools] = lambda tools: tools,
    health: Health | None = None,
    resource_url: str = "http://127.0.0.1/mcp",
    **settings: Any,
) -> AsyncGenerator[str]:
    """The URL of a server over `sandbox` that asks for what `verifier` takes."""
    async with toolbox_over(sandbox, store=store) as tools:
        catalog = load_catalog()
        work = Draining(around(tools), catalog.writing)
        server = create_server(catalog, work, *([current_access] if verifier else []))
        http = HttpSettings(**settings)
        app = http_app(server, http, verifier=verifier, catalog=catalog, health=health, resource_url=resource_url)
        with serving(app) as base:
            yield f"{base}/mcp"


@asynccontextmanager
async def bearer(url: str, token: str, mode: str = "auto", **client: Any) -> AsyncGenerator[Client]:
    """The SDK's client with a bearer token."""
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **client) as connected,
    ):
        yield connected


def frame(method: str, params: Mapping[str, Any] | None = None, *, mode: str = "auto") -> dict[str, Any]:
    """A JSON-RPC request of this era."""
    meta = {"_meta": ENVELOPE} if mode == "auto" else {}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), **meta}}


def post(url: str, mode: str = "auto", *, token: str | None = None, body: Any = None, **headers: str) -> httpx.Response:
    """Post a request as no well-behaved client would; the first one of this era if no `body` is given."""
    method = "initialize" if mode == "legacy" else "tools/list"
    body = body if body is not None else frame(method, HANDSHAKE if mode == "legacy" else None, mode=mode)
    sent = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    if mode == "auto" and isinstance(body, dict):
        sent |= {"mcp-protocol-version": "2026-07-28", "mcp-method": body["method"]}
        sent |= {"mcp-name": str(body["params"]["name"])} if "name" in body["params"] else {}
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(trust_env=False) as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(url, content=content, headers=sent)


def get(url: str, path: str, **headers: str) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        return client.get(httpx.URL(url).copy_with(path=path), headers=headers)


@contextmanager
def program(*arguments: str | Path, **more: Any) -> Generator[tuple[Program, str]]:
    """A server process on the sandbox, and its URL."""
    with Program(*SERVE, *map(str, arguments), **more) as started:
        yield started, started.error_line(LISTENING).removeprefix(LISTENING)
