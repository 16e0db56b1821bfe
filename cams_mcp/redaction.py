"""Keep people's addresses out of texts: masks for samples, a scrubber for words that come from outside."""

from __future__ import annotations

import re

_EMAIL = re.compile(r"[^\s@\"'<>,;:()\[\]{}=]+@[^\s@\"'<>,;()\[\]{}]+")
_NUMBER = re.compile(r"\+?\d(?:[\s().-]?\d){6,}")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")

LONGEST_QUOTE = 300


def scrub(text: str) -> str:
    """`text` on one line, at most 300 characters, with everything that looks like an e-mail or a phone replaced.

    For messages of the service or a proxy, which may repeat what was sent.
    """
    text = _UNSEEN.sub(" ", text)
    text = _NUMBER.sub("***", _EMAIL.sub("***", text)).strip()
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


def mask_email(address: str) -> str:
    """`jane@example.com` as `j***@example.com`."""
    local, _, domain = address.strip().rpartition("@")
    return f"{local[:1]}***@{_UNSEEN.sub('', domain)}"


def mask_phone(number: str) -> str:
    """`+8613800000000` as `+86138****0000`: too few digits left to call, enough for its owner to recognise."""
    digits = re.sub(r"[^0-9+]", "", number)
    head, tail = (6, 4) if len(digits) > 11 else (3, 2)  # noqa: PLR2004 - shorter numbers show less
    return f"{digits[:head]}****{digits[-tail:]}"
