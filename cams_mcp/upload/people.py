"""Turn a row of cells into a normalised person, or into the reason why the row is invalid.

Meta matches e-mails trimmed and in lower case, and phones as digits with the country code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from cams_mcp.errors import FileRefused
from cams_mcp.operations.audience.users import EMAIL

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

NOTHING = "no e-mail and no phone"
BAD_EMAIL = "the e-mail address is invalid"
BAD_PHONE = "the phone number is invalid"
NO_COUNTRY = "the phone number has no country code (add it, starting with +, or set a default region)"
TOO_LONG = "more cells than the header"

_SEPARATORS = str.maketrans("", "", " \t\u00a0\u3000().-/\u2010\u2011\u2012\u2013")
_AROUND = " \t\r\n\u00a0\u3000'\u200e\u200f\u202a\u202c\u202d"
"""Stripped around phones: the quote that spreadsheets put before text, and direction marks from address books."""

_FRACTION = re.compile(r"^(\+?[0-9]+)\.0$")
"""A number that was stored as a float. The trailing zero is not part of the phone number."""

_LONGEST_EMAIL = 254  # RFC 5321
_LENGTHS = frozenset(range(7, 16))  # E.164, limited to what CAMS accepts


_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch
_SIMPLE_EMAIL = re.compile(r"[a-z0-9._%+~-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,3}").fullmatch
"""Fast checks that accept nearly all cells. The full checks handle the rest."""

_SIMPLE_PERSON = re.compile(
    r"[a-z0-9._~-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,3}\0\+[1-9][0-9]{6,14}"
).fullmatch
"""An international phone, and an e-mail that needs no escaping in JSON and only its @ escaped in a form."""


def _is_address(email: str) -> bool:
    # Invisible characters come from encoding errors and copying. No mailbox contains them.
    is_unusual = len(email) <= _LONGEST_EMAIL and email.isprintable() and EMAIL.fullmatch(email)
    return bool(_SIMPLE_EMAIL(email) or is_unusual)


class Person(NamedTuple):
    """A normalised person. Missing parts are empty; the phone has digits only, and `country` is its calling code."""

    email: str
    phone: str
    country: int


@dataclass(frozen=True, slots=True)
class Columns:
    """The column numbers, counted from 0."""

    email: int | None
    phone: int | None
    width: int
    header: bool


def find_columns(first: Sequence[str], email: str | None = None, phone: str | None = None) -> Columns:
    """Find the columns by the given headers or numbers, by common English and Chinese headers, or by their data.

    Args:
        first: the cells of the first row.
        email: the header of the e-mail column, or its number from 1.
        phone: the header of the phone column, or its number from 1.

    Raises:
        FileRefused: no column matches, or more than one does.
    """
    plain = [re.sub(r"[\W_]", "", cell).lower() for cell in first]
    header = any(name in EMAIL_NAMES or name in PHONE_NAMES for name in plain)
    named = [name for name in (email, phone) if name is not None and not name.isdecimal()]
    header = header or any(_same_name(name, cell) for name in named for cell in first)
    found_email = _find_column(first, plain, EMAIL_NAMES, email, "email_column")
    found_phone = _find_column(first, plain, PHONE_NAMES, phone, "phone_column")
    if found_email is not None or found_phone is not None:
        # Even if columns are given by number, a first row of words is a header.
        header = header or _is_header(first, found_email, found_phone)
    elif not header:
        found_email = next((place for place, cell in enumerate(first) if EMAIL.fullmatch(cell.strip())), None)
        found_phone = next((place for place, cell in enumerate(first) if _looks_like_phone(cell)), None)
    if found_email is None and found_phone is None:
        raise FileRefused(
            "no e-mail or phone column was found",
            hint='Name the columns "email" and "phone" in the first row, or set email_column and phone_column.',
        )
    return Columns(found_email, found_phone, len(first), header)


def _is_header(first: Sequence[str], email: int | None, phone: int | None) -> bool:
    """Whether these cells hold words, without an @ in the e-mail column or digits in the phone column."""
    cells = [(first[place].strip(), sign) for place, sign in ((email, "@"), (phone, "0-9")) if place is not None]
    return all(cell and not re.search(f"[{sign}]", cell) for cell, sign in cells)


def _find_column(
    first: Sequence[str], plain: list[str], names: frozenset[str], given: str | None, argument: str
) -> int | None:
    if given is None:
        places = [place for place, name in enumerate(plain) if name in names]
    elif given.isdecimal():
        places = [int(given) - 1] if 1 <= int(given) <= len(first) else []
    else:
        places = [place for place, cell in enumerate(first) if _same_name(given, cell)]
    if len(places) > 1:
        raise FileRefused(f"more than one column matches: set {argument} to a header, or to a number from 1")
    if not places and given is not None:
        raise FileRefused(f"no column matches {argument}, which must be a header in the first row or a number from 1")
    return places[0] if places else None


def _same_name(name: str, cell: str) -> bool:
    return name.strip().casefold() == cell.strip().casefold()


def _looks_like_phone(cell: str) -> bool:
    digits = cell.translate(_SEPARATORS).removeprefix("+")
    return digits.isdecimal() and len(digits) in _LENGTHS


class Normaliser:
    """Turns rows into people.

    Args:
        columns: where the e-mails and phones are.
        default_region: the region of national phone numbers, e.g. "CN". None rejects numbers without a country code.

    Raises:
        FileRefused: the region is unknown.
    """

    def __init__(self, columns: Columns, default_region: str | None = None) -> None:
        self._columns = columns
        self._region = default_region.upper() if default_region else None
        if self._region is not None and self._region not in _phonenumbers().SUPPORTED_REGIONS:
            raise FileRefused("default_region is not a known region code", hint="Use two letters, like CN, SG or DE.")

    def person(self, cells: Sequence[str]) -> Person | str:
        """The person in a row, or the reason why the row is invalid."""
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

    def fast_path(self) -> Callable[[Sequence[str]], tuple[str, str, int] | None]:
        """A faster `person` for rows with an e-mail and a phone that need no normalisation: most rows of a clean file.

        It returns the same result as `person`, or None if `person` must handle the row.
        """
        columns, country_of = self._columns, _country
        email_place, phone_place, width = columns.email, columns.phone, columns.width
        if email_place is None or phone_place is None:
            return _no_fast_path

        def parse(cells: Sequence[str]) -> tuple[str, str, int] | None:
            if len(cells) != width:
                return None
            email, phone = cells[email_place], cells[phone_place]
            if not _SIMPLE_PERSON(f"{email}\0{phone}"):
                return None
            country, lengths = country_of(phone[1:4])
            if len(phone) - 1 not in lengths:
                return None
            return email, phone[1:], country

        return parse

    def _phone(self, cell: str) -> tuple[str, int] | str | None:
        """The digits and calling code, the reason why the number is invalid, or None for an empty cell."""
        if _INTERNATIONAL(cell):
            return _with_country(cell[1:])
        text = _FRACTION.sub(r"\1", cell.strip(_AROUND)).replace("(0)", "").translate(_SEPARATORS)
        if not text:
            return None
        digits = text[1:] if text[0] == "+" else text[2:] if text.startswith("00") else ""
        if digits:
            if not (digits.isascii() and digits.isdecimal()):
                return BAD_PHONE
            return _with_country(digits)
        if not (text.isascii() and text.isdecimal()):
            return BAD_PHONE
        return NO_COUNTRY if self._region is None else _national(text, self._region)


def _no_fast_path(cells: Sequence[str]) -> None:
    """Leave every row to `person`."""


def _phonenumbers() -> Any:
    import phonenumbers

    return phonenumbers


def _with_country(digits: str) -> tuple[str, int] | str:
    """Check an international number, without its plus, against the number lengths of its country."""
    country, lengths = _country(digits[:3])
    return (digits, country) if len(digits) in lengths else BAD_PHONE


@cache
def _country(start: str) -> tuple[int, frozenset[int]]:
    """The calling code at the start of a number (0 if none), and the possible total lengths of such numbers."""
    library = _phonenumbers()
    known: dict[int, tuple[str, ...]] = {} if start.startswith("0") else library.COUNTRY_CODE_TO_REGION_CODE
    codes = (int(start[:length]) for length in (1, 2, 3) if len(start) >= length)
    country = next((code for code in codes if code in known), 0)
    # If several regions share the code, use the metadata of the first.
    of_code = library.PhoneMetadata.metadata_for_region_or_calling_code(country, known[country][0]) if country else None
    possible = of_code.general_desc.possible_length if of_code is not None else ()
    lengths = frozenset(len(str(country)) + length for length in possible)
    return country, lengths & _LENGTHS


def _national(text: str, region: str) -> tuple[str, int] | str:
    library = _phonenumbers()
    try:
        number = library.parse(text, region)
    except library.NumberParseException:
        return BAD_PHONE
    # Check the international form, because some shorter lengths are valid only for local calls.
    return _with_country(library.format_number(number, library.PhoneNumberFormat.E164).removeprefix("+"))
