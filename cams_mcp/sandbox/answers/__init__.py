"""The sandbox's answers: one module per operation, named after its tool.

Each module's `answer(state, given)` returns the response document for the parameters `given`. Documents have the
elements of the API reference's samples, odd values included. `answer` raises `Refused` to return a service error.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from cams_mcp.operation import snake_case
from cams_mcp.sandbox.state import State


def find_answer(action: str) -> Callable[[State, dict[str, str]], dict[str, Any]] | None:
    """The function that answers an operation; None if the sandbox does not support it."""
    name = snake_case(action)
    if name not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return None
    module: Any = importlib.import_module(f"{__name__}.{name}")
    return module.answer
