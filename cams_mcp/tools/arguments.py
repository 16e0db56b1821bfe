"""Parses a tool call's arguments into a request model, or raises one error with every invalid field and no values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_snake
from pydantic_core import ErrorDetails

from cams_mcp.errors import InvalidArguments
from cams_mcp.fields import PROBLEM
from cams_mcp.operation import AnyTool

_SHOWABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")
"""Names that an error may repeat. Any other name could be someone's address."""

MOST_RANGES = 12

_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not an argument of this tool",
    "string_type": "must be a string (put numbers in quotes)",
    "string_unicode": "contains a character that cannot be encoded (half of a surrogate pair)",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "finite_number": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "has too many digits",
    "list_type": "must be an array",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} item",
    "too_long": "must have at most {max_length} items; send the rest in further calls",
    "literal_error": "must be one of {expected}",
}


def parse_arguments(tool: AnyTool, arguments: Mapping[str, Any], more: Iterable[str] = ()) -> Any:
    """Validate a tool call's arguments.

    Args:
        more: names of further arguments that the tool accepts, for the error about unknown arguments.

    Raises:
        InvalidArguments: one line per invalid field; users with the same problem share a line.
    """
    try:
        return tool.request.model_validate(dict(arguments))
    except ValidationError as error:
        known = [*tool.request.model_fields, *more]
        raise InvalidArguments(
            tool.name, _problems(error.errors(include_input=False, include_url=False), known)
        ) from None
    except RecursionError:
        raise InvalidArguments(tool.name, ["arguments: are nested too deeply"]) from None


def _problems(details: list[ErrorDetails], known: list[str]) -> list[str]:
    places: dict[tuple[str, str], list[int]] = {}
    for detail in details:
        path, row = _path(detail["loc"])
        places.setdefault((path, _words(detail, known if len(detail["loc"]) == 1 else [])), []).append(row)
    return [f"{path.replace('[]', f'[{_ranges(rows)}]')}: {words}" for (path, words), rows in places.items()]


def _path(loc: tuple[int | str, ...]) -> tuple[str, int]:
    """`("users", 3, "email")` as `("users[].email", 3)`."""
    path, row = "", -1
    for part in loc:
        if isinstance(part, int):
            path, row = f"{path}[]", part
        else:
            name = part if _SHOWABLE.fullmatch(part) else "(name not shown)"
            path = f"{path}.{name}" if path else name
    return path or "arguments", row


def _words(detail: ErrorDetails, known: list[str]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    template = _WORDS.get(kind)
    if template is None:
        return detail["msg"] if kind == PROBLEM else "is not valid"
    words = template.format(**context)
    if kind == "extra_forbidden" and known:
        if (twice := to_snake(str(detail["loc"][0]))) in known:
            return f"appears in two spellings; keep only {twice}"
        words += f" (it accepts {', '.join(known)})"
    return words


def _ranges(rows: list[int]) -> str:
    """`[0, 1, 2, 7]` as `0-2,7`."""
    spans: list[tuple[int, int]] = []
    for row in sorted(set(rows)):
        if spans and row == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], row)
        else:
            spans.append((row, row))
    shown = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans[:MOST_RANGES])
    left = sum(b - a + 1 for a, b in spans[MOST_RANGES:])
    return f"{shown} and {left} more" if left else shown
