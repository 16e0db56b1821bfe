"""Keep people's addresses out of texts: masks for samples, a scrubber for words that come from outside."""

from __future__ import annotations

import re
import unicodedata

_AT = r"(?:@|%(?:25)*40|\\u0040|\\x40|&(?:amp;)*(?:#0*64;?|#x0*40;?|commat;)|\ufe6b|\uff20)"
_LONGEST_LOCAL = 256  # of an encoded address; a bound, so that a long text without an @ costs no quadratic time
_EMAIL = re.compile(
    rf"[^\s@\"'<>,;:()\[\]{{}}=]{{0,{_LONGEST_LOCAL}}}{_AT}[^\s@\"'<>,;()\[\]{{}}]*",
    re.IGNORECASE,
)
_MARKS = "().+/_,\u00b7\u2010\u2011\u2012\u2013\u2014\u2015\u2022\u2027\u2212\u30fb\uff0c\uff0e-"
"""What people write between the digits of a number."""
_SEPARATOR = rf"(?:[\s{_MARKS}]|%(?:2[089BCDF]|5F))"
_NUMBER = re.compile(rf"\+?\d(?:{_SEPARATOR}{{0,3}}\d){{6,}}", re.IGNORECASE)

_BLANKS = "\u115f\u1160\u2800\u3164\uffa0\U0001d159\U00013441\U00013442"
_SELECTORS = "\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U00016fe4\U000e0100-\U000e01ef"
FILLERS = _BLANKS + _SELECTORS
"""Inside of a regular expression's brackets: letters, signs and marks that Unicode calls printable and nobody sees."""
_IS_BLANK = re.compile(f"[{_BLANKS}]")
_IS_WIDE = re.compile(r"[\u2a0c\u2e3a\u2e3b\ufdfa\ufdfb\ufdfd\U00012000-\U0001254f]")
"""Characters as wide as a word, with which a short name could push our words out of sight."""

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
"""Accents and vowel signs on one letter; living scripts need no more, and higher stacks cover the lines around them."""

_READ_FOR_ONE = 16
"""Characters looked at for each one shown, so that a name of megabytes costs nothing."""

LONGEST_ADDRESS = 320
LONGEST_DOMAIN = 30
LONGEST_QUOTE = 300
_LONGEST_READ = 4096


def is_encodable(text: str) -> bool:
    """Whether `text` has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    text = text[:_LONGEST_READ].rpartition(" ")[0].rstrip(f" 0123456789{_MARKS}") if cut else text
    text = printable(text, _LONGEST_READ)
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
    """`text` on one line, at most so long, with nothing in it that a person would not see.

    Every kind of white space is a plain space. Joiners, direction marks, variation selectors and the like are left
    out, what is no character is U+FFFD, and marks stack three high at most. All scripts and emoji stay readable.
    """
    if not (text.isascii() and text.isprintable()):
        text = _visible(text[: longest * _READ_FOR_ONE])
    return " ".join(text.split())[:longest].rstrip()


def _visible(text: str) -> str:
    shown: list[str] = []
    marks = MOST_MARKS  # at the start there is no letter that could carry one
    for char in text:
        kind = unicodedata.category(char)
        if kind == "Cf" or _IS_SELECTOR.match(char):
            continue
        if kind[0] == "M":
            marks += 1
            if marks > MOST_MARKS:
                continue
        elif kind[0] == "Z" or kind == "Cc" or _IS_BLANK.match(char):
            char, marks = " ", MOST_MARKS  # noqa: PLW2901 - what is shown of it
        else:
            char, marks = "\ufffd" if kind[0] == "C" or _IS_WIDE.match(char) else char, 0  # noqa: PLW2901
        shown.append(char)
    return "".join(shown)


def quoted(name: str, longest: int = 60) -> str:
    """A name that somebody else chose, for use inside a sentence of ours: on one line, short, in quotation marks.

    It cannot begin a line, close its quotation, or hide in invisible or right-to-left characters. Put a word of ours
    between a quotation and a number that follows: a right-to-left name would draw the number to its side.
    """
    name = _QUOTE.sub("'", printable(name, longest * 2).translate(_FULL_WIDTH))
    name = re.sub("''+", "'", name)
    return f'"{name[:longest]}..."' if len(name) > longest else f'"{name}"'


def mask_email(address: str) -> str:
    """`jane@example.com` as `j***@example.com`; of a long domain the first 30 characters."""
    local, at, domain = printable(address, LONGEST_ADDRESS).rpartition("@")
    if not at:
        return "***"
    short = f"{domain[:LONGEST_DOMAIN]}..." if len(domain) > LONGEST_DOMAIN else domain
    return f"{local[:1]}***@{short}"


def mask_phone(number: str) -> str:
    """`+8613800000000` as `+86138****0000`: four digits or more are hidden, the rest is for its owner to recognise."""
    digits = re.sub(r"[^0-9+]", "", number)
    head, tail = (6, 4) if len(digits) > 11 else (3, 2)  # noqa: PLR2004 - shorter numbers show less
    head = max(0, min(head, len(digits) - tail - 4))
    return f"{digits[:head]}****{digits[-tail:]}"
