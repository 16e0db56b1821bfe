"""Health checks: `/healthz` (liveness) and `/readyz` (readiness). Neither requires authentication."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ALIVE_PATH = "/healthz"
READY_PATH = "/readyz"
CACHE_SECONDS = 5.0
CHECK_SECONDS = 5.0

logger = logging.getLogger(__name__)
HealthCheck = Callable[[], Awaitable[object]]


class Health:
    """Serves both endpoints. Check results are cached for a few seconds, so frequent probes are cheap.

    Args:
        checks: readiness checks by name. A check fails by raising. Checks must not call CAMS.
        is_stopping: whether the server is shutting down and should receive no more traffic.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        checks: Mapping[str, HealthCheck],
        *,
        is_stopping: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._is_stopping = is_stopping
        self._now = now
        self._lock = anyio.Lock()
        self._failed: list[str] = []
        self._checked = float("-inf")

    def routes(self) -> list[Route]:
        return [
            Route(ALIVE_PATH, self._alive, methods=["GET"]),
            Route(READY_PATH, self._ready, methods=["GET"]),
        ]

    async def _alive(self, request: Request) -> Response:
        return _answer({"status": "alive"})

    async def _ready(self, request: Request) -> Response:
        if self._is_stopping():
            return _answer({"status": "stopping"}, status=503)
        failed = await self._find_failed()
        if failed:
            # Return names only. The reasons are in the log.
            return _answer({"status": "not ready", "failed": failed}, status=503)
        return _answer({"status": "ready"})

    async def _find_failed(self) -> list[str]:
        async with self._lock:
            if self._now() - self._checked >= CACHE_SECONDS:
                failed = [name for name, check in self._checks.items() if not await _passes(name, check)]
                if failed != self._failed:
                    logger.warning("not ready: %s" if failed else "ready again%s", ", ".join(failed))
                self._failed, self._checked = failed, self._now()
            return self._failed


async def _passes(name: str, check: HealthCheck) -> bool:
    try:
        with anyio.fail_after(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - any failure means the server is not ready
        logger.info("the readiness check %s failed with %s", name, type(error).__name__)
        return False
    return True


def _answer(content: object, status: int = 200) -> Response:
    return JSONResponse(content, status_code=status, headers={"cache-control": "no-store"})
