"""Parse a response body as bounded JSON whose text is safe to display and encode.

Every response from CAMS passes through this module. Code that works on its result never sees lone surrogates, numbers
that other JSON libraries cannot parse, or personal data in an error code.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from cams_mcp.redaction import identifier, quoted, readable, scrub

MAX_VALUES = 500_000
"""Small values take many times their encoded size in memory: 16 MB of `[],[],` would grow to half a gigabyte."""

MAX_DEPTH = 64
MAX_INTEGER_LENGTH = 20
INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object and its envelope, the elements that every response has.

    Attributes:
        elements: the whole object, with its envelope cleaned as described below.
        success: None if absent.
        code: None if absent. A code that is not an identifier is quoted so that it cannot pass for a known code.
        message: one line, with e-mail addresses and phone numbers removed.
        request_id: a valid identifier, or None.
        invalid: names of envelope elements with the wrong type: `Success` is not a boolean, `Code` is not text.
    """

    elements: dict[str, Any]
    success: bool | None
    code: str | None
    message: str | None
    request_id: str | None
    invalid: tuple[str, ...]


def read_document(body: bytes, header_id: str | None = None) -> Document | None:
    """Parse `body`. Returns None unless it is a JSON object within the limits above.

    Args:
        body: the decompressed response body.
        header_id: the request id from the headers, used if the document has none.
    """
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MAX_VALUES:
        return None
    try:
        parsed: object = json.loads(
            body,
            object_pairs_hook=_unique_members,
            parse_int=_parse_int64,
            parse_float=_parse_finite,
            parse_constant=_reject_constant,
        )
        cleaned = _clean(parsed, MAX_DEPTH)
        return _read_envelope(cast("dict[str, Any]", cleaned), header_id) if isinstance(cleaned, dict) else None
    except (ValueError, RecursionError):
        return None


def _read_envelope(elements: dict[str, Any], header_id: str | None) -> Document:
    given = {name: _pop(elements, name) for name in ("Success", "Code", "Message", "RequestId")}
    success = {"true": True, "false": False}.get(str(given["Success"]).lower())
    code = _clean_code(_as_text(given["Code"]))
    message = _as_text(given["Message"])
    message = None if message is None else scrub(message)
    request_id = identifier(_as_text(given["RequestId"])) or header_id
    _clean_details(elements)
    invalid = [
        *(["Success"] if success is None and given["Success"] is not None else []),
        *(["Code"] if _as_text(given["Code"]) is None and given["Code"] is not None else []),
    ]
    # Leave a message of another type for the response model to reject: it matters only in a success.
    shown = given["Message"] if message is None else message
    elements |= {"Success": success, "Code": code, "Message": shown, "RequestId": request_id}
    return Document(elements, success, code, message, request_id, tuple(invalid))


def _clean_details(elements: dict[str, Any]) -> None:
    """Shorten `AccessDeniedDetail` to text. The documentation defines a string, but gateway errors hold an object."""
    details = _pop(elements, "AccessDeniedDetail")
    if details is not None:
        text = details if isinstance(details, str) else json.dumps(details, ensure_ascii=False, separators=(",", ":"))
        elements["AccessDeniedDetail"] = scrub(text)


def _pop(elements: dict[str, Any], name: str) -> Any:
    """Remove and return an element in either spelling. Raises ValueError for both: they could contradict each other."""
    found = [spelling for spelling in elements if spelling.replace("_", "").lower() == name.lower()]
    if len(found) > 1:
        raise ValueError
    return elements.pop(found[0]) if found else None


def _as_text(value: object) -> str | None:
    """Text, or a number as text; None for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _clean_code(text: str | None) -> str | None:
    if text is None or not text.strip():
        return text and ""
    return identifier(text) or quoted(scrub(text))


def _clean(value: object, depth: int) -> object:
    """Replace unreadable characters in all text. Raises ValueError if `value` is nested deeper than `depth`."""
    if isinstance(value, str):
        return readable(value)
    if not isinstance(value, list | dict):
        return value
    if not depth:
        raise ValueError
    if isinstance(value, list):
        return [_clean(item, depth - 1) for item in cast("list[object]", value)]
    members = cast("dict[str, object]", value).items()
    return _unique_members([(readable(name), _clean(item, depth - 1)) for name, item in members])


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError if a name appears twice: parsers disagree on which value wins."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError
    return members


def _parse_int64(text: str) -> int:
    """Most other JSON libraries cannot parse integers above 64 bits."""
    if len(text) > MAX_INTEGER_LENGTH or int(text) not in INT64:
        raise ValueError
    return int(text)


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _reject_constant(text: str) -> NoReturn:
    """Python parses `NaN`, `Infinity` and `-Infinity`, which are not valid JSON."""
    raise ValueError
