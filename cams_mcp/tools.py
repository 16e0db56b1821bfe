"""Operations as MCP tools: definitions, and a call from arguments to outcome."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import mcp_types as types

from cams_mcp.arguments import parse_arguments
from cams_mcp.confirmation import Answered, Caller, Preview, Question
from cams_mcp.errors import InvalidArguments
from cams_mcp.guard import Guard, Service
from cams_mcp.models import AnyOperation, Listing, Request, WriteRequest
from cams_mcp.schemas import Schema, input_schema, output_schema

TOKEN_ARGUMENT = "confirmation_token"  # noqa: S105 - an argument's name
_TOKEN_SPELLINGS = (TOKEN_ARGUMENT, "ConfirmationToken")

_WRITE_INPUT: Schema = {
    TOKEN_ARGUMENT: {"type": "string", "description": "From the preview, once the user said yes. Never invent it."}
}
_WRITE_OUTPUT: Schema = {
    "status": {"type": "string", "enum": ["sent", "confirmation_required"]},
    "preview": {"type": "string", "description": "Show it to the user word for word."},
    TOKEN_ARGUMENT: {"type": "string"},
    "next": {"type": "string", "description": "What to do now."},
}

NEXT_AFTER_PREVIEW = (
    "Nothing was sent yet. Show the preview to the user. Only after their explicit yes, call this tool again within "
    "10 minutes with exactly the same arguments plus this confirmation_token. Do not decide for the user."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to, as the structured content of a tool result."""

    content: dict[str, Any]

    @property
    def text(self) -> str:
        """The same as compact JSON."""
        return json.dumps(self.content, ensure_ascii=False, separators=(",", ":"))


class Toolbox:
    """The tools over given collaborators.

    Args:
        operations: what to offer, in the order of listing.
        service: runs them.
        guard: lets writes out.
        read_only: leave out the operations that write.
    """

    def __init__(
        self, operations: Iterable[AnyOperation], service: Service, guard: Guard, *, read_only: bool = False
    ) -> None:
        self._operations = {op.name: op for op in operations if not (read_only and op.writes)}
        self._service = service
        self._guard = guard

    @property
    def names(self) -> list[str]:
        return list(self._operations)

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, *, answered: Answered | None = None
    ) -> Outcome | Question:
        """Run the tool `name`.

        Raises:
            KeyError: no such tool.
            CamsMcpError: as `cams_mcp.errors` says.
        """
        operation = self._operations[name]
        if not operation.writes:
            request = parse_arguments(operation, arguments)
            response = await self._service.call(operation, request)
            return Outcome((response.paged(request) if isinstance(response, Listing) else response).result())
        given = dict(arguments)
        token = _take_token(operation.name, given)
        request = parse_arguments(operation, given, more=[TOKEN_ARGUMENT])
        outcome = await self._guard.submit(
            operation,
            cast("WriteRequest", request),
            caller,
            token=token,
            answered=answered,
        )
        match outcome:
            case Question():
                return outcome
            case Preview(text, fresh):
                content = {"status": "confirmation_required", "preview": text, TOKEN_ARGUMENT: fresh}
                return Outcome(content | {"next": NEXT_AFTER_PREVIEW})
            case _:
                return Outcome({"status": "sent", **outcome.result()})


def _take_token(tool: str, arguments: dict[str, Any]) -> str | None:
    given = [arguments.pop(spelling) for spelling in _TOKEN_SPELLINGS if spelling in arguments]
    given = [token for token in given if token not in (None, "")]
    if not given:
        return None
    if len(given) > 1 or not isinstance(given[0], str):
        raise InvalidArguments(tool, [f"{TOKEN_ARGUMENT}: must be the string from the preview"])
    return given[0]


def make_tool(operation: AnyOperation) -> types.Tool:
    """The definition of an operation's tool, as a client lists it."""
    request: type[Request] = operation.request
    writes = operation.writes
    given, result = input_schema(request), output_schema(operation.response)
    if writes:
        given = given | {"properties": given["properties"] | _WRITE_INPUT}
        result = result | {"properties": _WRITE_OUTPUT | result["properties"], "required": ["status"]}
    return types.Tool(
        name=operation.name,
        title=operation.title,
        description=request.__doc__,
        input_schema=given,
        output_schema=result,
        annotations=types.ToolAnnotations(
            read_only_hint=not writes, destructive_hint=writes, idempotent_hint=not writes, open_world_hint=True
        ),
    )
