"""The caller of a tool and how to ask its user for confirmation, in both protocol eras."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from cams_mcp.approval.card import EXTENSION, MIME_TYPE
from cams_mcp.confirmation import Answered, Caller, Question, Reply
from cams_mcp.redaction import printable, readable, scrub

QUESTION = "confirm"
"""Key of the only input request that a call can return (protocol 2026-07-28)."""

PROGRESS_SECONDS = 5.0
SMALLEST_STEP = 0.001

logger = logging.getLogger(__name__)
Context = ServerRequestContext[Any, Any]


def _can_ask(ctx: Context) -> bool:
    """Whether the client supports form elicitation. Clients that predate elicitation modes do not declare a mode."""
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def shows_cards(ctx: Context) -> bool:
    """Whether the client shows cards (MCP Apps). One that supports elicitation has a better way to ask."""
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.elicitation is not None:
        return False
    declared: Any = (capabilities.extensions or {}).get(EXTENSION)
    kinds = cast("dict[str, Any]", declared).get("mimeTypes") if isinstance(declared, dict) else None
    return isinstance(kinds, list) and MIME_TYPE in kinds


class _Progress:
    """Progress notifications for one call. The protocol requires values that increase, even across phases of a call."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._last = -1.0

    async def report(self, done: float, total: float, message: str) -> None:
        self._last = max(done, self._last + SMALLEST_STEP)
        await self._ctx.session.report_progress(self._last, total or None, readable(message))

    async def report_waiting(self) -> None:
        """Report progress periodically so that the client does not time out while the user decides."""
        while True:
            await self.report(0, 0, "Waiting for the user to confirm")
            await anyio.sleep(PROGRESS_SECONDS)


def caller_of(ctx: Context, principal: str) -> Caller:
    progress = _Progress(ctx)

    async def ask(question: Question) -> Reply:
        reply = Reply("ended")
        async with anyio.create_task_group() as group:
            group.start_soon(progress.report_waiting)
            reply = await _elicit(ctx, question)
            group.cancel_scope.cancel()
        return reply

    can_ask, modern = _can_ask(ctx), ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
    return Caller(
        principal=principal,
        client=_client_name(ctx),
        ask=ask if can_ask and not modern and ctx.session.can_send_request else None,
        round_trips=can_ask and modern,
        cards=shows_cards(ctx),
        report=progress.report,
    )


async def _elicit(ctx: Context, question: Question) -> Reply:
    try:
        result = await ctx.session.elicit_form(
            readable(question.text), question.schema, related_request_id=ctx.request_id
        )
    except (MCPError, NoBackChannelError, ValidationError) as error:
        logger.warning("the client failed to answer the confirmation prompt: %s", type(error).__name__)
        return Reply("failed")
    return Reply(result.action, result.content)


def _client_name(ctx: Context) -> str:
    """The client's self-reported name and version, sanitized for the audit trail."""
    parameters = ctx.session.client_params
    if parameters is None:
        return ""
    name = f"{parameters.client_info.name} {parameters.client_info.version}"
    # Scrub only when there is an @: a version number can look like a phone number.
    return printable(readable(scrub(name) if "@" in name else name))


def answered_of(params: types.CallToolRequestParams) -> Answered | None:
    """The client's answer to an earlier question; None on a first call. Any state or response counts as an answer."""
    if params.request_state is None and params.input_responses is None:
        return None
    responses = params.input_responses or {}
    reply = None
    if QUESTION in responses:
        response = responses[QUESTION]
        is_answer = isinstance(response, types.ElicitResult)
        content = cast("Mapping[str, Any] | None", response.content) if is_answer else None
        reply = Reply(response.action if is_answer else "malformed", content)
    return Answered(params.request_state or "", reply)
