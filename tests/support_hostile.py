"""Hostile text, a CAMS that answers with it, and peers that send it over each transport."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import traceback
import unicodedata
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, cast

import anyio
import httpx
import mcp_types as types
from anyio.from_thread import BlockingPortal
from mcp.server.lowlevel import Server
from mcp.shared.inbound import MCP_NAME_HEADER, NAME_BEARING_METHODS, encode_header_value
from mcp.shared.memory import create_client_server_memory_streams
from mcp.shared.message import SessionMessage
from support_process import ENVELOPE, HANDSHAKE

from cams_mcp.cli import main
from cams_mcp.logs import LineFormatter
from cams_mcp.redaction import readable
from cams_mcp.sandbox import HttpReply, Sandbox, WireRequest

SECONDS = 10.0
"""Every exchange is over by then."""

GRACE_SECONDS = 2.5
"""How long an answer may come after the answer to a later request."""

MOST_LOSSES = 2
"""A test stops looking after it lost so many connections, so that a broken tree fails in bounded time."""

MARK = "zqmarker"
PHONE = "2025550187"
MAIL = f"{MARK}@example.com"
PERSON = f"{MAIL} +1 (202) 555-0187"
"""Personal data that may come back as data, and in no error, log, trace, audit trail or list of uploads."""

HOSTILE: dict[str, str] = {
    "high surrogate": "a\ud83d",
    "low surrogate": "\ude00b",
    "swapped surrogates": "\ude00\ud83d",
    "surrogate escape": "caf\udce9\udcff",
    "NUL": "a\x00b",
    "C0 controls": "".join(map(chr, range(1, 32))) + "\x7f",
    "C1 controls": "".join(map(chr, range(0x80, 0xA0))),
    "newlines": "a\nb\r\nc\rd\x0be\x0cf\u2028g\u2029h",
    "ANSI escapes": "\x1b[2J\x1b]0;title\x07\x1b[31mred\x1b[0m\x9b1m",
    "backspaces": "secret\x08\x08\x08\x08\x08\x08public",
    "bidirectional": "\u202egnp.exe\u202c \u2066x\u2069 \u200f\u061c",
    "invisible spaces": "\u2800\u3164\u115f\u200b\u2060\ufeff\u00ad",
    "tag characters": "ok\U000e0001\U000e0041\U000e0042\U000e007f",
    "variation selectors": "a\ufe0f\U000e0100b",
    "combining stack": "e" + "\u0301\u0489" * 300,
    "noncharacters": "\ufffe\uffff\U0010ffff",
    "private use": "\ue000\U000f0000",
    "JSON": '"}],"x":{"y":"\\',
    "JSON escapes": "\\ud800\\u0000\\x00",
    "format strings": "%s%n%(x)d {0} {x!r:>9} ${HOME} $(id) `id` {",
    "markup": "[/red][bold]x[/] <script>alert(1)</script> | # *x*",
    "option": "--help",
    "path": "../../../etc/passwd",
    "spaces": "  \t ",
    "far from ASCII": "ﷺ上海\u1e9e\u0130İß",
    "long digits": "9" * 5000,
    "other digits": "\u0661\u0662\u0663²½",
    "long number": "1" + "." * 3000 + "e999",
    "address in disguise": f"{MARK}%40example.com {MARK}\uff20example.com",
    "spaced number": " ".join(PHONE),
}
"""Name and value. UTF-8 cannot carry lone surrogates: a transport may reject those with an error."""

LONG: dict[str, str] = {
    "a megabyte": "x" * 1_000_000,
    "a megabyte of numbers": "1 " * 500_000,
    "a megabyte of addresses": "a@" * 500_000,
}

VALUES = HOSTILE | LONG

_HIDING = re.compile("[\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0]")


def with_person(value: str) -> str:
    """The value beside a person's e-mail and phone."""
    return f"{value} {PERSON}"


def for_a_process(value: str) -> str:
    """The value as arguments and variables of a process carry it: any bytes but NUL."""
    return os.fsdecode(value.replace("\0", "").encode("utf-8", "surrogatepass"))


def folded(text: str) -> str:
    """Letters and digits only, in one spelling, so that no separator hides an address."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return "".join(str(unicodedata.decimal(sign, sign)) for sign in plain if sign.isalnum())


def shows_person(text: str) -> bool:
    """Whether the marker is in the text, however it is spelled."""
    if len(text) > 100_000 and not (MARK in text or "555" in text):
        return False
    plain = folded(text)
    return MARK in plain or PHONE in plain


def texts_in(value: Any) -> Iterator[str]:
    """All strings of a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            yield key
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from texts_in(inner)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every place of a JSON value that holds neither an object nor an array."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        inner = enumerate(cast("list[Any]", value))
    else:
        yield path, value
    for key, each in inner:
        yield from leaves(each, (*path, key))


def put(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """A copy of a JSON value with another value in one place."""
    if not path:
        return new
    key, *rest = path
    if isinstance(key, int):
        rows = list(value or [None])
        rows[key] = put(rows[key], tuple(rest), new)
        return rows
    members = dict(value or {})
    members[key] = put(members.get(key), tuple(rest), new)
    return members


def replaced(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of a JSON value with every leaf changed."""
    if isinstance(value, dict):
        return {key: replaced(inner, change) for key, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [replaced(inner, change) for inner in cast("list[Any]", value)]
    return change(value)


class Findings:
    """What was wrong, each with the smallest input that shows it."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self.losses = 0

    def add(self, label: str, problem: str) -> None:
        self._found.setdefault(problem, []).append(label)

    @property
    def too_many(self) -> bool:
        return self.losses >= MOST_LOSSES

    def check(self) -> None:
        """Fail with everything that was found."""
        if self._found:
            lines = [f"{problem}\n    " + "\n    ".join(labels) for problem, labels in self._found.items()]
            stopped = "\n(stopped looking: too many lost connections)" if self.too_many else ""
            raise AssertionError("\n".join(lines).encode("ascii", "backslashreplace").decode() + stopped)


@contextmanager
def findings() -> Generator[Findings]:
    found = Findings()
    yield found
    found.check()


# --- CAMS ---------------------------------------------------------------------------------------------------------

Document = dict[str, Any]
Change = Callable[[str, Document], Any]


class HostileCams(Sandbox):
    """A sandbox whose answers are changed on their way out.

    Attributes:
        change: given the action and the answer, gives what is sent instead. Bytes are sent as they are.
        status, headers: sent instead of, or beside, those of the sandbox.
        actions: what was called.
    """

    def __init__(self) -> None:
        super().__init__(keep_calls=0)
        self.reset()

    def reset(self) -> None:
        self.change: Change | None = None
        self.status: int | None = None
        self.headers: dict[str, str] = {}

    def handle(self, request: WireRequest) -> HttpReply:
        reply = super().handle(request)
        if self.change is None:
            return reply
        body = self.change(request.headers.get("x-acs-action", ""), json.loads(reply.body))
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return replace(reply, body=raw, status=self.status or reply.status, headers={**reply.headers, **self.headers})

    @contextmanager
    def answering(
        self, change: Change, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> Generator[None]:
        self.change, self.status, self.headers = change, status, dict(headers or {})
        try:
            yield
        finally:
            self.reset()


# --- Peers --------------------------------------------------------------------------------------------------------


class Lost(Exception):
    """The peer said nothing in time, closed the connection, or said something that is not the protocol."""


class Peer:
    """A client of one server, in one era. It answers questions with `reply` and remembers what it was asked.

    Args:
        era: "auto" for 2026-07-28, "legacy" for 2025-11-25.
    """

    transport: str

    def __init__(self, era: str) -> None:
        self.era = era
        self.reply: dict[str, Any] = {"action": "cancel"}  # after a no, nobody is asked for a while
        self.asked: list[str] = []
        self._number = 0
        self._exchanges = 0

    # What a transport provides.

    def connect(self) -> None:
        """Connect and shake hands."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            Lost: there is none.
        """
        raise NotImplementedError

    def logged(self) -> str:
        """What the server logged since the last look."""
        raise NotImplementedError

    # What tests use.

    def reconnect(self) -> None:
        self.close()
        self.connect()

    def shake_hands(self) -> None:
        if self.era == "legacy":
            capabilities = {"capabilities": {"elicitation": {"form": {}}}}
            self.ask("initialize", HANDSHAKE | capabilities)
            self.notify("notifications/initialized")
        else:
            # The first request of a connection decides its era.
            self.ask("server/discover")

    def message(self, method: str, params: Mapping[str, Any], identifier: Any = None) -> dict[str, Any]:
        self._number += 1
        params = dict(params)
        if self.era == "auto":
            capabilities = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
            params["_meta"] = ENVELOPE | capabilities | params.get("_meta", {})
        return {
            "jsonrpc": "2.0",
            "id": self._number if identifier is None else identifier,
            "method": method,
            "params": params,
        }

    def ask(self, method: str, params: Mapping[str, Any] | None = None, identifier: Any = None) -> dict[str, Any]:
        return self.exchange(self.message(method, params or {}, identifier), SECONDS)

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        raise NotImplementedError

    def good(self) -> dict[str, Any]:
        """A request that every server answers."""
        return self.ask("ping" if self.era == "legacy" else "server/discover")

    def is_turn_of_good(self) -> bool:
        """Whether to look after this exchange if the server is well; after each would take twice as long."""
        self._exchanges += 1
        return self._exchanges % 5 == 0

    def call(self, tool: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Call a tool; answers a question that comes in place of a result, as the era wants it."""
        params = {"name": tool, "arguments": arguments} | more
        answer = self.ask("tools/call", params)
        result = answer.get("result", {})
        if result.get("resultType") == "input_required":
            (key, request), *_ = result["inputRequests"].items()
            self.asked.append(request["params"]["message"])
            responses = {"inputResponses": {key: self.reply}, "requestState": result["requestState"]}
            answer = self.ask("tools/call", params | responses)
        return answer


def is_answer_to(message: Mapping[str, Any], identifier: Any) -> bool:
    """Whether a message answers this request. A request that cannot be read is answered without its id."""
    answers = "result" in message or "error" in message
    return answers and (message.get("id") == identifier or ("error" in message and message.get("id") is None))


class InMemory(Peer):
    """Connected through the SDK's memory streams, in a portal's event loop.

    Args:
        make_server: makes the server to talk to.
    """

    transport = "memory"

    def __init__(self, era: str, portal: BlockingPortal, server: Server[Any]) -> None:
        super().__init__(era)
        self._portal = portal
        self._server = server
        self._log = io.StringIO()
        self._seen = 0

    def connect(self) -> None:
        started: queue.Queue[Any] = queue.Queue()
        self._future = self._portal.start_task_soon(self._serve, started)
        self._read, self._write, self._scope = started.get(timeout=SECONDS)
        self.shake_hands()

    async def _serve(self, started: queue.Queue[Any]) -> None:
        async with create_client_server_memory_streams() as (ours, theirs):
            with anyio.CancelScope() as scope:
                started.put((*ours, scope))
                await self._server.run(*theirs, self._server.create_initialization_options())

    def close(self) -> None:
        self._portal.call(self._scope.cancel)
        with contextlib.suppress(Exception):
            self._future.result(SECONDS)

    def log_handler(self) -> logging.Handler:
        """Keeps what the server logs, as it would go to standard error."""
        handler = logging.StreamHandler(self._log)
        handler.setFormatter(LineFormatter("text"))
        return handler

    def logged(self) -> str:
        text = self._log.getvalue()[self._seen :]
        self._seen += len(text)
        return text

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        self._portal.call(self._send, {"jsonrpc": "2.0", "method": method, "params": dict(params or {})})

    def exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        return self._portal.call(self._exchange, message, seconds)

    async def _send(self, message: dict[str, Any]) -> None:
        parsed = types.jsonrpc_message_adapter.validate_python(message, by_name=False)
        await self._write.send(SessionMessage(parsed))

    async def _exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            with anyio.fail_after(seconds):
                await self._send(message)
                while True:
                    came = await self._receive()
                    if "method" in came and "id" in came:
                        self.asked.append(came["params"]["message"])
                        await self._send({"jsonrpc": "2.0", "id": came["id"], "result": self.reply})
                    elif is_answer_to(came, message["id"]):
                        return came
        except TimeoutError:
            raise Lost("no answer") from None
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise Lost("the server closed the connection") from None

    async def _receive(self) -> dict[str, Any]:
        came = await self._read.receive()
        if isinstance(came, Exception):
            raise Lost(f"{type(came).__name__} instead of an answer")
        try:
            # As a transport writes it.
            line = came.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        except Exception as error:  # noqa: BLE001 - whatever keeps an answer from being written
            raise Lost(f"the answer cannot be written as JSON ({type(error).__name__})") from None
        return json.loads(line)


class OverStdio(Peer):
    """A real process. Its standard error goes to a file."""

    transport = "stdio"

    def __init__(self, era: str, command: list[str], env: Mapping[str, str], log: Path) -> None:
        super().__init__(era)
        self._command, self._env, self._log = command, env, log
        self._seen = 0

    def connect(self) -> None:
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=dict(self._env)
            )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read_lines, args=(self._process.stdout, self._lines))
        self._reader.start()
        self.shake_hands()

    def _read_lines(self, output: Any, lines: queue.Queue[bytes | None]) -> None:
        for line in output:
            lines.put(line)
        lines.put(None)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()

    def end(self) -> tuple[int, bytes]:
        """End the input; gives the exit status and what was left on standard output."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = self._process.wait(SECONDS)
        self._reader.join()
        rest: list[bytes] = []
        while not self._lines.empty():
            rest.append(self._lines.get() or b"")
        return status, b"".join(rest)

    def logged(self) -> str:
        return _since(self)

    def write(self, raw: bytes) -> None:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(raw + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise Lost(f"the process ended with status {self._process.wait(SECONDS)}") from None

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": dict(params or {})}).encode())

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message, or None if none comes in time."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if line is None:
            raise Lost(f"the process ended with status {self._process.wait(SECONDS)}")
        return parsed(line)

    def exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        at_once = self._exchanges % 5 == 0 and message["method"] not in ("initialize", "server/discover")
        return self.exchange_raw(json.dumps(message).encode(), message["id"], at_once=at_once)

    def is_turn_of_good(self) -> bool:
        self._exchanges += 1
        return False  # it goes out with the request

    def exchange_raw(self, raw: bytes, identifier: Any, *, at_once: bool = True) -> dict[str, Any]:
        """Send one line as it is, and wait for its answer. A good request follows, `at_once` or if the answer is late.

        An answer that does not come although the good one was answered is not waited for any longer.
        """
        self.write(raw)
        beyond = self.message("ping" if self.era == "legacy" else "server/discover", {}, f"after {self._number}")
        answer, sent, good = None, False, False
        while answer is None or (sent and not good):
            if at_once and not sent:
                self.write(json.dumps(beyond).encode())
                sent = True
            came = self.receive(SECONDS if sent and not good else GRACE_SECONDS)
            if came is None and not sent:
                at_once = True
            elif came is None:
                raise Lost("no answer" + (", though the server answers others" if good else ""))
            elif "method" in came and "id" in came:
                self.asked.append(came["params"]["message"])
                self.write(json.dumps({"jsonrpc": "2.0", "id": came["id"], "result": self.reply}).encode())
            elif came.get("id") == beyond["id"]:
                good = True
                if "result" not in came:
                    raise Lost("the next good request got an error")
            elif is_answer_to(came, identifier):
                answer = came
        return answer


def parsed(line: bytes) -> dict[str, Any]:
    """One message of the protocol."""
    try:
        message = json.loads(line)
        if message["jsonrpc"] == "2.0":
            return message
    except (ValueError, KeyError, TypeError):
        pass
    raise Lost(f"standard output is not the protocol: {line[:80]!r}")


class OverHttp(Peer):
    """A client of a server process at this URL, whose standard error goes to a file."""

    transport = "http"

    def __init__(self, era: str, url: str, log: Path) -> None:
        super().__init__(era)
        self._url, self._log = url, log
        self._seen = log.stat().st_size
        self.headers: dict[str, str] = {}

    def connect(self) -> None:
        self._http = httpx.Client(trust_env=False, timeout=SECONDS)
        self._session: dict[str, str] = {}
        self.shake_hands()

    def close(self) -> None:
        self._http.close()

    def logged(self) -> str:
        return _since(self)

    def _headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        if self.era == "auto" and "method" in message:
            method = message["method"]
            headers |= {
                "mcp-protocol-version": ENVELOPE["io.modelcontextprotocol/protocolVersion"],
                "mcp-method": method,
            }
            name = message.get("params", {}).get(NAME_BEARING_METHODS.get(method, ""))
            if isinstance(name, str):
                with contextlib.suppress(UnicodeError):
                    headers[MCP_NAME_HEADER] = encode_header_value(name)
        return headers | self._session | self.headers

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        self.post({"jsonrpc": "2.0", "method": method, "params": dict(params or {})})

    def post(self, message: Any) -> None:
        """Send what has no answer."""
        self._http.post(self._url, content=json.dumps(message).encode(), headers=self._headers(message))

    def exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        return self.exchange_raw(json.dumps(message).encode(), message["id"], self._headers(message))

    def exchange_raw(self, raw: bytes, identifier: Any, headers: Mapping[str, str | bytes]) -> dict[str, Any]:
        # What is not ASCII goes out as UTF-8.
        sent = {name: value.encode() if isinstance(value, str) else value for name, value in headers.items()}
        try:
            with self._http.stream("POST", self._url, content=raw, headers=sent) as response:
                if "mcp-session-id" in response.headers:
                    self._session = {"mcp-session-id": response.headers["mcp-session-id"]}
                if response.headers.get("content-type", "").startswith("text/event-stream"):
                    return self._events(response, identifier)
                body = response.read()
        except httpx.HTTPError as error:
            raise Lost(f"no answer ({type(error).__name__})") from None
        if response.status_code >= 500:
            raise Lost(f"HTTP {response.status_code}")
        try:
            return parsed(body)
        except Lost:
            if response.status_code >= 400:
                said = body.decode() or response.reason_phrase
                return {"id": None, "error": {"code": 0, "message": said}}
            raise

    def _events(self, response: httpx.Response, identifier: Any) -> dict[str, Any]:
        for line in _lines_of(response):
            if not line.startswith(b"data:") or not line[5:].strip():
                continue
            came = parsed(line[5:])
            if "method" in came and "id" in came:
                self.asked.append(came["params"]["message"])
                self.post({"jsonrpc": "2.0", "id": came["id"], "result": self.reply})
            elif is_answer_to(came, identifier):
                return came
        raise Lost("the stream ended without an answer")


def _lines_of(response: httpx.Response) -> Iterator[bytes]:
    """Lines of an event stream; httpx would end them at U+2028 and its like too."""
    rest: list[bytes] = []
    for chunk in response.iter_bytes():
        first, *more = chunk.split(b"\n")
        rest.append(first)
        for part in more:
            yield b"".join(rest).removesuffix(b"\r")
            rest = [part]


def _since(peer: Any) -> str:
    with peer._log.open("rb") as file:  # noqa: SLF001 - shared by the peers above
        file.seek(peer._seen)  # noqa: SLF001
        raw = file.read()
    peer._seen += len(raw)  # noqa: SLF001
    return raw.decode(errors="backslashreplace")


# --- What must be true --------------------------------------------------------------------------------------------

CRASH = re.compile(
    r"Traceback \(most recent|cams-mcp itself failed|Exception in ASGI|Internal server error"
    r"|failed with \w*(Error|Exception)\b"
)
UNEXPECTED = re.compile(r"itself failed|Internal server error|Internal error", re.IGNORECASE)


def problems_of_log(text: str) -> Iterator[str]:
    if crash := CRASH.search(text):
        kinds = re.findall(r"^(?:\w+\.)*(\w+(?:Error|Exception|Interrupt))\b", text, re.MULTILINE)
        places = re.findall(r"/(cams_mcp/[\w/]+\.py)\", line (\d+)", text)
        where = f" at {':'.join(places[-1])}" if places else ""
        yield f"the log has {crash[0]!r} ({', '.join(dict.fromkeys(kinds))}{where})"
    if shows_person(text):
        yield "the log shows the person"


def problems_of_answer(answer: Mapping[str, Any], *, echoes: tuple[str, ...] = ()) -> Iterator[str]:
    """Whatever is wrong with an answer that came."""
    result = answer.get("result")
    failed = result is None or result.get("isError", False)
    texts = list(texts_in(result if result is not None else answer["error"]))
    if any("\ud800" <= sign <= "\udfff" for text in texts for sign in text):
        yield "the answer holds lone surrogates"
    elif any(readable(text) != text for text in texts if text not in echoes):
        yield "the answer holds characters that are not readable"
    if failed:
        said = " ".join(texts)
        if not said.strip():
            yield "the error has no words"
        if UNEXPECTED.search(said):
            yield f"the error is unexpected: {said[:120]}"
        if shows_person(said):
            yield "the error shows the person"
        if len(said) > 20_000:
            yield "the error is too long to read"


def problems_of_question(text: str, lines: int) -> Iterator[str]:
    """Whatever lets a stranger's name forge or hide what a person reads."""
    if readable(text) != text or _HIDING.search(text):
        yield "the question holds characters that hide or cannot be shown"
    if len(text.splitlines()) != lines:
        yield f"the question has {len(text.splitlines())} lines in place of {lines}"


def probe(
    found: Findings, peer: Peer, label: str, act: Callable[[], dict[str, Any]], *, echoes: tuple[str, ...] = ()
) -> dict[str, Any] | None:
    """One exchange, with a good one after some of them; gives the answer, if one came."""
    if found.too_many:
        return None
    answer = None
    try:
        answer = act()
        for problem in problems_of_answer(answer, echoes=echoes):
            found.add(label, problem)
        if peer.is_turn_of_good() and "result" not in peer.good():
            found.add(label, "a good request after this one, or some before it, got an error")
    except Lost as lost:
        found.add(label, str(lost))
        found.losses += 1
        peer.reconnect()
    for problem in problems_of_log(peer.logged()):
        found.add(label, problem)
    return answer


# --- Commands -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Ran:
    """What a command did."""

    status: int | str | None
    stdout: bytes
    stderr: str
    crash: str = ""
    problems: list[str] = field(default_factory=list[str])

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


@contextmanager
def deadline(seconds: float) -> Generator[None]:
    """Raise TimeoutError in the main thread after so long."""

    def late(number: int, frame: object) -> NoReturn:
        raise TimeoutError("the command hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Command:
    """Runs commands in this process, through the entry point, with an environment of their own.

    Args:
        home: for what the program keeps by itself.
        env: added to the environment.
    """

    def __init__(self, home: Path, env: Mapping[str, str]) -> None:
        self._env = {"HOME": str(home), "PATH": os.defpath, "TERM": "dumb", **env}

    def __call__(
        self, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"", encoding: str = "utf-8"
    ) -> Ran:
        out, err = io.BytesIO(), io.BytesIO()
        ran = Ran(None, b"", "")
        streams = (
            io.TextIOWrapper(io.BytesIO(stdin), encoding),
            io.TextIOWrapper(out, encoding),
            io.TextIOWrapper(err, encoding, "backslashreplace"),
        )
        with _process_state(["cams-mcp", *arguments], self._env | dict(env or {}), streams):
            try:
                with deadline(SECONDS):
                    main()
            except SystemExit as left:
                ran.status = left.code
            except BaseException:  # noqa: BLE001 - whatever a user would see as a traceback
                ran.crash = traceback.format_exc()
            for stream in streams[1:]:
                with contextlib.suppress(ValueError):
                    stream.flush()
        ran.stdout, ran.stderr = out.getvalue(), err.getvalue().decode(encoding, "replace")
        return ran


@contextmanager
def _process_state(argv: list[str], env: Mapping[str, str], streams: tuple[Any, Any, Any]) -> Generator[None]:
    """What a process has of its own, for the time of a command."""
    root = logging.getLogger()
    before = (sys.argv, sys.stdin, sys.stdout, sys.stderr, dict(os.environ), root.handlers[:], root.level)
    sys.argv, (sys.stdin, sys.stdout, sys.stderr) = argv, streams
    os.environ.clear()
    os.environ.update(env)
    try:
        yield
    finally:
        sys.argv, sys.stdin, sys.stdout, sys.stderr = before[:4]
        os.environ.clear()
        os.environ.update(before[4])
        root.handlers[:] = before[5]
        root.setLevel(before[6])
        gc.enable()


def problems_of_run(ran: Ran, *, data: bool = False, exact: bool = False) -> Iterator[str]:
    """Whatever is wrong with a command that ended.

    Args:
        data: standard output holds what CAMS or the caller said, which may be about people.
        exact: what is printed is for copying, or for a program, and repeats what was given as it is.
    """
    if ran.crash:
        last = ran.crash.strip().splitlines()[-1]
        places = re.findall(r"/(cams_mcp/[\w/]+\.py)\", line (\d+)", ran.crash)
        yield f"crash: {last.split(':')[0]} at {':'.join(places[-1]) if places else '?'}"
    if isinstance(ran.status, str) or (isinstance(ran.status, int) and not 0 <= ran.status < 128):
        yield f"exit status {ran.status}"
    if not exact:
        yield from problems_of_log(ran.stderr)
    said = ran.stderr + ("" if data else ran.text)
    if not data and not exact and shows_person(ran.text):
        yield "the output shows the person"
    if not exact and readable(said) != said:
        yield "the output holds characters that are not readable"
    if ran.status not in (0, 3) and not ran.crash and not said.strip():
        yield f"status {ran.status} without words"
