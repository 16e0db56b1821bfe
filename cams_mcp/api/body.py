"""The body of an answer as a document: bounded JSON, with text that can be shown and encoded.

Everything CAMS answers comes in here, so nothing behind this module has to expect lone surrogates, numbers that other
JSON libraries cannot read, or people's addresses in an error code.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from cams_mcp.redaction import identifier, quoted, readable, scrub

MOST_VALUES = 500_000
"""Small values take many times their size in memory: 16 MB of `[],[],` would become half a gigabyte."""

DEEPEST = 64
LONGEST_INTEGER = 20
INTEGERS = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object and its envelope, the elements that every answer has.

    Attributes:
        elements: the whole object, its envelope cleaned as below.
        success: None if absent.
        code: None if absent; in quotation marks if it is no identifier, so that it cannot pass for a known code.
        message: one line without people's addresses.
        request_id: an identifier.
        odd: names of elements whose values mean nothing: `Success` is no boolean, `Code` no text.
    """

    elements: dict[str, Any]
    success: bool | None
    code: str | None
    message: str | None
    request_id: str | None
    odd: tuple[str, ...]


def read_document(body: bytes, header_id: str | None = None) -> Document | None:
    """The document in `body`; None if it is not a JSON object within bounds.

    Args:
        body: the answer, unpacked.
        header_id: the request id of the headers, for a document that has none.
    """
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:
        return None
    try:
        parsed: object = json.loads(
            body, object_pairs_hook=_object, parse_int=_integer, parse_float=_finite, parse_constant=_no_number
        )
        cleaned = _cleaned(parsed, DEEPEST)
        return _read_envelope(cast("dict[str, Any]", cleaned), header_id) if isinstance(cleaned, dict) else None
    except (ValueError, RecursionError):
        return None


def _read_envelope(elements: dict[str, Any], header_id: str | None) -> Document:
    given = {name: _take(elements, name) for name in ("Success", "Code", "Message", "RequestId")}
    success = {"true": True, "false": False}.get(str(given["Success"]).lower())
    code = _code(_as_text(given["Code"]))
    message = _as_text(given["Message"])
    message = None if message is None else scrub(message)
    request_id = identifier(_as_text(given["RequestId"])) or header_id
    _clean_details(elements)
    odd = [
        *(["Success"] if success is None and given["Success"] is not None else []),
        *(["Code"] if _as_text(given["Code"]) is None and given["Code"] is not None else []),
    ]
    # A message of another type stays for the response model to refuse: it matters only in a success.
    shown = given["Message"] if message is None else message
    elements |= {"Success": success, "Code": code, "Message": shown, "RequestId": request_id}
    return Document(elements, success, code, message, request_id, tuple(odd))


def _clean_details(elements: dict[str, Any]) -> None:
    """Make `AccessDeniedDetail` a short text: a string in the documents, it is an object in gateway errors."""
    details = _take(elements, "AccessDeniedDetail")
    if details is not None:
        text = details if isinstance(details, str) else json.dumps(details, ensure_ascii=False, separators=(",", ":"))
        elements["AccessDeniedDetail"] = scrub(text)


def _take(elements: dict[str, Any], name: str) -> Any:
    """Remove and return an element in either spelling. Two spellings at once could contradict each other."""
    found = [spelling for spelling in elements if spelling.replace("_", "").lower() == name.lower()]
    if len(found) > 1:
        raise ValueError
    return elements.pop(found[0]) if found else None


def _as_text(value: object) -> str | None:
    """Text, or a number as text; None for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _code(text: str | None) -> str | None:
    if text is None or not text.strip():
        return text and ""
    return identifier(text) or quoted(scrub(text))


def _cleaned(value: object, depth: int) -> object:
    """`value` with readable text. Raises ValueError if it is nested deeper than `depth`."""
    if isinstance(value, str):
        return readable(value)
    if not isinstance(value, list | dict):
        return value
    if not depth:
        raise ValueError
    if isinstance(value, list):
        return [_cleaned(item, depth - 1) for item in cast("list[object]", value)]
    members = cast("dict[str, object]", value).items()
    return _object([(readable(name), _cleaned(item, depth - 1)) for name, item in members])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError if a name stands there twice: parsers differ in which of the two counts."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError
    return members


def _integer(text: str) -> int:
    """Integers of 64 bits; most other JSON libraries cannot read larger ones."""
    if len(text) > LONGEST_INTEGER or int(text) not in INTEGERS:
        raise ValueError
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _no_number(text: str) -> NoReturn:
    """`NaN`, `Infinity` and `-Infinity`, which Python reads although they are not JSON."""
    raise ValueError
