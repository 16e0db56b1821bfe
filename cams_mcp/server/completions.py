"""Completion of prompt arguments with ids that CAMS lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import mcp_types as types

from cams_mcp.errors import CamsMcpError, InvalidArguments
from cams_mcp.fields import is_id
from cams_mcp.operation import AnyOperation
from cams_mcp.operations.prompts import Values
from cams_mcp.server.listings import CallTool, Row, read_rows
from cams_mcp.server.prompts import arguments_of, find_prompt

MOST_PAGES = 3
MOST_VALUES = 100
REMEMBERED_SECONDS = 30.0
MOST_REMEMBERED = 64


class Completions:
    """Completes prompt arguments with ids from CAMS.

    Clients request completions on every keystroke, so lists are cached for 30 seconds per caller.

    Args:
        now: a monotonic clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._remembered: dict[tuple[str, ...], tuple[float, list[Row]]] = {}

    async def complete(
        self,
        name: str,
        argument: types.CompletionArgument,
        chosen: Mapping[str, str],
        tools: Collection[str],
        call: CallTool,
        principal: str,
    ) -> types.Completion:
        """Return the ids that start with the typed text; none if CAMS has no list for this argument.

        Args:
            chosen: the other arguments filled in so far.
            call: calls a tool for `principal`.

        Raises:
            InvalidArguments: the prompt or the argument does not exist.
        """
        prompt = find_prompt(name, tools)
        known = arguments_of(prompt, tools)
        if argument.name not in known:
            raise InvalidArguments(name, [f"it accepts {', '.join(known) or 'no arguments'}"])
        try:
            values = await self._values(known[argument.name].values, chosen, call, principal)
        except CamsMcpError:
            # A completion menu cannot show errors. The tool call that follows reports them.
            values = []
        typed = argument.value.strip().lower()
        # The client inserts the value unchanged, so offer only valid ids.
        fitting = list(dict.fromkeys(value for value in values if value.lower().startswith(typed) and is_id(value)))
        return types.Completion(values=fitting[:MOST_VALUES], total=len(fitting), has_more=len(fitting) > MOST_VALUES)

    async def _values(
        self, source: Values | None, chosen: Mapping[str, str], call: CallTool, principal: str
    ) -> list[str]:
        if source is None:
            return []
        needed = {name: chosen.get(name, "").strip() for name in source.needs}
        if not all(needed.values()):
            return []
        rows = await self._rows(source.operation, {**source.arguments, **needed}, call, principal)
        return [next((row[element] for element in source.elements if row.get(element)), "") for row in rows]

    async def _rows(
        self, operation: AnyOperation, arguments: dict[str, Any], call: CallTool, principal: str
    ) -> list[Row]:
        key, now = (principal, operation.name, *arguments.values()), self._now()
        until, rows = self._remembered.get(key, (now, []))
        if now < until:
            return rows
        rows, _ = await read_rows(call, operation, arguments, most_pages=MOST_PAGES)
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = (now + REMEMBERED_SECONDS, rows)
        return rows
