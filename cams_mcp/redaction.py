"""Keep personal data out of output: mask samples, and scrub or quote text from outside."""

from __future__ import annotations

import re
import unicodedata

_AT = r"(?:@|%(?:25)*40|\\u0040|\\x40|&(?:amp;)*(?:#0*64;?|#x0*40;?|commat;)|\ufe6b|\uff20)"
_LONGEST_LOCAL = 256  # encoded; the bound avoids quadratic time on long text without an @
_EMAIL = re.compile(
    rf"[^\s@\"'<>,;:()\[\]{{}}=]{{0,{_LONGEST_LOCAL}}}{_AT}[^\s@\"'<>,;()\[\]{{}}]*",
    re.IGNORECASE,
)
_MARKS = "().+/_,\u00b7\u2010\u2011\u2012\u2013\u2014\u2015\u2022\u2027\u2212\u30fb\uff0c\uff0e-"
"""Characters that people write between the digits of a phone number."""
_SEPARATOR = rf"(?:[\s{_MARKS}]|%(?:2[089BCDF]|5F))"
_NUMBER = re.compile(rf"\+?\d(?:{_SEPARATOR}{{0,3}}\d){{6,}}", re.IGNORECASE)

_BLANKS = "\u115f\u1160\u2800\u3164\uffa0\U0001d159\U00013441\U00013442"
_SELECTORS = "\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U00016fe4\U000e0100-\U000e01ef"
FILLERS = _BLANKS + _SELECTORS
"""Characters that Unicode classes as printable but that are invisible. For use in a regular expression's brackets."""
_IS_BLANK = re.compile(f"[{_BLANKS}]")
_IS_WIDE = re.compile(r"[\u2a0c\u2e3a\u2e3b\ufdfa\ufdfb\ufdfd\U00012000-\U0001254f]")
"""Characters as wide as a word. A short name made of them could push the text around it out of view."""

_IS_SELECTOR = re.compile(f"[{_SELECTORS}]")

_UNREADABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)

_QUOTES = (
    '"`\u00ab\u00bb\u02ba\u02dd\u02ee\u02f6\u05f4\u201c-\u201f\u2033\u2034\u2036\u2037\u2057\u275d\u275e\u2760\u2e42'
    "\u3003\u301d-\u301f\uff02\uff07\U0001f676-\U0001f678"
)
_QUOTE = re.compile(f"[{_QUOTES}]|'+")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_ID = re.compile(r"[A-Za-z0-9._:*-]{1,64}")
_UUID = re.compile(r"(?=.*[A-Za-z])(?:[A-Za-z0-9]{8}(?:-[A-Za-z0-9]{4}){3}-[A-Za-z0-9]{12}|[A-Fa-f0-9]{32})")
_NUMBER_IN_ID = re.compile(r"\d(?:[._:*-]*\d){6,}")


MOST_MARKS = 3
"""Combining marks per letter. Living scripts need no more, and taller stacks cover neighbouring lines."""

_READ_FOR_ONE = 16
"""Characters examined per character shown, to bound the work for very long names."""

LONGEST_ADDRESS = 320
LONGEST_DOMAIN = 30
LONGEST_QUOTE = 300
_LONGEST_READ = 4096


def is_encodable(text: str) -> bool:
    """Whether `text` can be encoded: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(text: str) -> str:
    """Replace characters that cannot be encoded, or that would mislead a reader, with U+FFFD.

    These are lone surrogates, control characters other than tabs and line breaks, overrides of the writing direction,
    and invisible tag characters. Joiners and direction marks stay, because emoji and right-to-left names need them.
    """
    return text if text.isascii() and text.isprintable() else _UNREADABLE.sub("\ufffd", text)


def scrub(text: str) -> str:
    """Shorten `text` to one line of at most 300 characters and replace everything that looks like an e-mail or phone.

    For messages from CAMS or a proxy, which may echo what was sent.
    """
    cut = len(text) > _LONGEST_READ
    # A truncated address or number would not be recognised, so cut at a space and drop trailing digits.
    text = text[:_LONGEST_READ].rpartition(" ")[0].rstrip(f" 0123456789{_MARKS}") if cut else text
    text = printable(text, _LONGEST_READ)
    text = _NUMBER.sub("***", _EMAIL.sub("***", text)).strip()
    return f"{text[:LONGEST_QUOTE]}..." if cut or len(text) > LONGEST_QUOTE else text


def identifier(text: str | None) -> str | None:
    """Return `text` if it can only be an id, such as a request id or an error code; otherwise None.

    An id has up to 64 letters, digits and `._:-` (and `*`, which the documentation uses to mask ids). Seven or more
    consecutive digits could be a phone number, so only an id in UUID format may contain them.
    """
    if text is None or not _ID.fullmatch(text):
        return None
    return text if _UUID.fullmatch(text) or not _NUMBER_IN_ID.search(text) else None


def printable(text: str, longest: int = 120) -> str:
    """Reduce `text` to one line of at most `longest` visible characters.

    White space of any kind becomes a plain space. Joiners, direction marks, variation selectors and similar characters
    are dropped, non-characters become U+FFFD, and at most three combining marks stay per letter. All scripts and emoji
    remain readable.
    """
    if not (text.isascii() and text.isprintable()):
        text = _visible(text[: longest * _READ_FOR_ONE])
    return " ".join(text.split())[:longest].rstrip()


def _visible(text: str) -> str:
    shown: list[str] = []
    marks = MOST_MARKS  # the text cannot start with a mark: there is no letter to carry it
    for char in text:
        kind = unicodedata.category(char)
        if kind == "Cf" or _IS_SELECTOR.match(char):
            continue
        if kind[0] == "M":
            marks += 1
            if marks > MOST_MARKS:
                continue
        elif kind[0] == "Z" or kind == "Cc" or _IS_BLANK.match(char):
            char, marks = " ", MOST_MARKS  # noqa: PLW2901 - shown instead
        else:
            char, marks = "\ufffd" if kind[0] == "C" or _IS_WIDE.match(char) else char, 0  # noqa: PLW2901
        shown.append(char)
    return "".join(shown)


def quoted(name: str, longest: int = 60) -> str:
    """Quote a name from outside for use within a sentence: short, on one line, in quotation marks.

    The name cannot start a new line, close its quotation, or contain invisible characters. Put a word between the
    quotation and a number that follows, because a right-to-left name would pull the number to its side.
    """
    name = _QUOTE.sub("'", printable(name, longest * 2).translate(_FULL_WIDTH))
    name = re.sub("''+", "'", name)
    return f'"{name[:longest]}..."' if len(name) > longest else f'"{name}"'


def mask_email(address: str) -> str:
    """Mask `jane@example.com` as `j***@example.com`. Long domains are cut to 30 characters."""
    local, at, domain = printable(address, LONGEST_ADDRESS).rpartition("@")
    if not at:
        return "***"
    short = f"{domain[:LONGEST_DOMAIN]}..." if len(domain) > LONGEST_DOMAIN else domain
    return f"{local[:1]}***@{short}"


def mask_phone(number: str) -> str:
    """Mask `+8613800000000` as `+86138****0000`. Hides at least four digits; the owner can recognise the rest."""
    digits = re.sub(r"[^0-9+]", "", number)
    head, tail = (6, 4) if len(digits) > 11 else (3, 2)  # noqa: PLR2004 - shorter numbers show less
    head = max(0, min(head, len(digits) - tail - 4))
    return f"{digits[:head]}****{digits[-tail:]}"
