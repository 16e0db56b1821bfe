"""Parse incoming JSON-RPC messages, reject invalid ones without quoting them, and make responses encodable.

Both transports parse messages here, before the SDK sees them. The SDK answers an invalid message with its validation
error, which quotes the message and with it people's addresses. It also mistakes a request whose id has the wrong type
for a notification, and never answers it.
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
    "The message is not valid UTF-8 JSON. Look for a truncated message, an unescaped control character, a lone "
    "surrogate (\\ud800 to \\udfff), a number with thousands of digits, or values nested 200 levels deep."
)
ODD_VERSION = "(not a version)"
"""Replaces protocol versions that do not look like one."""

_DATE = r"\d{4}-\d\d-\d\d(?:[.-][A-Za-z]{1,16})?"
_VERSION = re.compile(rf"{_DATE}|(?!.*\d(?:[.-]*\d){{6}})[0-9A-Za-z.-]{{1,32}}")
"""A version without a leading date has at most six digits: a longer number could be a phone number."""

_NOT_AN_OBJECT = "The message is not a JSON object. Send one request, notification or response at a time, not a batch."


class Unreadable(Exception):
    """The message is invalid.

    Attributes:
        answer: the error response. It echoes the request's id, if that could be parsed, and nothing else.
    """

    def __init__(
        self, code: int, text: str, request_id: types.RequestId | None = None, data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(text)
        # Passing data=None would encode it as null.
        more: dict[str, Any] = {} if data is None else {"data": data}
        error = types.ErrorData(code=code, message=text, **more)
        self.answer = types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error)


def read_message(body: bytes) -> types.JSONRPCMessage:
    """Parse `body` as a single JSON-RPC message.

    Raises:
        Unreadable: the body is not JSON, or not a JSON-RPC message.
    """
    try:
        given = from_json(body)
    except ValueError:
        raise Unreadable(types.PARSE_ERROR, _NOT_JSON, _recover_id(body)) from None
    if not isinstance(given, dict):
        raise Unreadable(types.INVALID_REQUEST, _NOT_AN_OBJECT)
    message = cast("dict[str, Any]", given)
    # The id of a response belongs to a server request: an error with that id could pass for another request's answer.
    request_id = _valid_id(message.get("id")) if "method" in message else None
    problem = _problem(message)
    if problem:
        raise Unreadable(types.INVALID_REQUEST, problem, request_id)
    if not isinstance(message.get("params"), dict | None):
        raise Unreadable(types.INVALID_PARAMS, "params must be an object.", request_id)
    _replace_odd_versions(message)
    try:
        return types.jsonrpc_message_adapter.validate_python(message, by_name=False)
    except ValidationError:
        text = "The message is not a JSON-RPC 2.0 request, notification or response."
        raise Unreadable(types.INVALID_REQUEST, text, request_id) from None


def require_version(given: str, message: types.JSONRPCMessage) -> None:
    """Check a protocol version that the client sent in a header of `message`.

    Raises:
        Unreadable: it does not look like a version.
    """
    if _VERSION.fullmatch(given):
        return
    request_id = message.id if isinstance(message, types.JSONRPCRequest) else None
    data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": ODD_VERSION}
    raise Unreadable(types.UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version", request_id, data)


def _replace_odd_versions(message: dict[str, Any]) -> None:
    """Replace invalid protocol versions, because the SDK's error quotes the client's version, whatever it contains."""
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
    """Return `value`, or a cleaned copy if it cannot be encoded: an unencodable response would end the connection."""
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
    """Describe an envelope error that the SDK would miss or would report by quoting the message."""
    if message.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0".'
    kinds = [name for name in ("method", "result", "error") if name in message]
    if len(kinds) != 1:
        return "A message must have exactly one of method, result and error."
    if "id" in message and _valid_id(message["id"]) is None and kinds != ["error"]:
        return "id must be a string or an integer."
    if kinds == ["method"] and not isinstance(message["method"], str):
        return "method must be a string."
    return None


def _valid_id(value: object) -> types.RequestId | None:
    """Return `value` if it is a valid, encodable request id, else None."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    return value if isinstance(value, str) and is_encodable(value) else None


def _recover_id(body: bytes) -> types.RequestId | None:
    """Recover the id of a request that is almost valid JSON, so that its sender gets an error and does not hang."""
    try:
        given = json.loads(body.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    message = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    return _valid_id(message.get("id")) if "method" in message else None
