"""Worker processes that share one listening socket, and the parent process that supervises them.

The parent forks before it imports anything that only calls need, and starts no threads. It replaces workers that die,
forwards SIGTERM and SIGINT, and exits once all workers have exited.
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
"""Exit status of a worker whose replacement would fail too (EX_CONFIG)."""

SHORT_SECONDS = 0.5
"""If a worker dies sooner than this, the parent waits before replacing it."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


def require_fork() -> None:
    """Raise ConfigurationError if the platform has no fork."""
    if not hasattr(os, "fork"):
        raise ConfigurationError("--workers requires fork, which this platform lacks.", hint="Use one worker.")


def run_workers(number: int, serve: Callable[[], None], ready: Callable[[], None]) -> int:
    """Run `serve` in `number` processes until SIGINT or SIGTERM, and return the exit status.

    Args:
        serve: serves until one of these signals arrives.
        ready: called once signal handlers are installed and all workers have started.
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
        # Nothing is ever written to this pipe. Workers see end of file on it when the parent exits.
        self._parent_gone, self._parent_alive = os.pipe()

    def stop(self, number: int, frame: FrameType | None = None) -> None:
        self._stopping = True
        for worker in self._began:
            with suppress(ProcessLookupError):
                os.kill(worker, number)

    def start(self) -> None:
        """Fork a worker. Signals are blocked until it is registered, so that every worker receives them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            if self._stopping:
                return
            worker = os.fork()
            if worker == 0:
                self._work()
            self._began[worker] = time.monotonic()
            logger.info("worker %d started", worker)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _work(self) -> None:
        """Run in the child process. Never returns."""
        status = 1
        try:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            # Ctrl-C signals the whole process group. Leave the group, so that only the parent signals this worker.
            os.setpgid(0, 0)
            os.close(self._parent_alive)
            threading.Thread(target=self._exit_with_parent, daemon=True).start()
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

    def _exit_with_parent(self) -> None:
        os.read(self._parent_gone, 1)
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
            logger.warning("worker %d exited with status %d; starting a replacement", worker, status)
            if lived < SHORT_SECONDS:
                time.sleep(SHORT_SECONDS)
            self.start()
        return self._status
