"""Unexpected exceptions: what the log records, and what the client sees."""

from __future__ import annotations

import logging
import traceback

logger = logging.getLogger(__name__)


def report_failure(what: str, error: Exception) -> str:
    """Log an unexpected exception raised by `what`, and return the message for the client.

    Neither includes the exception's message: it may contain arguments or text from CAMS. The log has the type and the
    stack frames, which are enough to locate the bug.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s failed with %s\n%s", what, type(error).__name__, frames)
    return f"cams-mcp itself failed ({type(error).__name__}). Please report this and include the server's log."
