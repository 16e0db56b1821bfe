"""Faults the sandbox makes on request: `NAME[:RATE[:VALUE]]`, e.g. `throttle:0.2`, `latency:1:0.5`, `clock`."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from cams_mcp.errors import ConfigurationError

FAULTS: dict[str, tuple[float, str]] = {
    "throttle": (0, "answers Throttling.User with HTTP 400; VALUE is x-acs-retry-after in milliseconds"),
    "latency": (0.5, "waits VALUE seconds (default 0.5) before it answers"),
    "error": (503, "answers ServiceUnavailable with the HTTP status VALUE (default 503)"),
    "reset": (0, "breaks the connection after the request was executed"),
    "malformed": (0, "executes the request, then answers JSON cut in the middle"),
    "html413": (0, "answers as a proxy that refuses large bodies: an HTML page with HTTP 413"),
    "denied": (0, "answers Forbidden.RAM with HTTP 403 and details as an object"),
    "clock": (1380, "has a clock that is VALUE seconds (default 1380) ahead"),
}
"""Name: (default of VALUE, what it does)."""

ERROR_STATUSES = range(400, 600)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: how often (0 to 1) and how much."""

    name: str
    rate: float
    value: float

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read `NAME[:RATE[:VALUE]]`.

        Raises:
            ConfigurationError: unknown name, or RATE or VALUE is no number of the right size.
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
        if fault is None or not fault.makes_sense:
            raise ConfigurationError(
                "--fault (CAMS_MCP_FAULT) does not have the form NAME[:RATE[:VALUE]]. RATE is from 0 to 1; for error, "
                "VALUE is from 400 to 599.",
                hint="For example throttle:0.2, latency:1:0.5 or error:1:500.",
            )
        return fault

    @property
    def makes_sense(self) -> bool:
        """Whether rate and value are in their ranges."""
        if self.name == "error" and self.value not in ERROR_STATUSES:
            return False
        return 0 <= self.rate <= 1 and 0 <= self.value < 1e9  # noqa: PLR2004


class Faults:
    """Which faults strike; deterministic for a given seed."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 0) -> None:
        self._faults = {fault.name: fault for fault in faults}
        self._random = random.Random(seed)  # noqa: S311 - repeatable faults, not secrets

    def strikes(self, name: str) -> Fault | None:
        """The fault `name`, if it strikes this time."""
        fault = self._faults.get(name)
        return fault if fault is not None and self._random.random() < fault.rate else None
