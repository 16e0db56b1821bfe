"""JSON-RPC messages as they arrive: read, or refused in words that repeat nothing of them; and answers that can leave.

Both transports read messages here, before the SDK sees them. The SDK answers an invalid message with its validation
error, which quotes the message and with it people's addresses. It also takes a request whose id has the wrong type for
a notification, and never answers it.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

import mcp_types as types
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from cams_mcp.redaction import is_encodable, readable

_NOT_JSON = (
    "The message is not JSON in UTF-8. Look for a truncated message, an unescaped control character, half of a "
    "surrogate pair (\\ud800 to \\udfff), a number of thousands of digits, or values nested 200 levels deep."
)
ODD_VERSION = "(not a version)"
"""Replaces a protocol version that does not look like one."""

_DATE = r"\d{4}-\d\d-\d\d(?:[.-][A-Za-z]{1,16})?"
_VERSION = re.compile(rf"{_DATE}|(?!.*\d(?:[.-]*\d){{6}})[0-9A-Za-z.-]{{1,32}}")
"""A version has at most six digits, unless it begins with a date: more could be a phone number."""

_NOT_AN_OBJECT = "The message is not a JSON object. Send one request, notification or response at a time, no batches."


class Unreadable(Exception):
    """The message cannot be taken.

    Attributes:
        answer: what to tell whoever sent it. It has the request's id, if that could be read, and no other part of it.
    """

    def __init__(
        self, code: int, text: str, number: types.RequestId | None = None, data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(text)
        # Data of None would be sent as null.
        more: dict[str, Any] = {} if data is None else {"data": data}
        error = types.ErrorData(code=code, message=text, **more)
        self.answer = types.JSONRPCError(jsonrpc="2.0", id=number, error=error)


def read_message(body: bytes) -> types.JSONRPCMessage:
    """The one message in `body`.

    Raises:
        Unreadable: it is not JSON, or not a JSON-RPC message.
    """
    try:
        given = from_json(body)
    except ValueError:
        raise Unreadable(types.PARSE_ERROR, _NOT_JSON, _number_in(body)) from None
    if not isinstance(given, dict):
        raise Unreadable(types.INVALID_REQUEST, _NOT_AN_OBJECT)
    message = cast("dict[str, Any]", given)
    # The id of a response is one of ours: an answer under it could be taken for that of another request.
    number = _as_number(message.get("id")) if "method" in message else None
    problem = _problem(message)
    if problem:
        raise Unreadable(types.INVALID_REQUEST, problem, number)
    if not isinstance(message.get("params"), dict | None):
        raise Unreadable(types.INVALID_PARAMS, "params must be an object.", number)
    _replace_odd_versions(message)
    try:
        return types.jsonrpc_message_adapter.validate_python(message, by_name=False)
    except ValidationError:
        text = "The message is not a JSON-RPC 2.0 request, notification or response."
        raise Unreadable(types.INVALID_REQUEST, text, number) from None


def require_version(given: str, message: types.JSONRPCMessage) -> None:
    """Reject a version that came beside `message` and does not look like one.

    Raises:
        Unreadable: it does not.
    """
    if _VERSION.fullmatch(given):
        return
    number = message.id if isinstance(message, types.JSONRPCRequest) else None
    data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": ODD_VERSION}
    raise Unreadable(types.UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version", number, data)


def _replace_odd_versions(message: dict[str, Any]) -> None:
    """Replace what does not look like a version: the SDK's error repeats the client's version, whatever it is."""
    params: dict[str, Any] = message.get("params") or {}
    if message.get("method") == "initialize":
        _replace_odd_version(params, "protocolVersion")
    meta = params.get("_meta")
    if isinstance(meta, dict):
        _replace_odd_version(cast("dict[str, Any]", meta), types.PROTOCOL_VERSION_META_KEY)


def _replace_odd_version(holder: dict[str, Any], name: str) -> None:
    given = holder.get(name)
    if isinstance(given, str) and not _VERSION.fullmatch(given):
        holder[name] = ODD_VERSION


def encodable(value: Any) -> Any:
    """`value`, or a copy without what cannot be encoded: an answer that cannot be sent would end the connection."""
    try:
        to_json(value)
    except ValueError:
        return _cleaned(value)
    return value


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return readable(value)
        case dict():
            return {readable(str(name)): _cleaned(item) for name, item in cast("dict[Any, Any]", value).items()}
        case list() | tuple():
            return [_cleaned(item) for item in cast("list[Any]", value)]
        case int() | float() | None:
            return value
        case _:
            return type(value).__name__


def _problem(message: dict[str, Any]) -> str | None:
    """What is wrong with the envelope, of what the SDK would not notice or not say without quoting."""
    if message.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0".'
    kinds = [name for name in ("method", "result", "error") if name in message]
    if len(kinds) != 1:
        return "A message has exactly one of method, result and error."
    if "id" in message and _as_number(message["id"]) is None and kinds != ["error"]:
        return "id must be a string or an integer."
    if kinds == ["method"] and not isinstance(message["method"], str):
        return "method must be a string."
    return None


def _as_number(value: object) -> types.RequestId | None:
    """A request id that can be answered under, or None."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    return value if isinstance(value, str) and is_encodable(value) else None


def _number_in(body: bytes) -> types.RequestId | None:
    """The id of a request that is almost JSON, so that its sender does not wait for an answer for ever."""
    try:
        given = json.loads(body.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    message = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    return _as_number(message.get("id")) if "method" in message else None
