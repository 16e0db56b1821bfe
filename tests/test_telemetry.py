from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from support import ERAS, PAGE, TARGET, client_of, mcp_client, people, serving, yes
from support_http import LISTENING, frame, post
from support_process import Program

from cams_mcp.errors import AmbiguousWrite, ServiceError
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.sandbox import Fault, Faults, Sandbox

ADDRESS = "customer000000"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Generator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


def of_cams(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name.startswith("CAMS ")]


@pytest.mark.parametrize("mode", ERAS)
async def test_each_call_of_cams_is_one_span_within_the_message_s(
    spans: InMemorySpanExporter, sandbox: Sandbox, mode: str
) -> None:
    async with mcp_client(sandbox, mode=mode) as client:
        result = await client.call_tool("list_custom_audience", PAGE)

    (span,) = of_cams(spans)
    assert span.name == "CAMS ListCustomAudience"
    assert span.kind == SpanKind.CLIENT
    assert span.attributes["cams.request_id"] == result.structured_content["request_id"]
    assert span.attributes["cams.attempts"] == 1
    assert span.parent is not None


@pytest.mark.parametrize("mode", ERAS)
async def test_names_that_a_client_made_up_are_in_no_span(
    spans: InMemorySpanExporter, sandbox: Sandbox, mode: str
) -> None:
    async with mcp_client(sandbox, mode=mode) as client:
        for call in (client.call_tool, client.get_prompt):
            with pytest.raises(MCPError):
                await call("jane.doe@private.example.com", {})
        await client.call_tool("list_instance", {})

    named = [span.name for span in spans.get_finished_spans()]
    assert "tools/call list_instance" in named
    assert {"tools/call", "prompts/get"} <= {*named}
    # The client's own spans are of its process.
    ours = [span for span in spans.get_finished_spans() if span.kind == SpanKind.SERVER]
    assert not [span for span in ours if "private.example.com" in span.to_json()]


async def test_a_failed_call_has_its_code_and_attempts_and_no_message(spans: InMemorySpanExporter) -> None:
    async with client_of(Sandbox(Faults([Fault.parse("throttle")]))) as client:
        with pytest.raises(ServiceError):
            await client.call(LIST_INSTANCE, LIST_INSTANCE.request())

    (span,) = of_cams(spans)
    assert span.attributes["cams.code"] == "Throttling.User"
    assert span.attributes["cams.attempts"] == 3
    assert span.attributes["http.response.status_code"] == 400
    assert span.status.description == "Throttled"
    assert not span.events


async def test_spans_hold_no_addresses(spans: InMemorySpanExporter, sandbox: Sandbox) -> None:
    async with mcp_client(sandbox, elicitation_callback=yes()) as client:
        await client.call_tool("add_custom_audience_user", TARGET | {"users": people(120)})
    request = ADD_CUSTOM_AUDIENCE_USER.request.model_validate(TARGET | {"users": people(120)})
    async with client_of(Sandbox(Faults([Fault.parse("reset")]))) as service:
        with pytest.raises(AmbiguousWrite):
            await service.call(ADD_CUSTOM_AUDIENCE_USER, request)

    told = [span.to_json() for span in spans.get_finished_spans()]
    assert any("AddCustomAudienceUser" in text for text in told)
    assert not [text for text in told if ADDRESS in text]


async def test_what_came_in_an_answer_is_clean_in_a_span(spans: InMemorySpanExporter) -> None:
    address, phone = "someone.private@example.com", "12025550199"
    documents = [
        {"Success": True, "RequestId": f"{address}\n{phone}"},
        {"Success": True, "RequestId": phone},
        {"Success": True, "RequestId": "\ud800"},
        {"Success": False, "Code": f"Invalid {address} {phone}\n", "RequestId": address},
        {"Success": False, "Code": "\ud800"},
    ]
    for document in documents:
        body = json.dumps(document).encode()
        transport = httpx.MockTransport(lambda _, body=body: httpx.Response(200, content=body))
        async with client_of(Sandbox(), transport=transport) as client:
            with suppress(ServiceError):
                await client.call(LIST_INSTANCE, LIST_INSTANCE.request())

    assert len(of_cams(spans)) == len(documents)
    for span in of_cams(spans):
        told = span.to_json()
        assert told.encode()
        assert "private" not in told
        assert phone not in told
        assert not span.attributes.get("cams.request_id")
        assert str(span.attributes.get("cams.code", "")).isprintable()


async def test_a_defect_is_an_error_in_its_span(spans: InMemorySpanExporter) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    async with client_of(Sandbox(), transport=httpx.MockTransport(broken)) as client:
        with pytest.raises(ZeroDivisionError):
            await client.call(LIST_INSTANCE, LIST_INSTANCE.request())

    (span,) = of_cams(spans)
    assert span.status.description == "ZeroDivisionError"


async def test_standard_variables_switch_exporting_on(tmp_path: object) -> None:
    errlog = open(f"{tmp_path}/stderr", "w+")  # noqa: SIM115, PTH123, ASYNC230 - handed to the process
    environment = {"OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "my-cams", "PATH": os.environ["PATH"]}
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "cams_mcp", "serve", "--sandbox"], env=environment
    )
    async with Client(stdio_client(server, errlog=errlog)) as client:
        await client.call_tool("list_instance", {})
    errlog.seek(0)
    text = errlog.read()
    errlog.close()

    assert '"name": "CAMS ListInstance"' in text
    assert '"service.name": "my-cams"' in text


@pytest.mark.parametrize(
    ("variables", "words"),
    [({"OTEL_TRACES_EXPORTER": "zipkin"}, "Use otlp, console or none.")],
    ids=["unknown exporter"],
)
def test_an_exporter_that_is_not_there_is_said_at_start(variables: dict[str, str], words: str) -> None:
    command = [sys.executable, "-m", "cams_mcp", "serve", "--sandbox"]
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"]} | variables, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert json.dumps(done.stdout) == '""'


class Collector:
    """An ASGI application that takes traces over OTLP.

    Attributes:
        names: of the spans received.
    """

    def __init__(self) -> None:
        self.names: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        export = ExportTraceServiceRequest.FromString(body)
        self.names += [
            span.name for resource in export.resource_spans for scope in resource.scope_spans for span in scope.spans
        ]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


WAYS_TO_SERVE = {
    "stdio": (),
    "http": ("--transport", "http", "--port", "0"),
    "workers": ("--transport", "http", "--port", "0", "--workers", "2", "--state-dir", "{here}"),
}


def call_and_stop(serve: tuple[str, ...], here: Path, number: int, endpoint: str) -> float:
    """Run a server that exports to `endpoint`, call a tool, stop it with a signal; gives the seconds of its end."""
    arguments = [argument.format(here=here) for argument in serve]
    tool = {"name": "list_instance", "arguments": {}}
    with Program("serve", "--sandbox", *arguments, env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as program:
        if serve:
            url = program.error_line(LISTENING).removeprefix(LISTENING)
            assert post(url, body=frame("tools/call", tool)).status_code == 200
        else:
            program.connect("auto")
            assert "result" in program.ask("tools/call", tool)
        signalled = time.monotonic()
        program.signal(number)
        assert program.status() == 0
        return time.monotonic() - signalled


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("serve", WAYS_TO_SERVE.values(), ids=WAYS_TO_SERVE)
def test_the_last_spans_are_exported_before_a_signal_ends_the_server(
    tmp_path: Path, serve: tuple[str, ...], number: int
) -> None:
    collector = Collector()
    with serving(collector) as endpoint:
        call_and_stop(serve, tmp_path, number, endpoint)

    assert {"CAMS ListInstance", "tools/call list_instance"} <= {*collector.names}


@pytest.mark.parametrize("serve", WAYS_TO_SERVE.values(), ids=WAYS_TO_SERVE)
def test_a_collector_that_never_answers_does_not_keep_a_server_from_ending(
    tmp_path: Path, serve: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"

        assert call_and_stop(serve, tmp_path, signal.SIGTERM, endpoint) < 6
