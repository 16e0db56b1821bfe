from __future__ import annotations

import base64
import gzip
import json
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from support import ERAS, serving
from support_http import (
    ALICE,
    AUDIENCE,
    BOTH,
    ISSUER,
    OAUTH,
    READ,
    READER,
    WRITE,
    Clock,
    KeyServer,
    SigningKey,
    bearer,
    frame,
    get,
    handmade,
    http_server,
    people_of,
    post,
    program,
    standard_claims,
    token_line,
    write_tokens,
)
from support_process import Program

from cams_mcp.errors import ConfigurationError
from cams_mcp.http.auth import JwtVerifier, KeySet, TokenFile, access_of
from cams_mcp.http.auth import keys as keys_module
from cams_mcp.http.auth.keys import FETCH_INTERVAL_SECONDS, LONGEST_USE_SECONDS, MAX_AGE_SECONDS
from cams_mcp.sandbox import Sandbox
from cams_mcp.settings import HttpSettings

EACH_ERA = pytest.mark.parametrize("mode", ERAS)
KEY = SigningKey()
OTHER = SigningKey("other")
AN_HOUR = 3600


@pytest.fixture(scope="module")
def keys_url() -> Generator[str]:
    with serving(KeyServer(KEY.public())) as url:
        yield url


def verifier_of(url: str, **more: Any) -> JwtVerifier:
    return JwtVerifier(KeySet(url, **more), issuer=ISSUER, audience=AUDIENCE)


# Access tokens


@EACH_ERA
async def test_a_good_access_token_lets_its_owner_call(sandbox: Sandbox, keys_url: str, mode: str) -> None:
    async with (
        http_server(sandbox, verifier_of(keys_url), **OAUTH) as url,
        bearer(url, KEY.token(), mode) as client,
    ):
        result = await client.call_tool("list_instance", {})

    assert not result.is_error
    assert result.structured_content["data"]


async def test_the_principal_of_an_access_token_is_its_issuer_and_subject(keys_url: str) -> None:
    verified = await verifier_of(keys_url).verify_token(KEY.token(READ, sub="user-7"))

    assert verified is not None
    access = access_of(verified)
    assert access.principal == f"{ISSUER} user-7"
    assert access.may_read
    assert not access.may_write


def signed_with_the_public_key() -> str:
    """HS256, with the public key as the secret: good for a verifier that believes the header."""
    secret = KEY.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = handmade({"alg": "HS256", "typ": "JWT", "kid": "first"}, standard_claims()).rpartition(".")[0]
    mac = hmac.HMAC(secret, hashes.SHA256())
    mac.update(unsigned.encode())
    return f"{unsigned}.{handmade({}, {}, mac.finalize()).rpartition('.')[2]}"


def now_and(seconds: int) -> int:
    return standard_claims()["iat"] + seconds


def with_other_payload() -> str:
    head, _, signature = KEY.token().split(".")
    return f"{head}.{KEY.token(sub='mallory').split('.')[1]}.{signature}"


def signed(payload: bytes) -> str:
    """A good signature over whatever a server may have signed."""
    return jwt.PyJWS().encode(payload, KEY.private, "RS256", headers={"kid": "first"})


def with_claim(name: str, value: str) -> str:
    """A signed token with a claim as no library would write it."""
    return signed(json.dumps(standard_claims() | {name: "?"}).replace('"?"', value).encode())


def with_header(value: str) -> str:
    head = base64.urlsafe_b64encode(value.encode()).rstrip(b"=").decode()
    return f"{head}.{KEY.token().partition('.')[2]}"


NESTED = "[" * 5000 + "]" * 5000

BAD: dict[str, Callable[[], str]] = {
    **{
        f"alg of {value[:20]}": lambda value=value: with_header(f'{{"alg":{value},"kid":"first"}}')
        for value in ("[]", "{}", '["RS256"]', "null", "5", "NaN", NESTED)
    },
    **{
        f"kid of {value[:20]}": lambda value=value: with_header(f'{{"alg":"RS256","kid":{value}}}')
        for value in ("[]", "{}", '["first"]', "5", "1e400", "true", NESTED)
    },
    "header that is a list": lambda: with_header('["RS256"]'),
    "header that is nested": lambda: with_header(NESTED),
    "header with half a surrogate pair": lambda: with_header('{"alg":"RS256","kid":"\\ud800"}'),
    **{
        f"{claim} of {value[:20]}": lambda claim=claim, value=value: with_claim(claim, value)
        for claim in ("exp", "nbf")
        for value in ("NaN", "Infinity", "-Infinity", "1e400", "9" * 4000, "-1" + "0" * 400, "[]", "{}", "true", '"1"')
    },
    **{
        f"{claim} of {value[:20]}": lambda claim=claim, value=value: with_claim(claim, value)
        for claim in ("sub", "client_id", "azp", "aud", "iss")
        for value in ('["x"]', '{"a":1}', "5", "1e400", '"\\ud800"', '"\\u202eecila"', '"a\\u0000b"')
    },
    "subject of 300 letters": lambda: KEY.token(sub="x" * 300),
    "claims that are nested": lambda: signed(NESTED.encode()),
    "claims that are a list": lambda: signed(b'["sub"]'),
    "claims that are no JSON": lambda: signed(b"\xff"),
    "claims of a number of 5,000 digits": lambda: with_claim("more", "1" * 5000),
    "no ASCII": lambda: f"\u00e9{KEY.token()}",
    "half a surrogate pair": lambda: f"{KEY.token()}\ud800",
    "NUL": lambda: f"{KEY.token()}\x00",
    "expired": lambda: KEY.token(exp=now_and(-1)),
    "not yet valid": lambda: KEY.token(nbf=now_and(AN_HOUR)),
    "never expires": lambda: KEY.token(exp=None),
    "expires at no number": lambda: KEY.token(exp="tomorrow"),
    "wrong audience": lambda: KEY.token(aud="https://other.example.com"),
    "no audience": lambda: KEY.token(aud=None),
    "audience that only begins so": lambda: KEY.token(aud=f"{AUDIENCE}/more"),
    "wrong issuer": lambda: KEY.token(iss="https://evil.example.com"),
    "no issuer": lambda: KEY.token(iss=None),
    "no subject": lambda: KEY.token(sub=None),
    "empty subject": lambda: KEY.token(sub=""),
    "subject with a line end": lambda: KEY.token(sub="alice\nbob"),
    "alg none": lambda: handmade({"alg": "none", "typ": "JWT", "kid": "first"}, standard_claims()),
    "alg None": lambda: handmade({"alg": "None", "kid": "first"}, standard_claims()),
    "no alg": lambda: handmade({"typ": "JWT", "kid": "first"}, standard_claims()),
    "HS256 with the public key": signed_with_the_public_key,
    "unknown kid": OTHER.token,
    "known kid of another key": lambda: OTHER.token(headers={"kid": "first"}),
    "kid that is no text": lambda: handmade({"alg": "RS256", "kid": 1}, standard_claims(), b"x"),
    "critical header": lambda: KEY.token(headers={"crit": ["exp"]}),
    "key in its own header": lambda: OTHER.token(headers={"kid": "third", "jwk": OTHER.public()}),
    "other payload": with_other_payload,
    "no signature": lambda: KEY.token().rpartition(".")[0] + ".",
    "garbage": lambda: "garbage",
    "garbage in three parts": lambda: "a.b.c",
    "empty": lambda: "",
    "far too long": lambda: KEY.token(more="x" * 30_000),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_access_token_is_refused(keys_url: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert await verifier_of(keys_url).verify_token(BAD[name]()) is None
    # A refusal, not a defect that happens to refuse.
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_defect_within_the_verifier_refuses_and_is_logged_without_the_token(
    keys_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(token: str, *_: object, **__: object) -> None:
        raise TypeError(token)

    verifier, token = verifier_of(keys_url), KEY.token()
    monkeypatch.setattr(jwt, "decode", broken)

    assert await verifier.verify_token(token) is None
    assert "verifying an access token failed with TypeError" in caplog.text
    assert token not in caplog.text


ODD = [BAD[name]() for name in ("alg of []", "kid of {}", "exp of NaN", "exp of 1e400", "nbf of NaN")]


@EACH_ERA
async def test_a_bad_access_token_gets_401_and_the_way_to_a_good_one(
    sandbox: Sandbox, keys_url: str, mode: str
) -> None:
    settings = OAUTH | {"resource_url": "https://mcp.example.com/cams/mcp"}
    async with http_server(sandbox, verifier_of(keys_url), **settings) as url:
        for token in (None, "garbage", BAD["expired"](), BAD["alg none"](), BAD["unknown kid"](), *ODD):
            answer = post(url, mode, token=token)

            assert answer.status_code == 401
            challenge = answer.headers["www-authenticate"]
            assert challenge.startswith('Bearer error="invalid_token"')
            assert f'scope="{BOTH}"' in challenge
            metadata = "https://mcp.example.com/.well-known/oauth-protected-resource/cams/mcp"
            assert f'resource_metadata="{metadata}"' in challenge
        found = get(url, httpx.URL(metadata).path)
        assert post(url, mode, token=KEY.token()).status_code == 200

    assert found.status_code == 200
    document = found.json()
    assert document["resource"] == "https://mcp.example.com/cams/mcp"
    assert document["authorization_servers"] == [ISSUER]
    assert document["scopes_supported"] == [READ, WRITE]
    assert document["bearer_methods_supported"] == ["header"]


async def test_a_token_in_the_address_is_no_token(sandbox: Sandbox, keys_url: str) -> None:
    async with http_server(sandbox, verifier_of(keys_url), **OAUTH) as url:
        assert post(f"{url}?access_token={KEY.token()}").status_code == 401


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"])
async def test_every_asymmetric_algorithm_is_taken(algorithm: str) -> None:
    key = SigningKey("k", algorithm)
    with serving(KeyServer(key.public())) as url:
        assert await verifier_of(url).verify_token(key.token()) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"alg": "ES256"},
        {"alg": "HS256"},
        {"alg": "RS512"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"n": "AQAB"},
        {"n": 5},
        {"kid": 5},
        {"n": []},
        {"n": "!"},
        {"n": "A" * 100_000},
        {"n": ""},
        {"e": {}},
        {"e": "AA"},
        {"e": "A" * 100_000},
        {"kty": ["RSA"]},
        {"kty": {"RSA": 1}},
        {"crv": []},
        {"use": []},
        {"alg": {}},
        {"kid": ["first"]},
        {"kid": {"first": 1}},
        {"key_ops": ["encrypt"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"key_ops": None},
    ],
    ids=str,
)
async def test_a_key_that_is_not_for_this_is_not_used(changes: dict[str, Any]) -> None:
    with serving(KeyServer(KEY.public(**changes), OTHER.public())) as url:
        verifier = verifier_of(url)
        assert await verifier.verify_token(KEY.token()) is None
        # It does not cost the others.
        assert await verifier.verify_token(OTHER.token()) is not None


@pytest.mark.parametrize("name", ["n", "e", "x", "kty", "kid", "use", "alg"])
async def test_a_key_with_a_number_of_thousands_of_digits_does_not_cost_the_others(name: str) -> None:
    server = KeyServer()
    odd = json.dumps(KEY.public(**{name: "?"})).replace('"?"', "9" * 5000)
    server.body = f'{{"keys": [{odd}, {json.dumps(OTHER.public())}]}}'.encode()
    with serving(server) as url:
        verifier = verifier_of(url)
        # A key for RSA has no x.
        assert (await verifier.verify_token(KEY.token()) is not None) is (name == "x")
        assert await verifier.verify_token(OTHER.token()) is not None


async def test_a_key_for_verifying_among_other_operations_is_used() -> None:
    with serving(KeyServer(KEY.public(key_ops=["sign", "verify"]))) as url:
        assert await verifier_of(url).verify_token(KEY.token()) is not None


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
@pytest.mark.parametrize("changes", [{"x": 5}, {"x": []}, {"x": "AA"}, {"y": {}, "x": "="}, {"x": None}], ids=str)
async def test_a_curve_s_key_with_an_absurd_member_is_not_used(algorithm: str, changes: dict[str, Any]) -> None:
    key = SigningKey("k", algorithm)
    with serving(KeyServer(key.public(**changes), OTHER.public())) as url:
        verifier = verifier_of(url)
        assert await verifier.verify_token(key.token()) is None
        assert await verifier.verify_token(OTHER.token()) is not None


async def test_a_weak_key_is_not_used() -> None:
    weak = SigningKey("weak")
    weak.private = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - the point
    with serving(KeyServer(json.loads(RSAAlgorithm.to_jwk(weak.private.public_key())) | {"kid": "weak"})) as url:
        with pytest.warns(UserWarning, match="bits"):
            token = weak.token()
        assert await verifier_of(url).verify_token(token) is None


async def test_a_token_without_kid_needs_a_server_with_one_key() -> None:
    nameless = SigningKey(None)
    server = KeyServer(nameless.public())
    clock = Clock()
    with serving(server) as url:
        verifier = verifier_of(url, now=clock)
        assert await verifier.verify_token(nameless.token()) is not None
        server.keys.append(OTHER.public())
        clock.now += MAX_AGE_SECONDS + 1
        assert await verifier.verify_token(nameless.token()) is None


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": BOTH}, [READ, WRITE]),
        ({"scope": None, "scp": [READ, WRITE, 5]}, [READ, WRITE]),
        ({"scope": None, "scp": READ}, [READ]),
        ({"scope": None}, []),
        ({"scope": 5}, []),
        ({"scope": "cams:readx"}, ["cams:readx"]),
    ],
)
async def test_scopes_come_from_scope_or_scp(keys_url: str, claims: dict[str, Any], scopes: list[str]) -> None:
    verified = await verifier_of(keys_url).verify_token(KEY.token(**claims))

    assert verified is not None
    assert verified.scopes == scopes


async def test_a_clock_a_few_seconds_ahead_does_not_hurt(keys_url: str) -> None:
    assert await verifier_of(keys_url).verify_token(KEY.token(nbf=now_and(5), iat=now_and(5))) is not None


async def test_no_log_line_repeats_a_token(keys_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cams_mcp")
    for make in BAD.values():
        token = make()
        await verifier_of(keys_url).verify_token(token)
        assert not token or token not in caplog.text
    assert "rejected an access token: ExpiredSignatureError" in caplog.text


# Keys


async def test_keys_are_fetched_once_for_many_tokens() -> None:
    server = KeyServer(KEY.public())
    with serving(server) as url:
        verifier = verifier_of(url)
        for _ in range(20):
            assert await verifier.verify_token(KEY.token()) is not None

    assert server.asked == 1


async def test_a_rotated_key_is_found_without_a_restart() -> None:
    clock = Clock()
    server = KeyServer(KEY.public())
    with serving(server) as url:
        verifier = verifier_of(url, now=clock)
        assert await verifier.verify_token(KEY.token()) is not None
        server.keys = [OTHER.public()]
        clock.now += FETCH_INTERVAL_SECONDS
        assert await verifier.verify_token(OTHER.token()) is not None
        # The old key is gone from the server, and so it is here.
        assert await verifier.verify_token(KEY.token()) is None


async def test_a_withdrawn_key_is_forgotten_after_a_while() -> None:
    clock = Clock()
    server = KeyServer(KEY.public(), OTHER.public())
    with serving(server) as url:
        verifier = verifier_of(url, now=clock)
        assert await verifier.verify_token(KEY.token()) is not None
        server.keys = [OTHER.public()]
        clock.now += MAX_AGE_SECONDS + 1
        assert await verifier.verify_token(KEY.token()) is None


async def test_tokens_with_made_up_kids_do_not_hammer_the_key_server() -> None:
    clock = Clock()
    server = KeyServer(KEY.public())
    with serving(server) as url:
        verifier = verifier_of(url, now=clock)
        for number in range(50):
            assert await verifier.verify_token(OTHER.token(headers={"kid": f"made-up-{number}"})) is None
        assert server.asked == 1
        clock.now += FETCH_INTERVAL_SECONDS
        await verifier.verify_token(OTHER.token())

    assert server.asked == 2


async def test_many_callers_at_once_fetch_the_keys_once() -> None:
    server = KeyServer(KEY.public())
    good: list[bool] = []
    with serving(server) as url:
        verifier = verifier_of(url)

        async def verify() -> None:
            good.append(await verifier.verify_token(KEY.token()) is not None)

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(verify)

    assert good == [True] * 10
    assert server.asked == 1


async def test_without_a_key_server_nobody_gets_in_until_it_is_back() -> None:
    clock = Clock()
    server = KeyServer(KEY.public())
    server.status = 503
    with serving(server) as url:
        keys = KeySet(url, now=clock)
        verifier = JwtVerifier(keys, issuer=ISSUER, audience=AUDIENCE)
        assert await verifier.verify_token(KEY.token()) is None
        with pytest.raises(ConfigurationError, match="no keys"):
            await verifier.check()
        server.status = 200
        clock.now += FETCH_INTERVAL_SECONDS
        assert await verifier.verify_token(KEY.token()) is not None
        await verifier.check()


async def test_a_key_server_that_is_gone_is_no_reason_to_forget_its_keys_for_a_day() -> None:
    clock = Clock()
    with serving(KeyServer(KEY.public())) as url:
        verifier = verifier_of(url, now=clock)
        assert await verifier.verify_token(KEY.token()) is not None
    clock.now += MAX_AGE_SECONDS + 1
    assert await verifier.verify_token(KEY.token()) is not None
    assert await verifier.verify_token(OTHER.token()) is None
    await verifier.check()
    clock.now += LONGEST_USE_SECONDS
    assert await verifier.verify_token(KEY.token()) is None
    with pytest.raises(ConfigurationError, match="no keys"):
        await verifier.check()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"keys": 5}',
        b'{"keys": [5, null]}',
        b'{"keys": []}',
        b'{"keys": NaN}',
        b"x" * 2_000_000,
        b"9" * 10_000,
        b"\xff\xfe{",
        b"[" * 100_000,
        b'{"keys": %s}' % NESTED.encode(),
        b'{"keys": [%s]}' % b", ".join([b"{}"] * 1000),
    ],
    ids=lambda body: body[:12].decode(errors="replace"),
)
async def test_an_answer_that_is_no_key_set_leaves_the_keys_as_they_are(body: bytes) -> None:
    clock = Clock()
    server = KeyServer(KEY.public())
    with serving(server) as url:
        verifier = verifier_of(url, now=clock)
        assert await verifier.verify_token(KEY.token()) is not None
        server.body = body
        clock.now += MAX_AGE_SECONDS + 1
        assert await verifier.verify_token(KEY.token()) is not None

    assert server.asked == 2


async def test_a_redirect_of_the_key_server_is_not_followed() -> None:
    elsewhere = KeyServer(KEY.public())
    with serving(elsewhere) as other:

        async def redirect(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                headers = [(b"location", other.encode())]
                await send({"type": "http.response.start", "status": 302, "headers": headers})
                await send({"type": "http.response.body", "body": b""})

        with serving(redirect) as url:
            assert await verifier_of(url).verify_token(KEY.token()) is None

    assert elsewhere.asked == 0


class Held(httpx.AsyncBaseTransport):
    """A key server that answers once it is let, and meanwhile is asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.let = anyio.Event()
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await self.let.wait()
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps({"keys": self.keys}).encode()))


async def test_a_fetch_under_way_holds_no_token_whose_key_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "PATIENCE_SECONDS", 0.05)
    clock, server = Clock(), Held(KEY.public())
    server.let.set()
    verifier = verifier_of("https://login.example.com/keys", now=clock, transport=server)
    assert await verifier.verify_token(KEY.token()) is not None
    server.let, server.keys = anyio.Event(), [OTHER.public()]
    clock.now += MAX_AGE_SECONDS + 1

    for _ in range(3):
        assert await verifier.verify_token(KEY.token()) is not None
    assert server.asked == 2
    server.let.set()
    # The fetch went on without the caller who began it.
    assert await verifier.verify_token(OTHER.token()) is not None
    assert await verifier.verify_token(KEY.token()) is None
    assert server.asked == 2


async def test_a_caller_who_leaves_does_not_end_the_fetch_for_the_others() -> None:
    server = Held(KEY.public())
    verifier = verifier_of("https://login.example.com/keys", transport=server)
    with anyio.move_on_after(0.05):
        await verifier.verify_token(KEY.token())
    server.let.set()

    assert await verifier.verify_token(KEY.token()) is not None
    assert server.asked == 1


async def test_a_key_server_that_drips_is_given_up_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "FETCH_TIMEOUT_SECONDS", 0.3)
    clock, good, ill = Clock(), KeyServer(KEY.public()), threading.Event()
    ill.set()

    async def dripping(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not ill.is_set():
            await good(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while ill.is_set():
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await anyio.sleep(0.02)

    with serving(dripping) as url:
        verifier = verifier_of(url, now=clock)
        with anyio.fail_after(10):
            assert await verifier.verify_token(KEY.token()) is None
        ill.clear()
        clock.now += FETCH_INTERVAL_SECONDS
        assert await verifier.verify_token(KEY.token()) is not None


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_a_compressed_key_set_is_refused(coding: str) -> None:
    asked: list[str] = []

    def compressed(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        body = gzip.compress(json.dumps({"keys": [KEY.public()]}).encode() + b" " * 50_000_000)
        return httpx.Response(200, stream=httpx.ByteStream(body), headers={"content-encoding": coding})

    verifier = verifier_of("https://login.example.com/keys", transport=httpx.MockTransport(compressed))
    assert await verifier.verify_token(KEY.token()) is None
    assert asked == ["identity"]


# Static tokens


async def name_of(tokens: TokenFile, token: str) -> str | None:
    verified = await tokens.verify_token(token)
    return access_of(verified).principal if verified else None


UNUSUAL = ["\x00", f"{ALICE}\x00", "\ud800", f"{ALICE}\udfff", "x" * 1_000_000, f"{ALICE}\u00ad", f" {ALICE}"]


async def test_a_static_token_is_known_by_its_digest_or_itself(tmp_path: Path) -> None:
    plain = "c0ffee" * 8
    path = write_tokens(
        tmp_path / "tokens", "# people\n", "\n", token_line("alice", ALICE, READ, WRITE), f"  bob\t{plain}  {READ}\n"
    )
    tokens = TokenFile(path)

    assert await name_of(tokens, ALICE) == "alice"
    assert await name_of(tokens, plain) == "bob"
    for wrong in ("", "alice", ALICE[:-1], f"{ALICE}x", ALICE.upper(), "\u00e9", f"sha256:{ALICE}", *UNUSUAL):
        assert await name_of(tokens, wrong) is None
    digest = token_line("alice", ALICE, READ).split()[1]
    assert await name_of(tokens, digest) is None
    assert await name_of(tokens, digest.removeprefix("sha256:")) is None


async def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = write_tokens(tmp_path / "tokens", token_line("alice", ALICE, READ))
    tokens = TokenFile(path)
    bob = "bob-0123456789-abcdefg"
    fresh = write_tokens(tmp_path / "fresh", token_line("bob", bob, READ))
    fresh.replace(path)

    assert await name_of(tokens, ALICE) is None
    assert await name_of(tokens, bob) == "bob"


@pytest.mark.parametrize("how", ["gone", "broken", "open to all", "empty"])
async def test_while_the_file_is_bad_nobody_gets_in(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    line = token_line("alice", ALICE, READ)
    path = write_tokens(tmp_path / "tokens", line)
    tokens = TokenFile(path)
    if how == "gone":
        path.unlink()
    else:
        lines = {"broken": [line, f"bob {ALICE}more\n"], "open to all": [line], "empty": []}[how]
        write_tokens(path, *lines, mode=0o644 if how == "open to all" else 0o600)

    assert await name_of(tokens, ALICE) is None
    assert await name_of(tokens, ALICE) is None
    assert caplog.text.count("the token file is unusable, rejecting all tokens") == 1
    assert ALICE not in caplog.text
    path.unlink(missing_ok=True)
    write_tokens(path, line)
    assert await name_of(tokens, ALICE) == "alice"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "contains no tokens"),
        ("# only words", "contains no tokens"),
        ("alice", "missing or unknown scopes"),
        (f"alice {'x' * 40}", "missing or unknown scopes"),
        (f"alice {'x' * 40} cams:admin", "missing or unknown scopes"),
        ("alice secret cams:read", "an invalid token in line 1"),
        (f"alice sha256:{'x' * 64} cams:read", "an invalid token in line 1"),
        (f"al!ce {'x' * 40} cams:read", "an invalid name in line 1"),
        (f"local {'x' * 40} cams:read", "an invalid name in line 1"),
        (f"alice {'x' * 40} cams:read\nalice {'y' * 40} cams:read", "repeats a name or token in line 2"),
        (f"alice {'x' * 40} cams:read\nbob {'x' * 40} cams:read", "repeats a name or token in line 2"),
    ],
)
def test_a_file_that_is_wrong_is_refused_at_the_start(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as raised:
        TokenFile(write_tokens(tmp_path / "tokens", line))

    assert "x" * 20 not in str(raised.value)


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o660, 0o666, 0o601])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="chmod 600"):
        TokenFile(write_tokens(tmp_path / "tokens", token_line("alice", ALICE, READ), mode=mode))


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
async def test_a_file_its_group_may_read_is_taken(tmp_path: Path, mode: int) -> None:
    tokens = TokenFile(write_tokens(tmp_path / "tokens", token_line("alice", ALICE, READ), mode=mode))

    assert await name_of(tokens, ALICE) == "alice"


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_what_is_no_text_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tokens"
    if kind == "folder":
        path.mkdir()
    if kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
        path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="--auth-token-file"):
        TokenFile(path)


# The whole server


@EACH_ERA
async def test_a_server_with_a_token_file_takes_its_tokens_and_no_others(tmp_path: Path, mode: str) -> None:
    with program("--auth-token-file", people_of(tmp_path / "tokens")) as (_, url):
        async with bearer(url, ALICE, mode) as client:
            assert not (await client.call_tool("list_instance", {})).is_error
        for token in (None, "wrong", "alice"):
            answer = post(url, mode, token=token)
            assert answer.status_code == 401
            assert "resource_metadata" not in answer.headers["www-authenticate"]
            assert "invalid_token: The bearer token is missing or invalid" in answer.json()["error"]["message"]
        assert get(url, "/.well-known/oauth-protected-resource/mcp").status_code == 404


@pytest.mark.parametrize(
    "values",
    [
        [b"Bearer \x80\xff"],
        [b"\xff"],
        [b"Bearer " + b"x" * 50_000],
        [b"Bearer " + ALICE.encode() + b"\xe9"],
        [b"Bearer"],
        [b"Basic " + ALICE.encode()],
        [b"Bearer " + ALICE.encode(), b"Bearer " + READER.encode()],
        [b"Bearer " + ALICE.encode()] * 2,
    ],
    ids=lambda values: f"{len(values)} of {values[0][:9]!r}",
)
async def test_an_odd_authorization_header_is_401(sandbox: Sandbox, tmp_path: Path, values: list[bytes]) -> None:
    path = people_of(tmp_path / "tokens")
    async with http_server(sandbox, TokenFile(path), auth_token_file=path) as url:
        headers = [(b"authorization", value) for value in values]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(url, json=frame("tools/list"), headers=headers)

    assert answer.status_code == 401
    assert "invalid_token" in answer.headers["www-authenticate"]


@EACH_ERA
async def test_a_server_with_an_issuer_takes_its_tokens_and_no_others(keys_url: str, mode: str) -> None:
    options = ("--auth-issuer", ISSUER, "--auth-audience", AUDIENCE, "--auth-jwks-url", f"{keys_url}/keys")
    with program(*options) as (_, url):
        async with bearer(url, KEY.token(), mode) as client:
            assert not (await client.call_tool("list_instance", {})).is_error
        refused = post(url, mode, token=OTHER.token())
        metadata = f"{url.removesuffix('/mcp')}/.well-known/oauth-protected-resource/mcp"
        document = get(url, "/.well-known/oauth-protected-resource/mcp").json()

    assert refused.status_code == 401
    assert f'resource_metadata="{metadata}"' in refused.headers["www-authenticate"]
    assert document["resource"] == url


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_with_authentication_other_machines_may_connect(tmp_path: Path, host: str) -> None:
    tokens = people_of(tmp_path / "tokens")
    if host == "::" and not os.path.exists("/proc/net/if_inet6"):  # noqa: PTH110
        pytest.skip("this machine has no IPv6")
    with program("--auth-token-file", tokens, "--host", host) as (started, url):
        loopback = f"http://127.0.0.1:{httpx.URL(url).port}/mcp" if host == "0.0.0.0" else url
        assert post(loopback.replace("[::]", "[::1]"), token=ALICE).status_code == 200
        assert "Add other host names with --allowed-host" in started.errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"auth_issuer": ISSUER}, "must be set together"),
        ({"auth_jwks_url": ISSUER}, "must be set together"),
        (OAUTH | {"auth_token_file": Path("tokens")}, "exclude each other"),
        (OAUTH | {"auth_jwks_url": "http://login.example.com/keys"}, "--auth-jwks-url uses plain http"),
        (OAUTH | {"auth_issuer": "login.example.com"}, "--auth-issuer is not a valid URL"),
        (OAUTH | {"auth_jwks_url": "https://me:secret@login.example.com"}, "--auth-jwks-url is not a valid URL"),
        (OAUTH | {"host": "192.0.2.1"}, "--auth-issuer requires --public-url"),
        ({"public_url": "http://mcp.example.com/mcp"}, "--public-url uses plain http"),
        ({"public_url": "https://mcp.example.com/mcp?x=1"}, "--public-url is not a valid URL"),
        ({"host": "192.0.2.1"}, "no authentication"),
        ({"allowed_hosts": ("*",)}, "--allowed-host has the wrong form"),
        ({"allowed_hosts": ("https://mcp.example.com",)}, "--allowed-host has the wrong form"),
        ({"allowed_origins": ("*",)}, "--allowed-origin has the wrong form"),
        ({"allowed_origins": ("null",)}, "--allowed-origin has the wrong form"),
        ({"allowed_origins": ("https://app.example.com/",)}, "--allowed-origin has the wrong form"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        HttpSettings(**options)

    assert "secret" not in str(raised.value)


def test_a_bad_token_file_ends_the_start_with_words(tmp_path: Path) -> None:
    path = write_tokens(tmp_path / "tokens", token_line("alice", ALICE, READ), mode=0o644)
    with Program("serve", "--transport", "http", "--port", "0", "--auth-token-file", str(path)) as started:
        assert started.status() == 1

    assert "chmod 600" in started.errors
    assert "Traceback" not in started.errors


# A session belongs to whom it was opened for


@asynccontextmanager
async def session(url: str, token: str) -> AsyncGenerator[str]:
    answer = post(url, "legacy", token=token)
    yield answer.headers["mcp-session-id"]


async def test_a_session_cannot_be_used_with_another_token(tmp_path: Path, sandbox: Sandbox) -> None:
    tokens = TokenFile(people_of(tmp_path / "tokens"))
    bob = "bob-0123456789abcdefghij"
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    async with (
        http_server(sandbox, tokens, auth_token_file=tmp_path / "tokens") as url,
        session(url, ALICE) as number,
    ):
        assert post(url, "legacy", token=ALICE, body=ping, mcp_session_id=number).status_code == 200
        assert post(url, "legacy", token=bob, body=ping, mcp_session_id=number).status_code == 404
        assert post(url, "legacy", body=ping, mcp_session_id=number).status_code == 401
