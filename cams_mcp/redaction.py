"""Keep people's addresses out of texts: masks for samples, a scrubber for words that come from outside."""

from __future__ import annotations

import re

_AT = r"(?:@|%(?:25)*40|\\u0040|&#0*64;|\uff20)"
_LONGEST_LOCAL = 256  # of an encoded address; a bound, so that a long text without an @ costs no quadratic time
_EMAIL = re.compile(
    rf"[^\s@\"'<>,;:()\[\]{{}}=]{{0,{_LONGEST_LOCAL}}}{_AT}[^\s@\"'<>,;()\[\]{{}}]*",
    re.IGNORECASE,
)
_SEPARATOR = r"(?:[\s().+/\u2010-\u2015-]|%2[089BDF])"
_NUMBER = re.compile(rf"\+?\d(?:{_SEPARATOR}{{0,3}}\d){{6,}}", re.IGNORECASE)
_CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_INVISIBLE_CHARACTERS = r"\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f"
_CONTROL = re.compile(f"[{_CONTROL_CHARACTERS}]+")
_INVISIBLE = re.compile(f"[{_INVISIBLE_CHARACTERS}]+")
_UNSEEN = re.compile(f"[{_CONTROL_CHARACTERS}{_INVISIBLE_CHARACTERS}]+")

_UNREADABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)

_ID = re.compile(r"[A-Za-z0-9._:*-]{1,64}")
_UUID = re.compile(r"(?=.*[A-Za-z])(?:[A-Za-z0-9]{8}(?:-[A-Za-z0-9]{4}){3}-[A-Za-z0-9]{12}|[A-Fa-f0-9]{32})")
_NUMBER_IN_ID = re.compile(r"\d(?:[._:*-]*\d){6,}")

_MARKS = str.maketrans(dict.fromkeys('"\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02`', "'"))

LONGEST_QUOTE = 300
_LONGEST_READ = 4096


def readable(text: str) -> str:
    """`text` with everything replaced by U+FFFD that cannot be encoded or that hides what a person would read.

    That is: lone surrogates, control characters other than tabs and line ends, overrides of the writing direction, and
    invisible tag characters. Joiners and direction marks stay, because emoji and right-to-left names need them.
    """
    return text if text.isascii() and text.isprintable() else _UNREADABLE.sub("\ufffd", text)


def scrub(text: str) -> str:
    """`text` on one line, at most 300 characters, with everything that looks like an e-mail or a phone replaced.

    For messages of the service or a proxy, which may repeat what was sent.
    """
    cut = len(text) > _LONGEST_READ
    # Half an address at the cut would not be recognised: end at a word, and not within a number.
    text = text[:_LONGEST_READ].rpartition(" ")[0].rstrip(" 0123456789().+/-") if cut else text
    text = _CONTROL.sub(" ", _INVISIBLE.sub("", text))
    text = _NUMBER.sub("***", _EMAIL.sub("***", text)).strip()
    return f"{text[:LONGEST_QUOTE]}..." if cut or len(text) > LONGEST_QUOTE else text


def identifier(text: str | None) -> str | None:
    """`text` if it can only be an id, such as a request id or an error code; None if it could be anything else.

    An id has up to 64 letters, digits and `._:-` (and `*`, with which the documents mask them). Seven digits or more
    could be somebody's phone number, so only an id in the form of a UUID may have that many in a row.
    """
    if text is None or not _ID.fullmatch(text):
        return None
    return text if _UUID.fullmatch(text) or not _NUMBER_IN_ID.search(text) else None


def printable(text: str, longest: int = 120) -> str:
    """`text` on one line, without invisible or right-to-left characters, at most so long."""
    return " ".join(_UNSEEN.sub(" ", text).split())[:longest]


def quoted(name: str, longest: int = 60) -> str:
    """A name that somebody else chose, for use inside a sentence of ours: on one line, short, in quotation marks.

    It cannot begin a line, close its quotation, or hide behind invisible or right-to-left characters.
    """
    name = printable(name).translate(_MARKS)
    return f'"{name[:longest]}..."' if len(name) > longest else f'"{name}"'


def mask_email(address: str) -> str:
    """`jane@example.com` as `j***@example.com`."""
    local, _, domain = _CONTROL.sub("", _INVISIBLE.sub("", address)).strip().rpartition("@")
    return f"{local[:1]}***@{domain}"


def mask_phone(number: str) -> str:
    """`+8613800000000` as `+86138****0000`: four digits or more are hidden, the rest is for its owner to recognise."""
    digits = re.sub(r"[^0-9+]", "", number)
    head, tail = (6, 4) if len(digits) > 11 else (3, 2)  # noqa: PLR2004 - shorter numbers show less
    head = max(0, min(head, len(digits) - tail - 4))
    return f"{digits[:head]}****{digits[-tail:]}"
