"""A row of cells as a person CAMS can match, or the reason why not.

Meta matches e-mails trimmed and in lower case, and phones as digits with country code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from cams_mcp.errors import FileRefused
from cams_mcp.operations.add_custom_audience_user import EMAIL

EMAIL_NAMES = frozenset(
    [
        "email",
        "emails",
        "emailaddress",
        "mail",
        "mailaddress",
        "useremail",
        "customeremail",
        "邮箱",
        "电子邮箱",
        "邮箱地址",
        "电子邮件",
        "邮件",
        "电邮",
    ]
)
PHONE_NAMES = frozenset(
    [
        "phone",
        "phones",
        "phonenumber",
        "mobile",
        "mobiles",
        "mobilephone",
        "mobilenumber",
        "cell",
        "cellphone",
        "tel",
        "telephone",
        "telephonenumber",
        "whatsapp",
        "whatsappnumber",
        "msisdn",
        "手机",
        "手机号",
        "手机号码",
        "移动电话",
        "电话",
        "电话号码",
        "联系电话",
    ]
)

NOTHING = "has neither e-mail nor phone"
BAD_EMAIL = "the e-mail is not an address"
BAD_PHONE = "the phone is not a phone number"
NO_COUNTRY = "the phone has no country code (write +, or name the region of national numbers)"
TOO_LONG = "has more cells than the header"

_SEPARATORS = str.maketrans("", "", " \t\u00a0\u3000().-/\u2010\u2011\u2012\u2013")
_LONGEST_EMAIL = 254  # RFC 5321
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15


_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch
_USUAL_EMAIL = re.compile(r"[a-z0-9._%+~-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,3}").fullmatch
"""Quick answers for nearly all cells; the others take the long way."""


def _is_address(email: str) -> bool:
    return bool(_USUAL_EMAIL(email) or (len(email) <= _LONGEST_EMAIL and EMAIL.fullmatch(email)))


class Person(NamedTuple):
    """A person, normalised: empty text for what is missing, digits for the phone. `country` is its calling code."""

    email: str
    phone: str
    country: int


@dataclass(frozen=True, slots=True)
class Columns:
    """Which cells are what; counted from 0."""

    email: int | None
    phone: int | None
    width: int
    header: bool


def find_columns(first: Sequence[str], email: str | None = None, phone: str | None = None) -> Columns:
    """Find the columns by their usual names, in English and Chinese, by the names given, or by a first row of data.

    Args:
        first: the cells of the first row.
        email: the header of the e-mail column, or its number from 1.
        phone: the same of the phone column.

    Raises:
        FileRefused: no column is found, or several are.
    """
    plain = [re.sub(r"[\W_]", "", cell).lower() for cell in first]
    header = any(name in EMAIL_NAMES or name in PHONE_NAMES for name in plain)
    named = [name for name in (email, phone) if name is not None and not name.isdecimal()]
    header = header or any(_same(name, cell) for name in named for cell in first)
    found_email = _find(first, plain, EMAIL_NAMES, email, "email_column")
    found_phone = _find(first, plain, PHONE_NAMES, phone, "phone_column")
    if not header and found_email is None and found_phone is None:
        found_email = next((place for place, cell in enumerate(first) if EMAIL.fullmatch(cell.strip())), None)
        found_phone = next((place for place, cell in enumerate(first) if _looks_like_phone(cell)), None)
    if found_email is None and found_phone is None:
        raise FileRefused(
            "no column of e-mails or phones was found",
            hint='Name the columns "email" and "phone" in the first row, or give email_column and phone_column.',
        )
    return Columns(found_email, found_phone, len(first), header)


def _find(
    first: Sequence[str], plain: list[str], names: frozenset[str], given: str | None, argument: str
) -> int | None:
    if given is None:
        places = [place for place, name in enumerate(plain) if name in names]
    elif given.isdecimal():
        places = [int(given) - 1] if 1 <= int(given) <= len(first) else []
    else:
        places = [place for place, cell in enumerate(first) if _same(given, cell)]
    if len(places) > 1:
        raise FileRefused(f"several columns could be meant: give {argument} (a name, or a number from 1)")
    if not places and given is not None:
        raise FileRefused(f"there is no column as {argument} says (a name of the first row, or a number from 1)")
    return places[0] if places else None


def _same(name: str, cell: str) -> bool:
    return name.strip().casefold() == cell.strip().casefold()


def _looks_like_phone(cell: str) -> bool:
    digits = cell.translate(_SEPARATORS).removeprefix("+")
    return digits.isdecimal() and _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS


class Normaliser:
    """Turns rows into people.

    Args:
        columns: which cells are what.
        default_region: the region of national numbers, e.g. "CN"; None refuses numbers without country code.

    Raises:
        FileRefused: an unknown region.
    """

    def __init__(self, columns: Columns, default_region: str | None = None) -> None:
        self._columns = columns
        self._region = default_region.upper() if default_region else None
        if self._region is not None and self._region not in _phonenumbers().SUPPORTED_REGIONS:
            raise FileRefused("default_region is not a region code", hint="Use two letters, like CN, SG or DE.")

    def person(self, cells: Sequence[str]) -> Person | str:
        """The person of a row, or the reason why there is none."""
        columns = self._columns
        if len(cells) > columns.width and any(cell.strip() for cell in cells[columns.width :]):
            return TOO_LONG
        email = phone = ""
        country = 0
        if columns.email is not None and columns.email < len(cells):
            email = cells[columns.email].strip().lower()
            if email and not _is_address(email):
                return BAD_EMAIL
        if columns.phone is not None and columns.phone < len(cells) and cells[columns.phone]:
            number = self._phone(cells[columns.phone])
            if isinstance(number, str):
                return number
            if number is not None:
                phone, country = number
        return Person(email, phone, country) if email or phone else NOTHING

    def _phone(self, cell: str) -> tuple[str, int] | str | None:
        """Digits and calling code, or the reason why not, or None for an empty cell."""
        if _INTERNATIONAL(cell):
            return _checked(cell[1:])
        text = cell.strip().lstrip("'\u202a\u202d\u202c").replace("(0)", "").translate(_SEPARATORS)
        if not text:
            return None
        digits = text[1:] if text[0] == "+" else text[2:] if text.startswith("00") else ""
        if digits:
            if not (digits.isascii() and digits.isdecimal()):
                return BAD_PHONE
            return _checked(digits)
        if not (text.isascii() and text.isdecimal()):
            return BAD_PHONE
        return NO_COUNTRY if self._region is None else _national(text, self._region)


def _phonenumbers() -> Any:
    import phonenumbers  # noqa: PLC0415 - only files with phones need it

    return phonenumbers


def _checked(digits: str) -> tuple[str, int] | str:
    """An international number without its plus, if a number of its country can be so long."""
    country, lengths = _country(digits[:3])
    return (digits, country) if len(digits) in lengths else BAD_PHONE


@cache
def _country(start: str) -> tuple[int, frozenset[int]]:
    """The calling code a number begins with (0 if none), and how many digits such numbers have in all."""
    library = _phonenumbers()
    known = library.COUNTRY_CODE_TO_REGION_CODE
    codes = (int(start[:length]) for length in (1, 2, 3) if len(start) >= length)
    country = next((code for code in codes if code in known), 0)
    lengths: set[int] = set()
    for region in known.get(country, ()):
        of_region = library.PhoneMetadata.metadata_for_region_or_calling_code(country, region)
        if of_region is not None:
            lengths.update(len(str(country)) + length for length in of_region.general_desc.possible_length)
    return country, frozenset(lengths)


def _national(text: str, region: str) -> tuple[str, int] | str:
    library = _phonenumbers()
    try:
        number = library.parse(text, region)
    except library.NumberParseException:
        return BAD_PHONE
    if not library.is_possible_number(number):
        return BAD_PHONE
    digits = library.format_number(number, library.PhoneNumberFormat.E164).removeprefix("+")
    return digits, number.country_code
