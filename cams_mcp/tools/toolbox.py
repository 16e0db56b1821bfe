"""Operations as MCP tools: definitions, and a call from arguments to outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cams_mcp.confirmation import Answered, Caller, Preview, Question
from cams_mcp.errors import InvalidArguments
from cams_mcp.fields import LONGEST_TEXT
from cams_mcp.guard.guard import Guard
from cams_mcp.guard.policy import Service
from cams_mcp.models import AnyOperation, AnyTool, Listing, Request, Response
from cams_mcp.redaction import is_encodable
from cams_mcp.settings import Settings
from cams_mcp.tools.arguments import parse_arguments
from cams_mcp.tools.result import ToolResult
from cams_mcp.tools.schemas import TOKEN_ARGUMENT
from cams_mcp.tools.truncation import fit

if TYPE_CHECKING:
    from cams_mcp.upload.service import Uploads

_TOKEN_SPELLINGS = (TOKEN_ARGUMENT, "ConfirmationToken")

NEXT_AFTER_PREVIEW = (
    "Nothing was sent yet. Show the preview to the user. Only after their explicit yes, call this tool again within "
    "10 minutes with exactly the same arguments plus this confirmation_token. Do not decide for the user."
)


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
        result_tokens: int = Settings.result_tokens,
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
    ) -> ToolResult | Question:
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
                return ToolResult(content | {"next": NEXT_AFTER_PREVIEW})
            case Listing():
                return ToolResult(fit(outcome.result(), request, self._result_tokens))
            case _:
                return ToolResult(({"status": outcome.status} if tool.writes else {}) | outcome.result())


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
