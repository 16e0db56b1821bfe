"""Hostile text from CAMS, files, clients and the environment: no crash, no hang, no silence, no echo of a person.

Tables of values (`support_hostile.VALUES`) go through tables of places. Places come from the code: answers are those of
the sandbox, arguments those of the tools' schemas, options those of the commands. A legitimate refusal is an error with
words. Each test collects everything it finds and fails once, naming value and place.
"""

from __future__ import annotations

import copy
import csv
import functools
import inspect
import io
import json
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain, count, cycle, islice, product
from pathlib import Path
from typing import Any

import click
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from openpyxl.utils.exceptions import IllegalCharacterError
from support import ERAS, TARGET, VALID_ARGUMENTS, mcp_server, serving
from support_hostile import (
    HOSTILE,
    LONG,
    MAIL,
    PERSON,
    VALUES,
    Change,
    Command,
    Document,
    Findings,
    HostileCams,
    InMemory,
    Lost,
    OverHttp,
    OverStdio,
    Peer,
    findings,
    for_a_process,
    leaves,
    probe,
    problems_of_log,
    problems_of_question,
    problems_of_run,
    put,
    replaced,
    shows_person,
    with_person,
)

from cams_mcp.cli import COMMANDS, cli
from cams_mcp.cli.clients import CLIENTS
from cams_mcp.guard.policy import Policy
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.prompts import PROMPTS
from cams_mcp.redaction import readable
from cams_mcp.sandbox import SANDBOX_KEY, sandbox_app
from cams_mcp.store import FILE_NAME, Store
from cams_mcp.tools.definitions import load_catalog

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="file names of bytes, POSIX signals")

FILE = "people.csv"
FILE_ARGUMENTS: dict[str, dict[str, Any]] = {
    "check_audience_file": {"path": FILE},
    "upload_audience_file": TARGET | {"path": FILE},
}
ARGUMENTS = VALID_ARGUMENTS | FILE_ARGUMENTS
TOOLS = {tool.name: tool for tool in load_catalog(uploads=True)}
ACTIONS = {operation.name: operation.action for operation in OPERATIONS}
READS = [operation.name for operation in OPERATIONS if not operation.writes]
WRITES = [operation.name for operation in OPERATIONS if operation.writes]
GOOD_REPLY = {"action": "accept", "content": {"confirm": True}}
CLOSED: dict[str, Any] = {"action": "cancel"}
"""The person closes the question. After a no they would not be asked again for a while."""
ACCOUNTS = "cams://accounts"
TRANSPORTS = ("memory", "stdio", "http")


SERIAL = count()


def write_people(path: Path) -> None:
    """A file of people, one of whom is in no other."""
    rows = f"{MAIL},+12025550187\nsomeone{next(SERIAL)}@example.com,+12025550188\n"
    path.write_text(f"email,phone\n{rows}", encoding="utf-8")


# --- One CAMS, and servers that live as long as the module -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where servers run: CAMS, its URL, and directories."""

    cams: HostileCams
    url: str
    home: Path
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": os.defpath,
            "CAMS_MCP_ACCESS_KEY_ID": SANDBOX_KEY.id,
            "CAMS_MCP_ACCESS_KEY_SECRET": SANDBOX_KEY.secret,
            "CAMS_MCP_ENDPOINT": self.url,
            "CAMS_MCP_STATE_DIR": str(self.home / "state"),
            "CAMS_MCP_RETRIES": "0",
            # Nothing is encrypted here, and reading certificates takes longer than most commands.
            "SSL_CERT_DIR": str(self.home),
        }

    @property
    def serve(self) -> list[str]:
        program = [sys.executable, "-m", "cams_mcp", "serve", "--log-level", "debug"]
        return [*program, "--upload-dir", str(self.folder), "--max-body", "16000000", "--ask-timeout", "1"]


@pytest.fixture(scope="module")
def place() -> Generator[Place]:
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        cams = HostileCams()
        folder = Path(home, "upload")
        folder.mkdir()
        write_people(folder / FILE)
        # The look-ups of a long identifier come in a long address.
        url = stack.enter_context(serving(sandbox_app(cams)))
        yield Place(cams, url, Path(home), folder)


def anew(tool: str, place: Place) -> dict[str, Any]:
    """Arguments that no other call had: one that is repeated gets the outcome of the first, or is not asked about.

    Nothing else waits then: replies that make no sense leave questions open, and there may be five of them.
    """
    for file in place.home.glob(f"state*/{FILE_NAME}"):
        with closing(sqlite3.connect(file, timeout=10)) as raw:
            raw.execute("DELETE FROM pending WHERE document LIKE '%\"waiting\"%'")
            raw.commit()
    if tool == "upload_audience_file":
        write_people(place.folder / FILE)
        return ARGUMENTS[tool]
    return ARGUMENTS[tool] | {"users": [{"email": f"someone{next(SERIAL)}@example.com"}]}


@contextmanager
def peer_in_memory(place: Place, era: str) -> Generator[Peer]:
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("", "mcp", "httpx", "asyncio")}
    with start_blocking_portal() as portal, ExitStack() as stack:
        store = Store(place.home / "state in memory")
        server = mcp_server(
            place.cams, store=store, policy=Policy(ask_seconds=1), folder=place.folder, result_tokens=10**9
        )
        peer = InMemory(era, portal, stack.enter_context(portal.wrap_async_context_manager(server)))
        handler = peer.log_handler()
        root.addHandler(handler)
        for name in levels:
            logging.getLogger(name).setLevel(logging.DEBUG if name == "" else logging.WARNING)
        peer.connect()
        try:
            yield peer
        finally:
            peer.close()
            store.close()
            root.removeHandler(handler)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def peer_over_stdio(place: Place, era: str) -> Generator[Peer]:
    peer = OverStdio(
        era,
        place.serve,
        place.env | {"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "20"},
        place.home / f"stdio {era}",
    )
    peer.connect()
    try:
        yield peer
    finally:
        peer.close()


@pytest.fixture(scope="module")
def http_url(place: Place) -> Generator[tuple[str, Path]]:
    log = place.home / "http"
    command = [*place.serve, "--transport", "http", "--port", "0"]
    with log.open("wb") as errors, subprocess.Popen(command, stderr=errors, env=place.env) as process:
        try:
            yield _listening(process, log), log
        finally:
            process.kill()


def _listening(process: subprocess.Popen[bytes], log: Path) -> str:
    with log.open(encoding="utf-8") as lines:
        while process.poll() is None:
            for line in lines:
                if line.startswith("Listening on "):
                    return line.removeprefix("Listening on ").strip()
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
    raise AssertionError(log.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=[f"{transport}-{era}" for transport in TRANSPORTS for era in ERAS])
def peer(request: pytest.FixtureRequest, place: Place) -> Generator[Peer]:
    """A client of each era on each transport."""
    transport, _, era = request.param.partition("-")
    if transport == "http":
        url, log = request.getfixturevalue("http_url")
        over_http = OverHttp(era, url, log)
        over_http.connect()
        yield over_http
        over_http.close()
        return
    with (peer_in_memory if transport == "memory" else peer_over_stdio)(place, era) as connected:
        yield connected


def collecting(test: Callable[..., None]) -> Callable[..., None]:
    """Gives a test its `found`, and fails at its end with everything in it."""
    signature = inspect.signature(test)

    @functools.wraps(test)
    def collected(**given_: Any) -> None:
        with findings() as found:
            test(found=found, **given_)

    rest = [each for name, each in signature.parameters.items() if name != "found"]
    collected.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return collected


def some(
    peer: Peer, values: Mapping[str, str], offset: int = 0, *, most: int = 1000, elsewhere: int = 3
) -> dict[str, str]:
    """`most` values for the client in memory, and fewer `elsewhere`; with another offset, others."""
    count = most if isinstance(peer, InMemory) and peer.era == "auto" else elsewhere
    names = list(values)
    offset += 7 * TRANSPORTS.index(peer.transport)
    return {name: values[name] for name in islice(cycle(names), offset % len(names), offset % len(names) + count)}


# --- (a) What CAMS answers -------------------------------------------------------------------------------------------

KEPT = frozenset(TARGET.values())
"""Identifiers that look-ups go by."""


LONG_FROM = 100_000
MOST_ROWS = 3
"""Enough of them: each is as hostile as the others."""


def _rows(value: str) -> Change:
    """Every string of the data, unknown members too."""

    def change(action: str, document: Document) -> Document:
        left = 3 if len(value) > LONG_FROM else 10_000

        def of(leaf: Any) -> Any:
            nonlocal left
            if not isinstance(leaf, str) or leaf in KEPT or not left:
                return leaf
            left -= 1
            return value

        data = document.get("Data")
        rows = data.get("List") if isinstance(data, dict) else data
        if rows:
            del rows[MOST_ROWS:]
        data = replaced(data, of)
        rows = data.get("List") if isinstance(data, dict) else data
        for row in rows or () if len(value) < LONG_FROM else ():
            row[value] = {value: [value]}
        return document | {"Data": data, value: value} if data is not None else document

    return change


def _envelope(value: str) -> Change:
    """The elements around the data of a success."""
    said = {"Code": value, "Message": value, "RequestId": value, "AccessDeniedDetail": {value: [value]}, value: value}
    return lambda _, document: document | said


def _refusal(value: str) -> Change:
    said = {"Success": False, "Code": value, "Message": value, "RequestId": value, "AccessDeniedDetail": value}
    return lambda *_: said | {value: value}


def _known_refusal(value: str) -> Change:
    """A code that means something, beside hostile words."""
    said = {"Code": "Forbidden.RAM", "Message": value, "RequestId": value, "AccessDeniedDetail": {value: value}}
    return lambda *_: said


def _wrong_types(value: str) -> Change:
    """A string wherever CAMS documents a number or a truth value, and the other way round."""

    def of(leaf: Any) -> Any:
        return [value] if isinstance(leaf, str) else value

    def change(action: str, document: Document) -> Document:
        data = document.get("Data")
        rows = data.get("List") if isinstance(data, dict) else data
        if rows:
            del rows[1 if len(value) > LONG_FROM else MOST_ROWS :]
        return document | {"Data": replaced(data, of), "Total": value}

    return change


def _only_text(value: str) -> Change:
    return lambda *_: value


def _raw(value: str) -> Change:
    """Text as bytes that JSON would have escaped; surrogates as no UTF-8 has them."""

    def change(action: str, document: Document) -> bytes:
        text = json.dumps(_rows(value)(action, document), ensure_ascii=False)
        return text.encode("utf-8", "surrogatepass")

    return change


ANSWERS: dict[str, tuple[Callable[[str], Change], int | None]] = {
    "rows": (_rows, None),
    "envelope": (_envelope, None),
    "refusal": (_refusal, None),
    "refusal of the gateway": (_refusal, 400),
    "known refusal": (_known_refusal, 403),
    "failure of the gateway": (_refusal, 503),
    "wrong types": (_wrong_types, None),
    "only text": (_only_text, None),
    "raw bytes": (_raw, None),
}
"""What CAMS answers, given a value, and the HTTP status."""


def is_turn(peer: Peer, number: int) -> bool:
    """The full client takes every turn; of the others, one era the even turns and the other the odd ones."""
    return (isinstance(peer, InMemory) and peer.era == "auto") or number % 2 == ERAS.index(peer.era)


def hostile_answers(peer: Peer, offset: int = 0, **how_many: int) -> Iterator[tuple[str, Change, int | None]]:
    for number, (kind, (make, status)) in enumerate(ANSWERS.items()):
        chosen = some(peer, HOSTILE, 5 * (offset + number), **how_many) if is_turn(peer, number + offset) else {}
        for name, value in chosen.items():
            yield f"{kind}: {name}", make(value), status


def long_answers(peer: Peer) -> Iterator[tuple[str, Change, int | None]]:
    kinds = cycle(ANSWERS)
    for name, value in some(peer, LONG, elsewhere=1).items():
        for kind in islice(kinds, 2):
            make, status = ANSWERS[kind]
            yield f"{kind}: {name}", make(value), status


@pytest.mark.parametrize("tool", READS)
@collecting
def test_no_answer_of_cams_to_a_read_breaks_the_server(peer: Peer, place: Place, found: Findings, tool: str) -> None:
    number = READS.index(tool)
    answers = hostile_answers(peer, number, most=4 if number else 14, elsewhere=1)
    for label, change, status in chain(answers, () if number else long_answers(peer)):
        with place.cams.answering(change, status=status):
            probe(found, peer, label, lambda: peer.call(tool, ARGUMENTS[tool]))


@collecting
def test_no_answer_of_cams_about_a_person_shows_the_person_in_an_error(
    peer: Peer, place: Place, found: Findings
) -> None:
    kinds = {kind: ANSWERS[kind] for kind in ("refusal", "known refusal", "failure of the gateway", "only text")}
    tools = cycle(READS)
    for name, value in some(peer, HOSTILE).items():
        for kind, (make, status) in kinds.items():
            tool = next(tools)
            with place.cams.answering(make(with_person(value)), status=status):
                probe(found, peer, f"{tool}: {kind}: {name}", lambda tool=tool: peer.call(tool, ARGUMENTS[tool]))


def _only(wanted: str, change: Change) -> Change:
    """Only the write's answer, or only the look-ups."""
    writes = {ACTIONS[tool] for tool in WRITES}

    def of(action: str, document: Document) -> Any:
        return change(action, document) if (action in writes) == (wanted == "write") else document

    return of


@pytest.mark.parametrize("tool", [*WRITES, "upload_audience_file"])
@pytest.mark.parametrize("wanted", ["write", "look-ups"])
@collecting
def test_no_answer_of_cams_around_a_write_breaks_the_server(
    peer: Peer, place: Place, found: Findings, tool: str, wanted: str
) -> None:
    peer.reply = GOOD_REPLY if wanted == "write" else CLOSED
    for label, change, status in hostile_answers(peer, len(tool) + len(wanted), most=3, elsewhere=1):
        # Another status would be that of the other answers too.
        with place.cams.answering(_only(wanted, change), status=None if wanted == "look-ups" else status):
            arguments, asked = anew(tool, place), len(peer.asked)
            probe(found, peer, label, lambda given=arguments: peer.call(tool, given))
            assert wanted == "look-ups" or len(peer.asked) == asked + 1 or found.losses


@collecting
def test_no_name_from_cams_forges_or_hides_what_a_person_confirms(peer: Peer, place: Place, found: Findings) -> None:
    peer.reply = CLOSED
    for tool in (*WRITES, "upload_audience_file"):
        peer.asked.clear()
        arguments = anew(tool, place)
        peer.call(tool, arguments)
        lines = len(peer.asked[0].splitlines())
        for name, value in some(peer, HOSTILE, len(tool), elsewhere=4).items():
            peer.asked.clear()
            with place.cams.answering(_only("look-ups", _rows(f"Real{value}name"))):
                probe(found, peer, f"{tool}: {name}", lambda tool=tool, given=arguments: peer.call(tool, given))
            assert peer.asked or found.losses
            for question in peer.asked:
                for problem in problems_of_question(question, lines):
                    found.add(f"{tool}: {name}", problem)


@pytest.mark.parametrize("wanted", ["resource", "completion"])
@collecting
def test_no_answer_of_cams_breaks_a_resource_or_a_completion(
    peer: Peer, place: Place, found: Findings, wanted: str
) -> None:
    for number, (label, change, status) in enumerate(hostile_answers(peer, len(wanted), most=3, elsewhere=1)):
        # Lists are remembered for each set of arguments: a new one each time.
        chosen = {"cust_space_id": TARGET["cust_space_id"], "page_id": str(number)}
        with place.cams.answering(change, status=status):
            if wanted == "resource":
                probe(found, peer, label, lambda: peer.ask("resources/read", {"uri": ACCOUNTS}))
            else:
                params = _completion("grow_audience", "custom_audience_id", "", chosen)
                probe(found, peer, label, lambda params=params: peer.ask("completion/complete", params))


HEADERS: list[dict[str, str]] = [
    {"x-acs-request-id": PERSON},
    {"x-acs-request-id": "\u202e上海\U000e0041"},
    {"x-acs-request-id": "x" * 8000},
    *({"date": date} for date in ("Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 1 Jan 0001 00:00:00 +2359", "1", "上海")),
    *({"date": f"Mon, 01 Jan 2024 00:00:00 {zone}"} for zone in ("+9999999999", "-99999999999999999999", "%s", "nan")),
    *({"x-acs-retry-after": wait} for wait in ("nan", "inf", "1e999", "-1", "9" * 5000, "١٢", PERSON)),
    *(
        {"content-type": kind}
        for kind in ("text/html; charset=\u00ff", "application/json; charset=rot13", "%s", PERSON)
    ),
    {"content-encoding": "gzip"},
    {"content-encoding": PERSON},
    {"location": f"http://{MAIL}/"},
    {"set-cookie": PERSON},
]


@collecting
def test_no_header_of_cams_breaks_the_server(peer: Peer, place: Place, found: Findings) -> None:
    if isinstance(peer, InMemory):
        return  # headers are bytes only on a wire
    answers = [("Throttling.User", 400), ("InvalidTimeStamp.Expired", 400), ("X", 200), ("X", 301)]
    for number, headers in enumerate(HEADERS):
        name = next(iter(headers))
        wanted = {"date": answers[1:2], "x-acs-retry-after": answers[:1]}.get(name, answers[number % 2 :: 2])
        for code, status in wanted:
            said = {"Code": code, "Message": "no"}
            with place.cams.answering(lambda *_, said=said: said, status=status, headers=headers):
                label = f"{status} {code} {headers}".encode("ascii", "backslashreplace").decode()[:100]
                probe(found, peer, label, lambda: peer.call("list_instance", {}))


NUMBERS = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0.0",
    b"1" * 400,
    b"1" * 5000,
    b"1.5",
    b"[" * 3000 + b"]" * 3000,
    b"[" * 200_000,
    b'{"a":' * 2000 + b"1" + b"}" * 2000,
    b'{"__proto__":1,"a":1,"a":2}',
    b"true",
    b'"\xff\xfe"',
    b"\xef\xbb\xbf1",
    b"1 2",
    b"",
]


@collecting
def test_no_value_of_an_answer_that_is_not_text_breaks_the_server(peer: Peer, place: Place, found: Findings) -> None:
    for turn, (tool, number) in enumerate(product([*READS, *WRITES], NUMBERS)):
        if is_turn(peer, turn) and (turn % 3 == 0 or is_turn(peer, turn + 1)):

            def change(action: str, document: Document, number: bytes = number) -> bytes:
                hollow = replaced(document, lambda leaf: leaf if isinstance(leaf, str | bool) else "(number)")
                return json.dumps(hollow).encode().replace(b'"(number)"', number)

            label = f"{tool}: {number[:30]!r}"
            with place.cams.answering(change):
                given = anew(tool, place) if tool in WRITES else ARGUMENTS[tool]
                probe(found, peer, label, lambda tool=tool, given=given: peer.call(tool, given))


# --- (b) What a client sends -----------------------------------------------------------------------------------------

Where = tuple[str | int, ...]
SURROGATES = [name for name, value in HOSTILE.items() if any("\ud800" <= sign <= "\udfff" for sign in value)]


def schema_places(schema: Mapping[str, Any], path: Where = ()) -> Iterator[Where]:
    """Every place of a schema, nested ones and objects too."""
    for name, node in schema.get("properties", {}).items():
        yield (*path, name)
        yield from schema_places(node, (*path, name))
        if "items" in node:
            yield (*path, name, 0)
            yield from schema_places(node["items"], (*path, name, 0))


def hostile_arguments(tool: str, where: Where, value: str) -> Iterator[dict[str, Any]]:
    """The value in one place: as text, in an object and an array, as a key, and all of it as JSON text."""
    valid = copy.deepcopy(ARGUMENTS[tool])
    yield put(valid, where, value)
    yield put(valid, where, {value: value})
    yield put(valid, (*(where[:-1] if isinstance(where[-1], str) else where), value), value)
    if len(where) > 1:
        whole = put(valid, where, value)
        yield whole | {where[0]: json.dumps(whole[where[0]])}
        yield whole | {where[0]: json.dumps(whole[where[0]], ensure_ascii=False)}


@pytest.mark.parametrize("tool", TOOLS)
@collecting
def test_no_argument_of_a_tool_breaks_the_server_or_comes_back_in_an_error(
    peer: Peer, found: Findings, tool: str
) -> None:
    peer.reply = CLOSED
    for number, where in enumerate(schema_places(TOOLS[tool].input_schema)):
        texts = {name: with_person(value) for name, value in HOSTILE.items()}
        texts |= {f"{name}, alone": VALUES[name] for name in ALONE}
        chosen = some(peer, texts, 7 * number, most=6 if number else 1000, elsewhere=1)
        chosen = chosen if is_turn(peer, number) else {}
        for turn, (name, value) in enumerate(chosen.items()):
            forms = list(hostile_arguments(tool, where, value))
            other = 1 + turn % (len(forms) - 1)
            for form in (0,) if len(value) > LONG_FROM or turn % 2 else (0, other):
                label = f"{'.'.join(map(str, where))} (form {form}): {name}"
                answer = probe(found, peer, label, lambda arguments=forms[form]: peer.call(tool, arguments))
                _check_preview(found, label, where, answer)


ALONE = ["NUL", "newlines", "spaces", "long digits", "other digits", "long number", "option", "path", *LONG]
"""Values that mean something else by themselves than beside a person."""


def _check_preview(found: Findings, label: str, where: Where, answer: Mapping[str, Any] | None) -> None:
    """Addresses are masked in what a write answers."""
    if where[0] == "users" and answer is not None and shows_person(json.dumps(answer)):
        found.add(label, "the answer shows the person")


def _completion(prompt: str, argument: str, value: str, chosen: Mapping[str, str] | None = None) -> dict[str, Any]:
    context = {"context": {"arguments": dict(chosen)}} if chosen else {}
    return {
        "ref": {"type": "ref/prompt", "name": prompt},
        "argument": {"name": argument, "value": value},
        **context,
    }


def hostile_requests(value: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where a client's text goes besides the arguments of tools: place, method, parameters."""
    yield "name of a tool", "tools/call", {"name": value, "arguments": {}}
    yield "member of a call", "tools/call", {"name": "list_instance", "arguments": {}, value: value}
    for token in ("progressToken", value):
        yield "progress token", "tools/call", {"name": "list_instance", "arguments": {}, "_meta": {token: value}}
    yield "request state", "tools/call", {"name": WRITES[0], "arguments": ARGUMENTS[WRITES[0]], "requestState": value}
    yield "cursor", "tools/list", {"cursor": value}
    yield "name of a prompt", "prompts/get", {"name": value}
    for name, prompt in PROMPTS.items():
        required = {argument: "1" for argument, about in prompt.arguments.items() if about.required}
        for argument in (*prompt.arguments, value):
            given_ = {"name": name, "arguments": required | {argument: value}}
            yield f"{name}.{argument if argument != value else 'key'}", "prompts/get", given_
    for uri in (value, f"cams://{value}", f"{ACCOUNTS}?{value}", f"file:///{value}"):
        yield "uri", "resources/read", {"uri": uri}
    yield "completed prompt", "completion/complete", _completion(value, "cust_space_id", "")
    yield "completed argument", "completion/complete", _completion("grow_audience", value, "")
    yield "completed value", "completion/complete", _completion("grow_audience", "cust_space_id", value)
    yield (
        "completion's context",
        "completion/complete",
        _completion(
            "grow_audience", "custom_audience_id", "", {value: value, "cust_space_id": value, "page_id": value}
        ),
    )
    yield (
        "completed resource",
        "completion/complete",
        {
            "ref": {"type": "ref/resource", "uri": value},
            "argument": {"name": value, "value": value},
        },
    )
    yield "kind of completion", "completion/complete", {"ref": {"type": value}, "argument": {"name": "a", "value": ""}}


@collecting
def test_no_text_of_a_request_breaks_the_server_or_comes_back_in_an_error(peer: Peer, found: Findings) -> None:
    for number, (name, value) in enumerate(some(peer, VALUES, most=20, elsewhere=8).items()):
        text = with_person(value)
        requests = list(hostile_requests(text))
        if len(value) > LONG_FROM or not isinstance(peer, InMemory):
            requests = requests[number % 4 :: 4]
        for where, method, params in requests:
            probe(found, peer, f"{where}: {name}", lambda m=method, p=params: peer.ask(m, p))
        if not (isinstance(peer, OverHttp) and peer.era == "auto" and not value.isprintable()) and not (
            isinstance(peer, InMemory) and name in SURROGATES
        ):
            # The SDK repeats an unknown method.
            probe(found, peer, f"method: {name}", lambda m=value: peer.ask(m), echoes=(value,))


@collecting
def test_any_text_is_an_id_of_a_request(peer: Peer, found: Findings) -> None:
    for name, value in some(peer, VALUES, elsewhere=12).items():
        if isinstance(peer, InMemory) and name in SURROGATES:
            continue  # no transport lets it in
        label, identifier = f"id: {name}", with_person(value)
        answer = probe(
            found, peer, label, lambda i=identifier: peer.ask("tools/list", identifier=i), echoes=(identifier,)
        )
        if answer is not None and "result" not in answer and answer.get("id") is not None:
            found.add(label, "a good request with an odd id got an error")


@collecting
def test_no_client_breaks_the_server_by_its_name(place: Place, peer: Peer, found: Findings) -> None:
    peer.reply = CLOSED
    tool = WRITES[0]
    for name, value in some(peer, HOSTILE, elsewhere=8).items():
        info = {"name": with_person(value), "version": value, "title": value, value: value}
        if peer.era == "auto":
            meta = {"io.modelcontextprotocol/clientInfo": info}
            given = anew(tool, place)
            probe(found, peer, name, lambda meta=meta, given=given: peer.call(tool, given, _meta=meta))
        elif isinstance(peer, OverHttp):
            handshake = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
            fresh = OverHttp("auto", *_url_and_log(peer))
            fresh.era = "handshake"
            fresh.connect()
            probe(found, peer, name, lambda fresh=fresh, h=handshake: fresh.ask("initialize", h))
            given = anew(tool, place)
            probe(found, peer, name, lambda fresh=fresh, given=given: fresh.call(tool, given))
            fresh.close()
        elif isinstance(peer, InMemory):
            handshake = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
            probe(found, peer, name, lambda h=handshake: peer.ask("initialize", h))
    peer.reconnect()  # as a client that can be asked


def _url_and_log(peer: OverHttp) -> tuple[str, Path]:
    return peer._url, peer._log  # noqa: SLF001 - another client of the same server


@collecting
def test_no_reply_to_a_question_breaks_the_server_or_sends(peer: Peer, place: Place, found: Findings) -> None:
    tool = WRITES[0]
    sent: list[str] = []
    is_typed = isinstance(peer, InMemory) and peer.era == "legacy"  # the SDK's own types take no text for a result
    for number, (name, value) in enumerate(some(peer, HOSTILE, most=10, elsewhere=2).items()):
        text = with_person(value)
        for reply in (
            {"action": text},
            {"action": "accept", "content": {text: text}},
            {"action": "accept", "content": {"confirm": text}},
            {"action": "decline", "content": {"confirm": True, text: text}},
            {text: text},
            *(
                [text] if number == 0 and not is_typed else []
            ),  # no answer at all: the server waits for one as long as it may
        ):
            peer.reply = reply  # type: ignore[assignment]

            def note(action: str, document: Document, name: str = name) -> Document:
                if action == ACTIONS[tool]:
                    sent.append(name)
                return document

            given, asked = anew(tool, place), len(peer.asked)
            with place.cams.answering(note):
                probe(
                    found,
                    peer,
                    f"{name}: {sorted(reply)[:1] if isinstance(reply, dict) else 'text'}"[:40],
                    lambda given=given: peer.call(tool, given),
                )
            assert len(peer.asked) > asked or found.losses
    for name in sent:
        found.add(name, "the write was sent without a yes")


LINES: dict[str, bytes] = {
    "not JSON": b"garbage %s {0}",
    "no UTF-8": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"\xff\xfe"}}',
    "surrogates as bytes": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"\xed\xa0\xbd"}}',
    "lone surrogate": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"\\ud83d"}}',
    "raw NUL": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"\x00"}}',
    "raw controls": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"\x1b[2J"}}',
    "byte order mark": b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
    "empty array": b"[]",
    "batch": b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
    "number": b"1",
    "NaN": b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
    "huge id": b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}',
    "deep": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "deep and valid": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + b"[" * 150 + b"]" * 150 + b"}}",
    "object as id": b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
    "no method": b'{"jsonrpc":"2.0","id":1}',
    "parameters as text": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}',
    "arguments as text": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":"x"}}',
    "a person": json.dumps({"jsonrpc": "2.0", "id": 1, "method": PERSON, "params": PERSON}).encode(),
}
"""Lines that a client of the protocol would not write. Each is a request, or nothing that can be read as one."""


@pytest.mark.parametrize("name", LINES)
@collecting
def test_any_line_gets_an_answer_and_the_next_one_a_good_answer(peer: Peer, found: Findings, name: str) -> None:
    if isinstance(peer, OverStdio):
        probe(found, peer, name, lambda: peer.exchange_raw(LINES[name], 1))
    elif isinstance(peer, OverHttp):
        headers = peer._headers({"method": "ping"})  # noqa: SLF001 - raw bytes have no headers of their own
        probe(found, peer, name, lambda: peer.exchange_raw(LINES[name], 1, headers))


@pytest.mark.parametrize(
    "name",
    [
        "mcp-name",
        "mcp-method",
        "mcp-protocol-version",
        "mcp-session-id",
        "authorization",
        "x-request-id",
        "traceparent",
        "origin",
        "host",
        "accept",
        "content-type",
    ],
)
@collecting
def test_no_header_of_a_client_breaks_the_server(peer: Peer, found: Findings, name: str) -> None:
    if not isinstance(peer, OverHttp):
        return  # no headers
    texts = [PERSON, "\xff\xfe", "a" * 8000, "%s{0}", "=?base64?!!!?=", "=?base64?7aC9?=", "上海", "null", "*/*;q=nan",
             "application/json; charset=\xff", "http://[", "00-" + "z" * 32]  # fmt: skip
    for text in texts:
        message = peer.message("tools/list", {})
        headers = {key: value.encode() for key, value in peer._headers(message).items()}  # noqa: SLF001
        headers[name] = text.encode()
        label = f"{name}: {text[:30]!r}"
        raw = json.dumps(message).encode()
        probe(found, peer, label, lambda raw=raw, m=message, h=headers: peer.exchange_raw(raw, m["id"], h))  # type: ignore[arg-type]


def test_standard_output_is_the_protocol_to_its_end(place: Place) -> None:
    with findings() as found:
        server = OverStdio("legacy", place.serve, place.env, place.home / "to the end")
        server.connect()
        try:
            for name, value in HOSTILE.items():
                if name not in SURROGATES:
                    probe(found, server, name, lambda value=value: server.call("list_instance", {"filter_str": value}))
            status, rest = server.end()
            assert (status, rest) == (0, b"")
        except Lost as lost:
            found.add("the end", str(lost))
        finally:
            server.close()


# --- (c) Files -------------------------------------------------------------------------------------------------------


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


GOOD = ["good@example.com", "+12025550123", "note"]
HEAD = ["email", "phone", "note"]


def hostile_files(value: str) -> Iterator[tuple[str, bytes]]:
    """Name (of the form) and content of files with the value in one place."""
    text = with_person(value)
    for number, column in enumerate(HEAD):
        row = [*GOOD]
        row[number] = f"{value}{MAIL}" if column == "email" else text
        yield f"cell {column}.csv", _csv([HEAD, row, GOOD])
        head = [*HEAD]
        head[number] = text
        yield f"header {column}.csv", _csv([head, GOOD])
    yield "only row.csv", _csv([[text]])
    yield "raw.csv", f"{text}\n{text}".encode("utf-8", "surrogatepass")
    yield "raw.tsv", f"email\t{text}\n{MAIL}\t{text}".encode("utf-8", "surrogatepass")
    for ascii_only in (True, False):
        records = [{"email": MAIL, text: text}, {"email": f"{value}{MAIL}", "phone": text}, {"email": {text: text}}]
        lines = "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in records)
        yield f"members {ascii_only}.jsonl", lines.encode("utf-8", "surrogatepass")
    yield "raw.jsonl", text.encode("utf-8", "surrogatepass")
    for encoding in ("utf-16", "utf-16-le", "utf-32", "gb18030", "shift_jis", "latin-1", "utf-7"):
        raw = _csv([HEAD, [MAIL, "", value]]).decode("utf-8", "surrogatepass").encode(encoding, "replace")
        yield f"{encoding}.csv", raw


def workbook(value: str) -> bytes | None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    raw = io.BytesIO()
    try:
        for row in (["email", value], [f"{value}{MAIL}", value], [MAIL, value]):
            sheet.append(row)
        book.save(raw)
    except (ValueError, IllegalCharacterError):
        return None  # XML cannot hold it
    return raw.getvalue()


BROKEN: dict[str, bytes] = {
    "empty.csv": b"",
    "NUL.csv": b"email\n\x00\n",
    "surrogates.csv": b"email\n\xed\xa0\xbda@example.com\n",
    "half.csv": "email\n上".encode()[:-1],
    "half pair.csv": "email\n\U0001f600".encode("utf-16")[:-2],
    "quote.csv": b'email\n"a@example.com',
    "no workbook.xlsx": b"PK\x03\x04" + b"\x00" * 100,
    "text.xlsx": b"email\n",
    "digits.jsonl": b'{"phone": ' + b"1" * 5000 + b"}",
    "constants.jsonl": b'{"phone": NaN, "email": Infinity}\n{"phone": 1e400}',
    "deep.jsonl": b"[" * 100_000,
    "returns.csv": b"email\ra@example.com\r\r\nb@example.com\n\r",
    "marks.csv": b"\xef\xbb\xbf\xef\xbb\xbfemail\na@example.com\n",
    "wide.csv": b"," * 60_000 + b"\nemail",
}


@pytest.mark.parametrize("tool", FILE_ARGUMENTS)
@collecting
def test_no_file_breaks_the_server_or_shows_its_people(peer: Peer, place: Place, found: Findings, tool: str) -> None:
    peer.reply = CLOSED
    contents = {name: raw for number, (name, raw) in enumerate(BROKEN.items()) if is_turn(peer, number)}
    for number, (name, value) in enumerate(some(peer, HOSTILE, most=8, elsewhere=2).items()):
        files = list(hostile_files(value))
        files = files[number % 3 :: 3]
        contents |= {f"{name} in {form}": raw for form, raw in files}
        if (book := workbook(value)) is not None:
            contents[f"{name} in a workbook.xlsx"] = book
    for name, raw in contents.items():
        target = place.folder / f"hostile{Path(name).suffix}"
        target.write_bytes(raw)
        good = FILE_ARGUMENTS[tool]
        forms: dict[str, dict[str, Any]] = {"file": {"path": target.name}}
        if tool == "check_audience_file" and (isinstance(peer, InMemory) or name not in BROKEN):
            forms["suppression"] = {"suppression_path": target.name}
        for form, arguments in forms.items():
            peer.asked.clear()
            label = f"{form}: {name}"
            answer = probe(found, peer, label, lambda given=good | arguments: peer.call(tool, given))
            texts = [json.dumps(answer), *peer.asked]
            # A file without a header shows where its columns are, never what they hold.
            if "header" not in name and any(map(shows_person, texts)):
                found.add(label, "the answer shows the person")


def names_of_files(folder: Path, suffix: str) -> Iterator[tuple[str, str]]:
    """Names of values that a file can be called, and the name; the file is there."""
    for name, value in HOSTILE.items():
        called = f"{for_a_process(value).replace('/', '_')[:60]}{suffix}"
        try:
            write_people(folder / called)
        except (OSError, ValueError):
            continue
        yield name, called


@collecting
def test_a_file_may_be_called_anything(peer: Peer, place: Place, found: Findings) -> None:
    peer.reply = GOOD_REPLY
    called_so = dict(names_of_files(place.folder, ".csv"))
    for name, called in some(peer, called_so, elsewhere=6).items():
        for tool, arguments in FILE_ARGUMENTS.items():
            probe(found, peer, f"{tool}: {name}", lambda t=tool, a=arguments, c=called: peer.call(t, a | {"path": c}))


# --- (d) Commands, their arguments and their environment ------------------------------------------------------------


@pytest.fixture(scope="module")
def command(place: Place) -> Command:
    return Command(place.home, place.env | {"CAMS_MCP_LOG_LEVEL": "debug"})


ENCODINGS = ("utf-8", "gbk")
"""Of standard output: one that has all letters, and one that most Chinese consoles of Windows have."""

TARGET_OPTIONS = [
    *("--space", TARGET["cust_space_id"], "--page", TARGET["page_id"]),
    *("--ad-account", TARGET["ad_account_id"], "--audience", TARGET["custom_audience_id"]),
]


@pytest.mark.parametrize("encoding", ENCODINGS)
@collecting
def test_no_answer_of_cams_breaks_a_command(place: Place, command: Command, found: Findings, encoding: str) -> None:
    path = str(place.folder / FILE)
    commands: dict[str, list[str]] = {
        **{tool: ["call", tool, json.dumps(ARGUMENTS[tool])] for tool in (*READS, *WRITES)},
        "upload": ["upload", path, *TARGET_OPTIONS, "--yes", "--hold-hours", "0"],
        "doctor": ["doctor"],
        "doctor --json": ["doctor", "--json"],
    }
    turns = cycle(commands)
    kinds = cycle([kind for kind in ANSWERS if kind != "rows"])
    for name, value in islice(HOSTILE.items(), 0, None, 1 if encoding == "utf-8" else 3):
        for kind, each in (("rows", "list_instance"), ("refusal", next(turns)), (next(kinds), next(turns))):
            make, status = ANSWERS[kind]
            with place.cams.answering(make(value), status=status):
                ran = command(*commands[each], encoding=encoding)
            for problem in problems_of_run(ran, data=True):
                found.add(f"{each}: {kind}: {name}", problem)
            if kind == "rows" and readable(ran.text) != ran.text:
                found.add(f"{each}: {kind}: {name}", "standard output holds characters that are not readable")


@collecting
def test_no_argument_of_a_command_breaks_it_or_comes_back(place: Place, command: Command, found: Findings) -> None:
    path = str(place.folder / FILE)
    tools = cycle(TOOLS)
    for number, (name, value) in enumerate(HOSTILE.items()):
        alone = for_a_process(value)
        text = for_a_process(with_person(value))
        tool = next(tools)
        where = next(chain(islice(schema_places(TOOLS[tool].input_schema), len(name) % 4, None), [("x",)]))
        filled = json.dumps(put(copy.deepcopy(ARGUMENTS[tool]), where, with_person(value)))
        target = ["upload", path, *TARGET_OPTIONS, "--yes"]
        runs: dict[str, tuple[list[str], bytes]] = {
            "call TOOL": (["call", "--", text], b""),
            "call JSON": (["call", "list_instance", "--", text], b""),
            "call with an argument": (["call", "--upload-dir", str(place.folder), tool, filled], b""),
            "call @FILE": (["call", "list_instance", f"@{text}"], b""),
            "call -": (["call", "list_instance", "-"], with_person(value).encode("utf-8", "surrogatepass")),
            "upload FILE": (["upload", "--", text], b""),
            "upload --email-column": (["upload", path, "--dry-run", f"--email-column={text}"], b""),
            "upload --email-column, alone": (["upload", path, "--dry-run", f"--email-column={alone}"], b""),
            "upload --default-region": (["upload", path, "--dry-run", f"--default-region={text}"], b""),
            "upload --suppression": (["upload", path, "--dry-run", f"--suppression={text}"], b""),
            "upload --invalid-rows": (["upload", path, "--dry-run", f"--invalid-rows={place.home}/{text[:50]}"], b""),
            "upload --resume": ([*target, f"--resume={text}"], b""),
            "upload --audience": ([*target, f"--audience={text}"], b""),
            "audit --since": (["audit", f"--since={text}"], b""),
            "config CLIENT": (["config", "--", text], b""),
            "a command": ([text], b""),
        }
        for option in ("name", "region", "profile", "command", "path"):
            client = list(CLIENTS)[len(name) % len(CLIENTS)]
            runs[f"config --{option}"] = (["config", client, f"--{option}={alone}"], b"")
        for label, (arguments, stdin) in islice(runs.items(), number % 2, None, 2):
            ran = command(*arguments, stdin=stdin)
            data = ran.status in (0, 3) and label == "call with an argument"
            for problem in problems_of_run(ran, data=data, exact=label.startswith("config --")):
                found.add(f"{label}: {name}", problem)


@collecting
def test_config_writes_any_text_so_that_it_can_be_read(
    tmp_path: Path, place: Place, command: Command, found: Findings
) -> None:
    for number, (name, value) in enumerate(HOSTILE.items()):
        client = list(CLIENTS)[number % len(CLIENTS)]
        file = tmp_path / str(number)
        text = for_a_process(value)
        for _ in range(2):
            run = ["config", client, "--write", f"--path={file}", f"--command={text}", "--force"]
            for problem in problems_of_run(command(*run), exact=True):
                found.add(f"{client}: {name}", problem)
        if file.exists():
            before = file.read_bytes()
            file.write_bytes(before + value.encode("utf-8", "surrogatepass"))
            for problem in problems_of_run(command(*run), exact=True):
                found.add(f"{client}: a file that ends in {name}", problem)


@pytest.mark.parametrize("encoding", ENCODINGS)
@collecting
def test_any_file_can_be_checked_and_uploaded(place: Place, command: Command, found: Findings, encoding: str) -> None:
    every = 1 if encoding == "utf-8" else 3
    with tempfile.TemporaryDirectory() as folder:
        for turn, (name, called) in enumerate(islice(names_of_files(Path(folder), ".csv"), 0, None, every)):
            path = f"{folder}/{called}"
            runs = {
                "upload": ["upload", path, *TARGET_OPTIONS, "--yes", "--hold-hours", "0"],
                "upload --dry-run": ["upload", path, "--dry-run"],
                "upload --suppression": ["upload", str(place.folder / FILE), "--dry-run", "--suppression", path],
            }
            for label in ("upload", list(runs)[1 + turn % 2]):
                for problem in problems_of_run(command(*runs[label], encoding=encoding)):
                    # The result repeats the path that was given.
                    if not (shows_person(called) and problem == "the output shows the person"):
                        found.add(f"{label}: called {name}", problem)
        for number, (name, value) in enumerate(islice(HOSTILE.items(), 0, None, every)):
            for form, raw in islice(hostile_files(value), number % 12, None, 12):
                file = Path(folder, f"hostile{Path(form).suffix}")
                file.write_bytes(raw)
                for problem in problems_of_run(command("upload", str(file), "--dry-run", encoding=encoding)):
                    # A header may be shown: it is no row.
                    if not (form.startswith(("header", "raw", "only")) and "shows" in problem):
                        found.add(f"upload --dry-run: {name} in {form}", problem)


def options_with_variables() -> dict[str, tuple[str, str]]:
    """Every environment variable of an option: a command that has the option, and the option."""
    found: dict[str, tuple[str, str]] = {}
    context = click.Context(cli)
    for name in COMMANDS:
        loaded = cli.get_command(context, name)
        assert loaded is not None
        for parameter in loaded.params:
            if isinstance(parameter, click.Option) and isinstance(parameter.envvar, str):
                found.setdefault(parameter.envvar, (name, parameter.opts[0]))
    return found


WITHOUT_OPTION = [
    *(f"{scheme}_PROXY" for scheme in ("HTTPS", "HTTP", "ALL", "NO")),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME", "COLUMNS", "LANG", "TERM"),
    *(
        f"ALIBABA_CLOUD_{name}"
        for name in (
            *("ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "SECURITY_TOKEN", "PROFILE", "CONFIG_FILE", "CREDENTIALS_FILE"),
            *("ROLE_ARN", "OIDC_PROVIDER_ARN", "OIDC_TOKEN_FILE", "ROLE_SESSION_NAME"),
        )
    ),
]
OF_TRACES = ["TRACES_EXPORTER", "SERVICE_NAME", "RESOURCE_ATTRIBUTES", "EXPORTER_OTLP_ENDPOINT"]


@pytest.fixture
def not_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP servers are put together and not run."""

    async def ready(app: Any, listener: socket.socket, **more: Any) -> None:
        listener.close()

    from cams_mcp.cli import options, serve  # noqa: F401 - imported first, as the program does
    from cams_mcp.http import serve as http_serve

    monkeypatch.setattr(http_serve, "serve_http", ready)


@pytest.mark.usefixtures("not_serving")
@collecting
def test_no_variable_or_option_breaks_the_program_or_comes_back(
    place: Place, command: Command, found: Findings
) -> None:
    names = list(HOSTILE)
    with_options = options_with_variables()
    for number, (variable, (name, option)) in enumerate(with_options.items()):
        base = {
            "call": ["call", "list_instance"],
            "serve": ["serve", "--transport", "http", "--port", "0"],
            "config": ["config", "cursor"],
            "upload": ["upload", str(place.folder / FILE), "--dry-run"],
        }.get(name, [name])
        for key in islice(cycle(names), 3 * number, 3 * number + 4):
            for text in (for_a_process(HOSTILE[key]), for_a_process(with_person(HOSTILE[key]))):
                ran = command(*base, env={variable: text})
                for problem in problems_of_run(ran, exact=name == "config"):
                    found.add(f"{variable} ({name}): {key}", problem)
            ran = command(*base, f"{option}={text}")
            for problem in problems_of_run(ran, exact=name == "config"):
                found.add(f"{option} ({name}): {key}", problem)


@collecting
def test_no_variable_of_others_breaks_the_program_or_comes_back(
    place: Place, command: Command, found: Findings
) -> None:
    names = list(HOSTILE)
    keyless = {"CAMS_MCP_ACCESS_KEY_ID": "", "CAMS_MCP_ACCESS_KEY_SECRET": ""}
    for number, variable in enumerate(WITHOUT_OPTION):
        own = keyless if variable.startswith("ALIBABA") else {}
        for key in islice(cycle(names), 5 * number, 5 * number + 4):
            text = for_a_process(with_person(HOSTILE[key]))
            label, arguments = (("call", ["call", "list_instance"]), ("serve", ["serve"]))[len(key) % 2]
            ran = command(*arguments, env=own | {variable: text})
            for problem in problems_of_run(ran, data=label == "call" and ran.status == 0):
                found.add(f"{variable} ({label}): {key}", problem)


@pytest.mark.parametrize("name", OF_TRACES)
@collecting
def test_no_variable_of_traces_breaks_the_server_or_comes_back(place: Place, found: Findings, name: str) -> None:
    # Traces are set up for a whole process: it has to be a real one.
    chosen_values = ("ANSI escapes", "surrogate escape", "format strings", "JSON")
    text = for_a_process(with_person(HOSTILE[chosen_values[OF_TRACES.index(name)]]))
    chosen = {"OTEL_TRACES_EXPORTER": "console" if name != "EXPORTER_OTLP_ENDPOINT" else "otlp", f"OTEL_{name}": text}
    server = OverStdio("legacy", place.serve, place.env | chosen, place.home / name)
    try:
        server.connect()
        probe(found, server, name, lambda: server.call("list_instance", {}))
        status, _ = server.end()
        if status:
            found.add(name, f"exit status {status}")
    except Lost as lost:
        log = server.logged()
        if "Error: " not in log:  # refused with words
            found.add(name, str(lost))
        for problem in problems_of_log(log):
            found.add(name, problem)
    finally:
        server.close()


ON_COMMAND_LINE: dict[str, list[bytes]] = {
    "tool": [b"call", b"\xff\xfe"],
    "arguments": [b"call", b"list_instance", b'{"filter_str": "\xff"}'],
    "arguments file": [b"call", b"list_instance", b"@\xff"],
    "file": [b"upload", b"\xff.csv", b"--dry-run"],
    "option": [b"doctor", b"--json", b"--region=\xff"],
    "audit": [b"audit", b"--since=\xff"],
    "name": [b"config", b"cursor", b"--command=\xff"],
}


@pytest.mark.parametrize("name", ON_COMMAND_LINE)
def test_bytes_that_are_no_utf_8_on_the_command_line_are_no_crash(place: Place, name: str) -> None:
    write_people(place.home / os.fsdecode(b"\xff.csv"))
    arguments = [place.home.joinpath(os.fsdecode(each)).__fspath__() if each.endswith(b".csv") else each
                 for each in ON_COMMAND_LINE[name]]  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "cams_mcp", *arguments],
        env={os.fsencode(key): os.fsencode(value) for key, value in place.env.items()} | {b"CAMS_MCP_FAULT": b""},
        capture_output=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert b"Traceback" not in ran.stderr
    assert 0 <= ran.returncode <= 4
    assert ran.returncode == 0 or ran.stderr.strip() or ran.stdout.strip()


@collecting
def test_the_audit_trail_and_the_uploads_show_no_person_and_print_in_any_encoding(
    peer: Peer, place: Place, command: Command, found: Findings
) -> None:
    peer.reply = GOOD_REPLY
    named = {"_meta": {"io.modelcontextprotocol/clientInfo": {"name": PERSON, "version": "1"}}}
    for tool in (*WRITES, "upload_audience_file"):
        peer.call(tool, anew(tool, place), **(named if peer.era == "auto" else {}))
        for argument in TARGET:
            probe(found, peer, argument, lambda t=tool, a=argument: peer.call(t, ARGUMENTS[t] | {a: PERSON}))
    if isinstance(peer, InMemory):
        return  # its record is another one
    for arguments in (["audit"], ["audit", "--json"], ["uploads"], ["uploads", "--json"]):
        for encoding in ENCODINGS:
            ran = command(*arguments, encoding=encoding)
            assert ran.stdout, "nothing was recorded, so nothing was tested"
            for problem in problems_of_run(ran):
                found.add(f"{' '.join(arguments)} in {encoding}", problem)
            if ran.status == 0 and "--json" in arguments:
                for line in ran.text.splitlines():
                    assert isinstance(json.loads(line), dict)


# --- Chance ----------------------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=40) | st.sampled_from(list(HOSTILE.values()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module", params=ERAS)
def chance_peer(request: pytest.FixtureRequest, place: Place) -> Generator[Peer]:
    with peer_in_memory(place, request.param) as connected:
        yield connected


@settings(
    max_examples=60, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(data=st.data())
def test_random_text_does_not_break_the_server(chance_peer: Peer, place: Place, data: st.DataObject) -> None:
    tool = data.draw(st.sampled_from([*READS, *WRITES]))
    arguments = copy.deepcopy(ARGUMENTS[tool])
    places = list(schema_places(TOOLS[tool].input_schema))
    for _ in range(data.draw(st.integers(0, 2))):
        where = data.draw(st.sampled_from(places))
        arguments = put(arguments, (where[0],), data.draw(ANY_JSON))
    changes = data.draw(st.lists(st.tuples(st.integers(0, 10_000), ANY_JSON), max_size=3))

    def change(action: str, document: Document) -> Any:
        for number, new in changes:
            every = [path for path, _ in leaves(document)]
            document = put(document, every[number % len(every)], new) if every else document
        return document

    with findings() as found, place.cams.answering(change):
        probe(found, chance_peer, "this example", lambda: chance_peer.call(tool, arguments))
