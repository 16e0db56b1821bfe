"""Log to standard error as text or JSON. Each line carries the id of the HTTP request that it belongs to.

Log lines never contain personal data, arguments or secrets. For exceptions, only the type and the stack frames are
logged, because the message may contain argument values. Messages of libraries are scrubbed.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import traceback
from contextvars import ContextVar
from types import TracebackType
from typing import Literal

from cams_mcp.redaction import scrub

LogFormat = Literal["text", "json"]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the current HTTP request."""

_OWN = "cams_mcp"
_FROM_INFO = "uvicorn"
"""Logs startup and shutdown at info level, and no content."""


class LineFormatter(logging.Formatter):
    """Formats records as lines of text, or as one JSON object per line."""

    def __init__(self, form: LogFormat) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        own = record.name.partition(".")[0] == _OWN
        record.message = record.getMessage() if own else scrub(record.getMessage())
        request = request_id.get()
        if self._form == "json":
            line = {
                "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.message,
            }
            line |= {"request_id": request} if request else {}
            line |= {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
            return json.dumps(line, ensure_ascii=False)
        record.asctime = self.formatTime(record)
        text = self.formatMessage(record) + (f" [{request}]" if request else "")
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text

    def formatException(  # noqa: N802 - overrides a method of logging
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        kind, _, frames = ei
        return f"{''.join(traceback.format_tb(frames))}{kind.__name__ if kind else ''}"


def _is_safe(record: logging.LogRecord) -> bool:
    """Whether a record is safe to show. Below warning level, libraries log messages, URLs and headers in full."""
    root = record.name.partition(".")[0]
    return root == _OWN or record.levelno >= (logging.INFO if root == _FROM_INFO else logging.WARNING)


def quiet_sdk() -> None:
    """Keep MCP messages out of the log, even if a program embeds the server and configures logging itself."""
    for name in ("mcp", "sse_starlette"):
        sdk = logging.getLogger(name)
        sdk.setLevel(max(logging.WARNING, sdk.getEffectiveLevel()))


def set_up_logging(level: str, form: LogFormat) -> None:
    """Log to standard error only: standard output belongs to the protocol."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(form))
    handler.addFilter(_is_safe)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger(__name__).debug("showing debug messages from cams-mcp and warnings from libraries")


def announce(text: str, form: LogFormat) -> None:
    """Print a message to standard error regardless of the log level."""
    if form == "json":
        text = LineFormatter(form).format(logging.LogRecord(_OWN, logging.INFO, "", 0, text, None, None))
    print(text, file=sys.stderr, flush=True)  # noqa: T201
