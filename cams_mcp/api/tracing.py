"""One OpenTelemetry span per CAMS call, in addition to the spans that the MCP SDK creates for each message.

A span records the operation, endpoint, code, request id, status and number of attempts, but no arguments or messages.
Spans are exported only if `start_exporting` is called and the standard OTEL_* variables configure an exporter.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from cams_mcp import __version__
from cams_mcp.errors import CamsError, ConfigurationError

FLUSH_SECONDS = 1.5
"""Less than the 2 s that MCP clients wait for a server on stdio to exit before they kill it."""

_tracer = trace.get_tracer("cams-mcp", __version__)


@contextmanager
def cams_span(action: str, server: str) -> Generator[Span]:
    """A span around all attempts of one call. On failure it records the error's type, code and request id."""
    with _tracer.start_as_current_span(
        f"CAMS {action}", kind=SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
    ) as span:
        span.set_attributes({"rpc.system": "alibaba_cloud_rpc", "rpc.method": action, "server.address": server})
        try:
            yield span
        except Exception as error:
            if isinstance(error, CamsError):
                found = {
                    "cams.code": error.code,
                    "cams.request_id": error.request_id,
                    "http.response.status_code": error.http_status,
                    "cams.attempts": error.attempts,
                }
                span.set_attributes({name: value for name, value in found.items() if value is not None})
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def start_exporting() -> None:
    """Export spans as OTEL_TRACES_EXPORTER says: otlp (over HTTP, the default if an endpoint is set), console or none.

    Raises:
        ConfigurationError: an exporter is configured, but it is unknown or the extra `otel` is not installed.
    """
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    if exporter == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # an extra
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError:
        raise ConfigurationError(
            "OTEL_* variables enable tracing, but the OpenTelemetry SDK is not installed.",
            hint="Install cams-mcp[otel], or set OTEL_TRACES_EXPORTER=none.",
        ) from None
    exporters = {"otlp": OTLPSpanExporter, "console": lambda: ConsoleSpanExporter(out=sys.stderr)}
    if exporter not in exporters:
        raise ConfigurationError(
            "OTEL_TRACES_EXPORTER names an unsupported exporter.", hint="Use otlp, console or none."
        )
    attributes = {"service.version": __version__}
    # A service name from the environment takes precedence.
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.name"] = "cams-mcp"
    # At exit the provider would wait for its exporter without a limit of its own; `flush` has one.
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporters[exporter]()))
    trace.set_tracer_provider(provider)


def flush(seconds: float = FLUSH_SECONDS) -> None:
    """Export the spans that still wait for their batch, before the process exits.

    Returns after this many seconds even if the collector does not answer. Does nothing if nothing is exported.
    """
    export = getattr(trace.get_tracer_provider(), "force_flush", None)
    if export is None:
        return
    # The SDK ignores the timeout of `force_flush` and retries for ten seconds. A daemon thread does not hold the exit.
    exporting = threading.Thread(target=export, daemon=True)
    exporting.start()
    exporting.join(seconds)
