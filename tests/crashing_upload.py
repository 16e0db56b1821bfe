"""cams-mcp, but it kills itself with SIGKILL at a step of the journal that CRASH_AT names: `before:after:2`.

That is: the step, whether before or after it, and at which of its calls (from 1).
"""

from __future__ import annotations

import functools
import os
import signal
from typing import Any

from cams_mcp.cli import main
from cams_mcp.store.sqlite_journal import SqliteJournal

STEP, WHEN, NUMBER = os.environ["CRASH_AT"].split(":")


def wrap() -> None:
    step = getattr(SqliteJournal, STEP)
    calls = 0

    @functools.wraps(step)
    def run(*args: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if WHEN == "before" and calls == int(NUMBER):
            os.kill(os.getpid(), signal.SIGKILL)
        result = step(*args, **keywords)
        if WHEN == "after" and calls == int(NUMBER):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(SqliteJournal, STEP, run)


if __name__ == "__main__":
    wrap()
    main()
