"""Build an MCP server on top of a toolbox. It supports both protocol eras and any transport."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from cams_mcp import __version__
from cams_mcp.access import LOCAL, READ_SCOPE, Access
from cams_mcp.confirmation import Question
from cams_mcp.errors import CamsMcpError
from cams_mcp.redaction import readable, scrub
from cams_mcp.server.caller import QUESTION, Context, answered_of, caller_of, shows_cards
from cams_mcp.server.failures import report_failure
from cams_mcp.server.handlers import PromptAndResourceHandlers
from cams_mcp.server.messages import encodable
from cams_mcp.tools.definitions import Catalog
from cams_mcp.tools.result import Tools

NAME = "cams-mcp"
OPEN_METHODS = frozenset({"initialize", "ping", "server/discover"})
"""Methods that any caller may use, even without the read scope."""

_NAME = re.compile(r"[A-Za-z_/]{1,64}")
"""Matches the name of every method, tool and prompt."""


def create_server(catalog: Catalog, tools: Tools, access: Callable[[], Access] = lambda: LOCAL) -> Server[Any]:
    """Create an MCP server that lists the tools of `catalog` and calls them through `tools`.

    Args:
        access: returns the caller of the current request and their permissions.
    """

    async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=catalog.visible(access(), cards=shows_cards(ctx)))

    async def call_tool(
        ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        caller = caller_of(ctx, access().principal)
        if catalog.find(params.name, cards=caller.cards) is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool. This server has: {', '.join(catalog.names)}.")
        if missing := catalog.missing_scope(params.name, access()):
            raise _insufficient(missing)
        try:
            outcome = await tools.call(params.name, params.arguments or {}, caller, answered=answered_of(params))
        except CamsMcpError as error:
            return _failed(str(error))
        except Exception as error:  # noqa: BLE001 - a bug in one tool must not end the client's session
            return _failed(report_failure(params.name, error))
        if isinstance(outcome, Question):
            ask = types.ElicitRequest(
                params=types.ElicitRequestFormParams(message=readable(outcome.text), requested_schema=outcome.schema)
            )
            return types.InputRequiredResult(input_requests={QUESTION: ask}, request_state=outcome.state)
        outcome = replace(outcome, content=encodable(outcome.content))
        return types.CallToolResult(content=[types.TextContent(text=outcome.text)], structured_content=outcome.content)

    def input_schema_of(name: str) -> dict[str, Any] | None:
        tool = catalog.find(name, cards=True)
        return tool.input_schema if tool else None

    server = Server[Any](
        NAME,
        version=__version__,
        title="Alibaba Cloud CAMS",
        instructions=catalog.instructions,
        get_tool_input_schema=input_schema_of,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        **PromptAndResourceHandlers(
            lambda: [tool.name for tool in catalog.visible(access())],
            lambda: access().principal,
            partial(_read, tools, access),
            partial(_card_key, catalog, tools, access),
        ).handlers,
    )
    server.middleware[:] = [
        _SafeResponses(),
        *(_SanitizedTracing(tracing) for tracing in server.middleware),
        _RequireReadScope(access),
    ]
    return server


class _SafeResponses:
    """Ensures that every request gets a response that can be encoded, and that no error echoes the request."""

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        try:
            return encodable(await call_next(ctx))
        except MCPError as error:
            # The SDK adds the client's method name, which could be anything.
            data = None if error.code == types.METHOD_NOT_FOUND else encodable(error.data)
            raise MCPError(error.code, readable(error.message), data) from None
        except ValidationError as error:
            raise MCPError(types.INVALID_PARAMS, _wrong_parameters(error)) from None
        except Exception as error:  # noqa: BLE001 - a bug in cams-mcp or the SDK must not end the session
            raise MCPError(types.INTERNAL_ERROR, report_failure("answering a request", error)) from None


def _wrong_parameters(error: ValidationError) -> str:
    """Name the first invalid parameter. Only its top-level name: nested names and all values come from the client."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = next((str(part) for part in first["loc"] if part != "params"), "params")
    return f"Invalid request parameters: {name} is {'missing' if first['type'] == 'missing' else 'invalid'}."


class _SanitizedTracing:
    """Keeps client-supplied names out of the SDK's spans unless they look like real ones: they could be anything."""

    def __init__(self, tracing: ServerMiddleware[Any]) -> None:
        self._tracing = tracing

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        async def call_original(_: Context) -> HandlerResult:
            return await call_next(ctx)

        name = (ctx.params or {}).get("name")
        request_id = ctx.request_id if isinstance(ctx.request_id, int | None) else scrub(ctx.request_id)
        params = {"name": name} if isinstance(name, str) and _NAME.fullmatch(name) else None
        method = ctx.method if _NAME.fullmatch(ctx.method) else "unknown"
        return await self._tracing(replace(ctx, method=method, params=params, request_id=request_id), call_original)


class _RequireReadScope:
    """Rejects every request except `OPEN_METHODS` from callers without the read scope."""

    def __init__(self, access: Callable[[], Access]) -> None:
        self._access = access

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        if ctx.request_id is not None and ctx.method not in OPEN_METHODS and not self._access().may_read:
            raise _insufficient(READ_SCOPE)
        return await call_next(ctx)


async def _read(tools: Tools, access: Callable[[], Access], ctx: Context, name: str, arguments: dict[str, Any]) -> Any:
    outcome = await tools.call(name, arguments, caller_of(ctx, access().principal))
    # Only writes ask for confirmation.
    assert not isinstance(outcome, Question)
    return outcome.content


async def _card_key(catalog: Catalog, tools: Tools, access: Callable[[], Access], ctx: Context) -> str | None:
    """The key of the caller's approval cards; None if they get none."""
    caller = caller_of(ctx, access().principal)
    if not (catalog.has_cards and caller.cards and access().may_write):
        return None
    return await tools.card_key(caller)


def _insufficient(scope: str) -> MCPError:
    return MCPError(
        types.INVALID_REQUEST,
        f"insufficient_scope: this requires the scope {scope}, which the access token does not have. Nothing was sent. "
        "Ask the operator of this server to grant it.",
    )


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=readable(text))], is_error=True)
