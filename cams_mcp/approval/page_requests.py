"""Requests of browsers to the approval page: what kind they are, and the form that they carry."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import anyio
from starlette.requests import ClientDisconnect, Request

from cams_mcp.approval.desk import Decision

LONGEST_BODY = 4096
BODY_SECONDS = 5.0

_FORM_TYPE = "application/x-www-form-urlencoded"


def is_navigation(request: Request) -> bool:
    """Whether a person opens the address in a tab. Not prefetching, and not a frame."""
    headers = request.headers
    purposes = [headers.get(name, "").lower() for name in ("sec-purpose", "purpose", "x-purpose", "x-moz")]
    is_ahead_of_time = any(word in purpose for purpose in purposes for word in ("prefetch", "preview", "prerender"))
    return (
        headers.get("sec-fetch-dest", "document") == "document"
        and headers.get("sec-fetch-mode", "navigate") == "navigate"
        and not is_ahead_of_time
    )


_TCP_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F")


def comes_from_own_user(request: Request, tables: Sequence[str] = _TCP_TABLES) -> bool:
    """Whether the program at the other end of the connection runs under this user.

    On Linux, every user can read the arguments of a browser that starts, and with them an address that was not used
    yet. The kernel knows whose socket it is.
    """
    if sys.platform == "win32" or request.client is None:
        return True
    ends = {f"{address}:{request.client.port:04X}" for address in _LOOPBACK}
    here = {f"{address}:{(request.url.port or 0):04X}" for address in _LOOPBACK}
    is_linux = False
    for table in tables:
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        is_linux = True
        for fields in map(str.split, lines):
            if fields[1] in ends and fields[2] in here:
                return int(fields[7]) == os.getuid()
    return not is_linux


@dataclass(frozen=True, slots=True)
class DecisionForm:
    """What the buttons of a card send."""

    approval_id: str
    token: str
    decision: Decision


async def read_form(request: Request) -> DecisionForm | int:
    """The form in a request, or the HTTP status that says why there is none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        return 415
    body = await _body(request)
    if body is None:
        return 413
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=3)
    except ValueError:
        return 400
    match dict(fields):
        case {"id": approval_id, "token": token, "decision": "approve" | "decline" as decision}:
            return DecisionForm(approval_id, token, decision)
        case _:
            return 400


async def _body(request: Request) -> bytes | None:
    """The body of a request; None if it is too long or does not arrive."""
    body = b""
    with anyio.move_on_after(BODY_SECONDS):
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > LONGEST_BODY:
                    return None
        except ClientDisconnect:
            return None
        return body
    return None
