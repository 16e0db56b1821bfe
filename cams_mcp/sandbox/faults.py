"""Faults that the sandbox injects: `NAME[:RATE[:VALUE]]`, e.g. `throttle:0.2`, `latency:1:0.5`, `clock`."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from cams_mcp.errors import ConfigurationError

FAULTS: dict[str, tuple[float, str]] = {
    "throttle": (0, "returns Throttling.User with HTTP 400; VALUE is x-acs-retry-after in milliseconds"),
    "latency": (0.5, "waits VALUE seconds (default 0.5) before it responds"),
    "error": (503, "returns ServiceUnavailable with HTTP status VALUE (default 503)"),
    "reset": (0, "executes the request, then breaks the connection"),
    "malformed": (0, "executes the request, then returns truncated JSON"),
    "html413": (0, "responds like a proxy that rejects large bodies: an HTML page with HTTP 413"),
    "denied": (0, "returns Forbidden.RAM with HTTP 403 and AccessDeniedDetail as an object"),
    "clock": (1380, "sets its clock VALUE seconds (default 1380) ahead"),
}
"""By name: the default of VALUE, and what the sandbox does."""

ERROR_STATUSES = range(400, 600)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault with its rate (0 to 1) and value."""

    name: str
    rate: float
    value: float

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Parse `NAME[:RATE[:VALUE]]`.

        Raises:
            ConfigurationError: the name is unknown, or RATE or VALUE is not a number in its range.
        """
        name, _, numbers = text.partition(":")
        if name not in FAULTS:
            raise ConfigurationError(
                "--fault (CAMS_MCP_FAULT) names an unknown fault.", hint=f"Known faults: {', '.join(FAULTS)}."
            )
        rate, _, value = numbers.partition(":")
        try:
            fault = cls(name, float(rate or 1), float(value or FAULTS[name][0]))
        except ValueError:
            fault = None
        if fault is None or not fault.is_valid:
            raise ConfigurationError(
                "--fault (CAMS_MCP_FAULT) does not have the form NAME[:RATE[:VALUE]]. RATE is from 0 to 1; for error, "
                "VALUE is from 400 to 599.",
                hint="For example throttle:0.2, latency:1:0.5 or error:1:500.",
            )
        return fault

    @property
    def is_valid(self) -> bool:
        """Whether the rate and the value are in range."""
        if self.name == "error" and self.value not in ERROR_STATUSES:
            return False
        return 0 <= self.rate <= 1 and 0 <= self.value < 1e9  # noqa: PLR2004


class Faults:
    """Decides which faults occur. Deterministic for a given seed."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 0) -> None:
        self._faults = {fault.name: fault for fault in faults}
        self._random = random.Random(seed)  # noqa: S311 - repeatable faults, not secrets

    def strikes(self, name: str) -> Fault | None:
        """The fault `name` if it occurs this time."""
        fault = self._faults.get(name)
        return fault if fault is not None and self._random.random() < fault.rate else None
