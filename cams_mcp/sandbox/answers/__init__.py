"""What the sandbox answers: one module per operation, named like its tool.

Each has `answer(state, given)`: the document for the parameters `given`, with the elements of the API reference's
samples, odd values included. It raises `Refused` for an error of the service.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, cast

from cams_mcp.operation import snake_case
from cams_mcp.sandbox.state import State

Answer = Callable[[State, dict[str, str]], dict[str, Any]]


def find_answer(action: str) -> Answer | None:
    """What answers an operation; None if the sandbox does not know it."""
    name = snake_case(action)
    if name not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return None
    return cast("Answer", importlib.import_module(f"{__name__}.{name}").answer)
