"""The people in a call: validation, normalisation as Meta matches them, and digests.

The digest of a list does not depend on the order of its people or on how it arrived.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from cams_mcp.fields import wrong
from cams_mcp.models import Strict
from cams_mcp.redaction import FILLERS

HASH_BYTES = 16

LONGEST_EMAIL = 254
"""RFC 5321's limit on the length of a path."""

LONGEST_PHONE = 64
"""Including separators."""

_PART = rf"\s@,;<>(){FILLERS}"
EMAIL = re.compile(rf"[^{_PART}]+@[^{_PART}]+\.[^{_PART}.]+")
_PHONE_SEPARATORS = re.compile(r"[\s().\-/]")
_PHONE_DIGITS = re.compile(r"\+?[0-9]{7,15}")


def _check_email(value: str) -> str:
    address = value.strip()
    # No mailbox contains invisible characters, and half of a surrogate pair cannot even be encoded.
    if len(value) > LONGEST_EMAIL or not (address.isprintable() and EMAIL.fullmatch(address)):
        raise wrong("must be an e-mail address like name@example.com (or omit it)")
    return value


def _check_phone(value: str) -> str:
    if len(value) > LONGEST_PHONE or not _PHONE_DIGITS.fullmatch(_PHONE_SEPARATORS.sub("", value)):
        raise wrong("must be 7 to 15 digits including the country code (or omit it)")
    return value


class AudienceUser(Strict):
    """One person: an e-mail address, a phone number, or both."""

    email: Annotated[Annotated[str, AfterValidator(_check_email)] | None, Field(description="E-mail address.")] = None
    phone: Annotated[
        Annotated[str, AfterValidator(_check_phone)] | None, Field(description="Digits with country code.")
    ] = None

    @model_validator(mode="after")
    def _has_either(self) -> Self:
        if self.email is None and self.phone is None:
            raise wrong("needs an email, a phone, or both")
        return self


def person(user: AudienceUser) -> tuple[str, str]:
    """A user as Meta matches them: e-mail trimmed, in lower case; phone as digits, no leading zeros; "" if missing."""
    return (user.email or "").strip().lower(), re.sub(r"\D", "", user.phone or "").lstrip("0")


def person_hash(email: str, phone: str) -> bytes:
    """A hash of one person, normalised as by `person`."""
    return hashlib.sha256(f"{email}\0{phone}".encode()).digest()[:HASH_BYTES]


def list_digest(hashes: Iterable[bytes]) -> int:
    """A digest of a list without duplicates: the sum of its hashes, so it can be built one by one and in any order.

    It identifies equal lists but does not withstand forgery. The store salts it before keeping it.
    """
    return sum(int.from_bytes(each, "little") for each in hashes) % (1 << 8 * HASH_BYTES)
