"""Operations as MCP tools: definitions, and a call from arguments to outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import mcp_types as types

from cams_mcp.arguments import parse_arguments
from cams_mcp.budget import RESULT_TOKENS, as_text, fit
from cams_mcp.confirmation import Answered, Caller, Preview, Question
from cams_mcp.errors import InvalidArguments
from cams_mcp.fields import LONGEST_TEXT
from cams_mcp.guard import Guard
from cams_mcp.models import AnyOperation, AnyTool, Listing, Request, Response
from cams_mcp.policy import Service
from cams_mcp.redaction import is_encodable
from cams_mcp.schemas import Schema, input_schema, output_schema

if TYPE_CHECKING:
    from cams_mcp.upload.service import Uploads

TOKEN_ARGUMENT = "confirmation_token"  # noqa: S105 - an argument's name
_TOKEN_SPELLINGS = (TOKEN_ARGUMENT, "ConfirmationToken")

WRITE_INPUT: Schema = {
    TOKEN_ARGUMENT: {"type": "string", "description": "From the preview, once the user said yes. Never invent it."}
}
WRITE_OUTPUT: Schema = {
    "status": {"type": "string", "enum": ["sent", "stopped", "confirmation_required"]},
    "preview": {"type": "string", "description": "Show it to the user word for word."},
    TOKEN_ARGUMENT: {"type": "string"},
    "next": {"type": "string"},
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
        return as_text(self.content)


Run = Callable[..., Awaitable["Response | Question | Preview"]]
"""Runs a tool, given its request and caller; one that writes also `token` and `answered`."""


class Toolbox:
    """The tools over given collaborators.

    Args:
        operations: what to offer.
        service: runs them.
        guard: lets writes out.
        uploads: runs the file tools; None leaves them out.
        read_only: leave out all that write, and the file tools.
        result_tokens: the most that a list may take of an assistant's context, about; the rest is for another call.
    """

    def __init__(
        self,
        operations: Iterable[AnyOperation],
        service: Service,
        guard: Guard,
        uploads: Uploads | None = None,
        *,
        read_only: bool = False,
        result_tokens: int = RESULT_TOKENS,
    ) -> None:
        self._result_tokens = result_tokens
        self._tools: dict[str, tuple[AnyTool, Run]] = {}
        for operation in operations:
            run = partial(guard.submit if operation.writes else _call_and_page(service), operation)
            if not (read_only and operation.writes):
                self._tools[operation.name] = (operation, run)
        if uploads is not None and not read_only:
            self._tools |= {tool.name: (tool, run) for tool, run in uploads.tools()}

    @property
    def names(self) -> list[str]:
        return list(self._tools)

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, *, answered: Answered | None = None
    ) -> Outcome | Question:
        """Run the tool `name`.

        Raises:
            KeyError: no such tool.
            CamsMcpError: as `cams_mcp.errors` says.
        """
        tool, run = self._tools[name]
        given, more, how = dict(arguments), [], {}
        if tool.writes:
            more, how = [TOKEN_ARGUMENT], {"token": _take_token(name, given), "answered": answered}
        request = parse_arguments(tool, given, more)
        outcome = await run(request, caller, **how)
        match outcome:
            case Question():
                return outcome
            case Preview(text, fresh):
                content = {"status": "confirmation_required", "preview": text, TOKEN_ARGUMENT: fresh}
                return Outcome(content | {"next": NEXT_AFTER_PREVIEW})
            case Listing():
                return Outcome(fit(outcome.result(), request, self._result_tokens))
            case _:
                return Outcome(({"status": outcome.status} if tool.writes else {}) | outcome.result())


def _call_and_page(service: Service) -> Run:
    async def run(operation: AnyOperation, request: Request, caller: Caller) -> Response:
        response: Response = await service.call(operation, request)
        return response.paged(request) if isinstance(response, Listing) else response

    return run


def _take_token(tool: str, arguments: dict[str, Any]) -> str | None:
    given = [arguments.pop(spelling) for spelling in _TOKEN_SPELLINGS if spelling in arguments]
    given = [token for token in given if token not in (None, "")]
    if not given:
        return None
    token = given[0]
    if len(given) > 1 or not isinstance(token, str) or len(token) > LONGEST_TEXT or not is_encodable(token):
        raise InvalidArguments(tool, [f"{TOKEN_ARGUMENT}: must be the string from the preview"])
    return token


def make_tool(operation: AnyTool) -> types.Tool:
    """The definition of a tool, as a client lists it."""
    request: type[Request] = operation.request
    writes = operation.writes
    given, result = input_schema(request), output_schema(operation.response)
    if writes:
        given = given | {"properties": given["properties"] | WRITE_INPUT}
        result = result | {"properties": WRITE_OUTPUT | result["properties"], "required": ["status"]}
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
