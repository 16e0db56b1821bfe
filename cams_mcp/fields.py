"""The argument types that all operations share: ids, free text, paths, counts, nested values.

Text from outside is validated once, here. Code behind a request model can rely on it: text can be encoded and has a
bounded length, and every id has exactly one spelling. Errors describe the problem without repeating the value.
"""

from __future__ import annotations

import json
import os
import re
from typing import Annotated, Any, LiteralString, cast

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from cams_mcp.redaction import is_encodable

PROBLEM = "problem"
"""The type of all errors worded by this package. Pydantic's own messages could repeat a value."""

LONGEST_ID = 256
LONGEST_TEXT = 500
LONGEST_PATH = 4096
MOST = 10**12
"""Upper bound for counts and page numbers."""

_AROUND_IDS = " \t\r\n\u00a0\u3000"
"""White space that gets copied along with an id from a page or a table."""

_ID = re.compile(rf"[\x21-\x7e]{{1,{LONGEST_ID}}}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def wrong(words: LiteralString, **context: Any) -> PydanticCustomError:
    """An error about an argument. Messages start with the field's name, followed by `words`."""
    return PydanticCustomError(PROBLEM, words, context or None)


def trim_id(value: str) -> str:
    """Strip the white space around an id."""
    return value.strip(_AROUND_IDS)


def is_id(value: str) -> bool:
    """Whether `value` is an id in its only valid spelling.

    Full-width digits, invisible characters and the like would create a different id that looks the same.
    """
    return bool(_ID.fullmatch(value))


def _check_id(value: str) -> str:
    identifier = trim_id(value)
    if not identifier:
        raise wrong("must not be empty")
    if not is_id(identifier):
        raise wrong(
            "must be an id of at most {most} ASCII characters, without spaces or invisible characters",
            most=LONGEST_ID,
        )
    return identifier


def _check_text(value: str) -> str:
    if len(value) > LONGEST_TEXT:
        raise wrong("must have at most {most} characters", most=LONGEST_TEXT)
    if not is_encodable(value):
        raise wrong("has a character that cannot be encoded (half of a surrogate pair)")
    if _CONTROL.search(value):
        raise wrong("must not contain control characters or line breaks")
    return value


def _check_path(value: str) -> str:
    if not value:
        raise wrong("must not be empty")
    if len(value) > LONGEST_PATH:
        raise wrong("must have at most {most} characters", most=LONGEST_PATH)
    try:
        # File names may contain bytes that are not text. Python maps them to surrogates, which only fsencode accepts.
        encoded = os.fsencode(value)
    except UnicodeEncodeError:
        raise wrong("has a character that cannot be encoded (half of a surrogate pair)") from None
    if b"\0" in encoded:
        raise wrong("must not contain control characters or line breaks")
    return value


def _check_number(value: int | None) -> int | None:
    if value is not None and value > MOST:
        raise wrong("must be at most {most}", most=f"{MOST:,}")
    return value


def _parse_json_text(value: object) -> object:
    """Accept JSON text, because some clients send objects and arrays that way."""
    if not isinstance(value, str):
        return value
    try:
        return cast("object", json.loads(value, parse_constant=_no_number))
    except (ValueError, RecursionError):
        raise wrong("must be an object or array, or JSON text of one") from None


def _no_number(name: str) -> object:
    raise ValueError(name)


def one_of(*values: str) -> BeforeValidator:
    """Accept one of `values`, ignoring case, and pass it on unchanged."""
    known = {value.lower() for value in values}

    def check(value: object) -> object:
        if isinstance(value, str) and value.lower() not in known:
            raise wrong("must be one of {values}", values=", ".join(values))
        return value

    return BeforeValidator(check)


Id = Annotated[str, AfterValidator(_check_id)]
"""An id or number assigned by CAMS. It has one spelling in digests, limits, ledger and audit trail."""

Text = Annotated[str, AfterValidator(_check_text)]
"""Free text to filter by."""

FilePath = Annotated[str, AfterValidator(_check_path)]
"""A path on this machine."""

BOUNDED = AfterValidator(_check_number)
"""Put after a number's `Field` to bound it, so that it cannot crowd out the text around it."""

NESTED = BeforeValidator(_parse_json_text)
"""Marks a nested argument that is also accepted as JSON text."""
