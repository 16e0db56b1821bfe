"""Several processes that share one listening socket, and the one that watches over them.

The watching process forks before anything is imported that only calls need, and starts no thread. It replaces a worker
that dies, hands SIGTERM and SIGINT on, and ends when all workers have.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from cams_mcp.errors import CamsMcpError, ConfigurationError

UNUSABLE = 78
"""Exit status of a worker that no other could do better than (EX_CONFIG)."""

SHORT_SECONDS = 0.5
"""A worker that lived no longer is not replaced at once."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


def require_fork() -> None:
    """Raise ConfigurationError where processes cannot share a socket this way."""
    if not hasattr(os, "fork"):
        raise ConfigurationError("--workers requires fork, which this system does not have.", hint="Use --workers 1.")


def run_workers(number: int, serve: Callable[[], None], ready: Callable[[], None]) -> int:
    """Run `serve` in so many processes until SIGINT or SIGTERM; gives the exit status.

    Args:
        serve: serves until such a signal.
        ready: called once signals are handled and all workers begun.
    """
    workers = _Workers(serve)
    for each in SIGNALS:
        signal.signal(each, workers.stop)
    for _ in range(number):
        workers.start()
    ready()
    return workers.watch()


class _Workers:
    def __init__(self, serve: Callable[[], None]) -> None:
        self._serve = serve
        self._began: dict[int, float] = {}
        self._stopping = False
        self._status = 0
        # Nothing is ever written into it: whoever reads it learns that the watching process is gone.
        self._end, self._held = os.pipe()

    def stop(self, number: int, frame: FrameType | None = None) -> None:
        self._stopping = True
        for worker in self._began:
            with suppress(ProcessLookupError):
                os.kill(worker, number)

    def start(self) -> None:
        """Fork. Signals wait until the worker is known, so that none misses it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            if self._stopping:
                return
            worker = os.fork()
            if worker == 0:
                self._work()
            self._began[worker] = time.monotonic()
            logger.info("worker %d began", worker)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _work(self) -> None:
        """What the new process does; it does not come back."""
        status = 1
        try:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            # Ctrl-C on a terminal reaches a whole group; a worker shall get it from the watching process, once.
            os.setpgid(0, 0)
            os.close(self._held)
            threading.Thread(target=self._end_with_parent, daemon=True).start()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._serve()
            status = 0
        except CamsMcpError as error:
            print(f"Error: {error}", file=sys.stderr)  # noqa: T201
            status = UNUSABLE
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            logger.exception("a worker failed")
        finally:
            with suppress(OSError):
                sys.stderr.flush()
            os._exit(status)

    def _end_with_parent(self) -> None:
        os.read(self._end, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def watch(self) -> int:
        while self._began:
            worker, result = os.waitpid(-1, 0)
            lived = time.monotonic() - self._began.pop(worker, 0.0)
            status = os.waitstatus_to_exitcode(result)
            if self._stopping:
                continue
            if status == UNUSABLE:
                self._status = 1
                self.stop(signal.SIGTERM)
                continue
            logger.warning("worker %d ended (%d); another takes its place", worker, status)
            if lived < SHORT_SECONDS:
                time.sleep(SHORT_SECONDS)
            self.start()
        return self._status
