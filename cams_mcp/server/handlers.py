"""Handlers for prompts, argument completion and resources.

Imports are deferred to the first request of each kind, to keep startup fast.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

from cams_mcp.errors import CamsMcpError, InvalidArguments
from cams_mcp.redaction import scrub
from cams_mcp.server.caller import Context
from cams_mcp.server.failures import report_failure

if TYPE_CHECKING:
    from cams_mcp.server.completions import Completions
    from cams_mcp.server.listings import CallTool


class PromptAndResourceHandlers:
    """Handlers for prompts, completion and resources.

    Args:
        visible: returns the names of the tools that the current caller can use.
        principal: returns the current caller's principal.
        call: calls a tool for the current caller and returns the result's structured content.
        card_key: returns the key of the current caller's approval cards; None if they get none.
    """

    def __init__(
        self,
        visible: Callable[[], Collection[str]],
        principal: Callable[[], str],
        call: Callable[[Context, str, dict[str, Any]], Awaitable[Any]],
        card_key: Callable[[Context], Awaitable[str | None]],
    ) -> None:
        self._visible = visible
        self._principal = principal
        self._call = call
        self._card_key = card_key
        self._completions: Completions | None = None

    @property
    def handlers(self) -> dict[str, Any]:
        """Keyword arguments for `Server`."""
        return {
            "on_list_prompts": self.list_prompts,
            "on_get_prompt": self.get_prompt,
            "on_completion": self.complete,
            "on_list_resources": self.list_resources,
            "on_list_resource_templates": self.list_resource_templates,
            "on_read_resource": self.read_resource,
        }

    async def list_prompts(self, ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        from cams_mcp.server.prompts import list_prompts

        return types.ListPromptsResult(prompts=list_prompts(self._visible()))

    async def get_prompt(self, ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        from cams_mcp.server.prompts import get_prompt

        with _protocol_errors("prompt"):
            return get_prompt(params.name, params.arguments or {}, self._visible())

    async def complete(self, ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        from cams_mcp.server.completions import Completions

        if not isinstance(params.ref, types.PromptReference):
            raise MCPError(types.INVALID_PARAMS, "This server has no resource templates to complete.")
        self._completions = self._completions or Completions()
        with _protocol_errors("completion"):
            found = await self._completions.complete(
                params.ref.name,
                params.argument,
                (params.context and params.context.arguments) or {},
                self._visible(),
                self._calls(ctx),
                self._principal(),
            )
        return types.CompleteResult(completion=found)

    async def list_resources(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        from cams_mcp.server.resources import RESOURCES

        return types.ListResourcesResult(resources=list(RESOURCES))

    async def list_resource_templates(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=[])

    async def read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        from cams_mcp.approval.card import URI, card_resource
        from cams_mcp.server.resources import RESOURCES, read_resource

        with _protocol_errors("resource"):
            # Not in the list of resources: it is for the client itself, and its HTML holds a key.
            if params.uri == URI and (key := await self._card_key(ctx)) is not None:
                return types.ReadResourceResult(contents=[card_resource(key)])
            found = await read_resource(params.uri, self._visible(), self._calls(ctx))
        if found is None:
            known = ", ".join(resource.uri for resource in RESOURCES)
            raise MCPError(
                types.INVALID_PARAMS, f"Unknown resource. This server has: {known}.", {"uri": scrub(params.uri)}
            )
        return found

    def _calls(self, ctx: Context) -> CallTool:
        async def call(tool: str, arguments: dict[str, Any]) -> Any:
            return await self._call(ctx, tool, arguments)

        return call


@contextmanager
def _protocol_errors(what: str) -> Generator[None]:
    """Convert exceptions to MCP errors."""
    try:
        yield
    except InvalidArguments as error:
        raise MCPError(types.INVALID_PARAMS, str(error)) from None
    except CamsMcpError as error:
        raise MCPError(types.INTERNAL_ERROR, str(error)) from None
    except MCPError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug in cams-mcp must not end the client's session
        raise MCPError(types.INTERNAL_ERROR, report_failure(what, error)) from None
