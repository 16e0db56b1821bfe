"""Runs operations as MCP tools: from a call's arguments to its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cams_mcp.approval.card import CARD_TOOLS
from cams_mcp.confirmation import Answered, Awaiting, Caller, Preview, Question
from cams_mcp.errors import InvalidArguments
from cams_mcp.fields import LONGEST_TEXT
from cams_mcp.guard.guard import Guard
from cams_mcp.guard.policy import Service
from cams_mcp.models import Listing, Request, Result
from cams_mcp.operation import AnyOperation, AnyTool
from cams_mcp.redaction import is_encodable
from cams_mcp.settings import Settings
from cams_mcp.tools.arguments import parse_arguments
from cams_mcp.tools.awaiting import awaiting_content
from cams_mcp.tools.result import ToolResult
from cams_mcp.tools.schemas import TOKEN_ARGUMENT
from cams_mcp.tools.truncation import fit

if TYPE_CHECKING:
    from cams_mcp.tools.cards import Cards
    from cams_mcp.upload.service import Uploads

_TOKEN_SPELLINGS = (TOKEN_ARGUMENT, "ConfirmationToken")

NEXT_AFTER_PREVIEW = (
    "Nothing has been sent yet. Show the preview to the user. Only after their explicit yes, call this tool again "
    "within 10 minutes with exactly the same arguments plus this confirmation_token. Do not decide for the user."
)


Handler = Callable[..., Awaitable["Result | Question | Preview | Awaiting"]]
"""Runs a tool, given its request and caller. A tool that writes also takes `token` and `answered`."""


class Toolbox:
    """Runs tools.

    Args:
        operations: the operations to offer.
        service: runs operations that read.
        guard: confirms and sends writes.
        uploads: runs the file tools; None to leave them out.
        result_tokens: about how much of an assistant's context a list may use. The rest takes another call.
        tokens: whether a tool that writes takes a confirmation token.
        cards: answers the calls of approval cards; None if there are none.
    """

    def __init__(
        self,
        operations: Iterable[AnyOperation],
        service: Service,
        guard: Guard,
        uploads: Uploads | None = None,
        *,
        result_tokens: int = Settings.result_tokens,
        tokens: bool = True,
        cards: Cards | None = None,
    ) -> None:
        self._guard = guard
        self._takes_token = tokens
        self._cards = cards
        self._result_tokens = result_tokens
        self._tools: dict[str, tuple[AnyTool, Handler]] = {}
        for operation in operations:
            run = partial(guard.submit if operation.writes else _call_and_page(service), operation)
            self._tools[operation.name] = (operation, run)
        if uploads is not None:
            self._tools |= {tool.name: (tool, run) for tool, run in uploads.tools()}

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, *, answered: Answered | None = None
    ) -> ToolResult | Question:
        """Run the tool `name`.

        Raises:
            KeyError: the tool does not exist.
            CamsMcpError: the call failed; see `cams_mcp.errors`.
        """
        if self._cards is not None and name in CARD_TOOLS:
            return await self._cards.call(name, arguments, caller)
        tool, run = self._tools[name]
        given, more, how = dict(arguments), [], {}
        if tool.writes:
            how = {"answered": answered}
            if self._takes_token:
                more, how = [TOKEN_ARGUMENT], {"token": _take_token(name, given), **how}
        request = parse_arguments(tool, given, more)
        outcome = await run(request, caller, **how)
        match outcome:
            case Question():
                return outcome
            case Preview(text, fresh):
                content = {"status": "confirmation_required", "preview": text, TOKEN_ARGUMENT: fresh}
                return ToolResult(content | {"next": NEXT_AFTER_PREVIEW})
            case Awaiting():
                return ToolResult(awaiting_content(outcome))
            case Listing():
                assert tool.pages is not None
                return ToolResult(fit(outcome.to_content(), tool.pages, request, self._result_tokens))
            case _:
                return ToolResult(({"status": outcome.tool_status} if tool.writes else {}) | outcome.to_content())

    async def card_key(self, caller: Caller) -> str:
        """The key in the HTML of this caller's approval cards."""
        assert self._cards is not None, "the server shows no cards"
        return await self._cards.key(caller)

    def stop_waiting(self) -> bool:
        """Let calls that wait for a decision return now, because the server shuts down. Their questions stay open.

        Returns whether any call waits.
        """
        return self._guard.watch.stop()

    async def finish_sending(self, seconds: float) -> None:
        """Let writes that are being sent after their call has returned end, so that their outcome is known."""
        await self._guard.held.finish_sending(seconds)


def _call_and_page(service: Service) -> Handler:
    async def run(operation: AnyOperation, request: Request, caller: Caller) -> Result:
        response: Any = await service.call(operation, request)
        if operation.pages is not None:
            return response.paged(*operation.pages.window(request))
        return response

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
