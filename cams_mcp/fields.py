"""What the arguments of every operation are made of: ids, free text, paths, counts, nested values.

Text from outside is checked here, once, so that nothing behind a request model has to doubt it: it can be encoded, has
a bounded length, and an id has one spelling only. An error says what is wrong and repeats no value.
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
"""The kind of all errors that this package words itself; pydantic's own words could repeat a value."""

LONGEST_ID = 256
LONGEST_TEXT = 500
LONGEST_PATH = 4096
MOST = 10**12
"""No number of people and no page is larger."""

_AROUND_IDS = " \t\r\n\u00a0\u3000"
"""What comes along when somebody copies an id from a page or a table."""

_ID = re.compile(rf"[\x21-\x7e]{{1,{LONGEST_ID}}}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def wrong(words: LiteralString, **context: Any) -> PydanticCustomError:
    """An error about an argument. `words` follow the name of the field."""
    return PydanticCustomError(PROBLEM, words, context or None)


def trim_id(value: str) -> str:
    """An id without the white space around it."""
    return value.strip(_AROUND_IDS)


def is_id(value: str) -> bool:
    """Whether this is an id in its one spelling.

    Full-width digits, invisible characters and the like would make another id of it that looks the same.
    """
    return bool(_ID.fullmatch(value))


def _check_id(value: str) -> str:
    identifier = trim_id(value)
    if not identifier:
        raise wrong("must not be empty")
    if not is_id(identifier):
        raise wrong(
            "must be an id of at most {most} ASCII letters, digits and signs, without spaces or invisible characters",
            most=LONGEST_ID,
        )
    return identifier


def _check_text(value: str) -> str:
    if len(value) > LONGEST_TEXT:
        raise wrong("must have at most {most} characters", most=LONGEST_TEXT)
    if not is_encodable(value):
        raise wrong("has a character that cannot be encoded (half of a surrogate pair)")
    if _CONTROL.search(value):
        raise wrong("must not have control characters or line breaks")
    return value


def _check_path(value: str) -> str:
    if not value:
        raise wrong("must not be empty")
    if len(value) > LONGEST_PATH:
        raise wrong("must have at most {most} characters", most=LONGEST_PATH)
    try:
        # Names of files may hold bytes that are no text; Python keeps them as surrogates, which only this can encode.
        encoded = os.fsencode(value)
    except UnicodeEncodeError:
        raise wrong("has a character that cannot be encoded (half of a surrogate pair)") from None
    if b"\0" in encoded:
        raise wrong("must not have control characters or line breaks")
    return value


def _check_number(value: int | None) -> int | None:
    if value is not None and value > MOST:
        raise wrong("must be at most {most}", most=f"{MOST:,}")
    return value


def _parse_json_text(value: object) -> object:
    """Some clients send objects and arrays as JSON text; read that too."""
    if not isinstance(value, str):
        return value
    try:
        return cast("object", json.loads(value, parse_constant=_no_number))
    except (ValueError, RecursionError):
        raise wrong("must be an object or array, or JSON text of one") from None


def _no_number(name: str) -> object:
    raise ValueError(name)


def one_of(*values: str) -> BeforeValidator:
    """Accept one of `values` in either case and pass it on as given."""
    known = {value.lower() for value in values}

    def check(value: object) -> object:
        if isinstance(value, str) and value.lower() not in known:
            raise wrong("must be one of {values}", values=", ".join(values))
        return value

    return BeforeValidator(check)


Id = Annotated[str, AfterValidator(_check_id)]
"""An id or a number that CAMS or Meta gave. One id has one spelling, in digests, limits, ledger and trail."""

Text = Annotated[str, AfterValidator(_check_text)]
"""Words of a person, to filter by."""

FilePath = Annotated[str, AfterValidator(_check_path)]
"""The name of a file on this machine."""

BOUNDED = AfterValidator(_check_number)
"""Marks a number, after its `Field`: it is never so long that it hides what is shown around it."""

NESTED = BeforeValidator(_parse_json_text)
"""Marks a nested argument: it is accepted as JSON text as well."""
