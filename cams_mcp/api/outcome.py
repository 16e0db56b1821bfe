"""Decide from a CAMS response whether the request was executed, refused, or may have been executed.

The difference matters for writes: a refused write can be sent again, but one that may have been applied cannot. A
response therefore counts as a refusal only if its HTTP status, `Success` and `Code` all agree. Timeouts, contradictions
and unknown error codes are uncertain.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Literal

from cams_mcp.errors import THROTTLING, UNDECIDED_CODES


class Verdict(Enum):
    SUCCEEDED = auto()
    REFUSED = auto()
    """Not executed. A retry would be refused again."""
    THROTTLED = auto()
    """Not executed. Can be sent again later."""
    UNCERTAIN = auto()
    """May have been executed: the request failed at an unknown point, or the response contradicts itself."""


SUCCESS_STATUSES = frozenset({200, 201, 202, 203})

REFUSAL_STATUSES = frozenset({400, 401, 403, 404, 405, 406, 407, 410, 411, 413, 414, 415, 417, 421, 422, 426, 429, 431})
"""Excludes statuses that mean a timeout (408, 425, 499) and those that a repeated request can cause (409, 412)."""

REDIRECTS_BEFORE_EXECUTION = frozenset({301, 302, 307, 308})
"""CAMS never redirects. These come from a login page or a moved gateway; a 303 would follow an executed request."""

_REFUSAL_PREFIXES = (
    *("Invalid", "Illegal", "Missing", "Unsupported", "Forbidden", "NoPermission", "Unauthorized", "Authentication."),
    *("SignatureDoesNotMatch", "IncompleteSignature", "Ram.PermissionDeny", "Product.Unsubscript"),
)
"""Prefixes of codes that come from a gateway or from validation before execution."""

_REFUSAL_CODES = frozenset({"System.LimitControl", "Unknown.ResourceOwnerId"})
"""Documented refusals without such a prefix. The second would otherwise match `_UNCERTAIN_WORDS`."""

_UNCERTAIN_WORDS = re.compile(
    r"time[-._]?d?[-._]?out|deadline|unavailable|internal|gateway|upstream|backend|busy|unknown|systemerror|servererror"
    r"|exception|pending|processing|partial|nonceused",
    re.IGNORECASE,
)
"""In codes for timeouts and failures during execution. `SignatureNonceUsed` means that a proxy repeated the request;
the first copy may have been executed."""

_REPETITION_WORDS = re.compile(
    r"duplicat|already|repeat|replay|idempot|conflict|applied|executed|completed|finished"
    r"|(?<!not)(?<!not[-._])(?<!non)(?<!non[-._])exist",
    re.IGNORECASE,
)
"""A refusal with one of these words is uncertain: a proxy may have sent the request twice, and CAMS may have refused
the second copy because it had executed the first. `NotExist` and `NonExistent` don't match, because a first copy cannot
cause them."""

_StatusClass = Literal["success", "refusal", "unavailable", "other"]
_CodeClass = Literal["none", "ok", "refusal", "throttling", "uncertain", "unknown"]

_VERDICTS: dict[tuple[_StatusClass, bool | None], dict[_CodeClass, Verdict]] = {
    # Documented successes have arbitrary codes ("Example"), so an unknown code doesn't contradict `Success: true`.
    ("success", True): dict.fromkeys(("none", "ok", "unknown"), Verdict.SUCCEEDED),
    ("success", None): {"ok": Verdict.SUCCEEDED, "refusal": Verdict.REFUSED, "throttling": Verdict.THROTTLED},
    ("success", False): {"refusal": Verdict.REFUSED, "throttling": Verdict.THROTTLED},
    ("refusal", None): {"refusal": Verdict.REFUSED, "throttling": Verdict.THROTTLED},
    ("refusal", False): {"refusal": Verdict.REFUSED, "throttling": Verdict.THROTTLED},
    ("unavailable", None): {"throttling": Verdict.THROTTLED},
    ("unavailable", False): {"throttling": Verdict.THROTTLED},
}
"""All other combinations are uncertain."""


def verdict(status: int, success: bool | None, code: str | None) -> Verdict:
    """The verdict on a response with this HTTP status, `Success` and `Code` (None if absent)."""
    return _VERDICTS.get((_status_class(status), success), {}).get(_code_class(code), Verdict.UNCERTAIN)


def is_uncertain(code: str | None) -> bool:
    """Whether a code means a timeout or a failure during execution. A read can be retried after it."""
    if not code or code in _REFUSAL_CODES:
        return False
    return code in UNDECIDED_CODES or _UNCERTAIN_WORDS.search(code) is not None


def _status_class(status: int) -> _StatusClass:
    if status in SUCCESS_STATUSES:
        return "success"
    if status in REFUSAL_STATUSES:
        return "refusal"
    return "unavailable" if status == 503 else "other"


def _code_class(code: str | None) -> _CodeClass:
    if not code:
        return "none"
    if code == "OK":
        return "ok"
    if code in _REFUSAL_CODES:
        return "refusal"
    if is_uncertain(code):
        return "uncertain"
    found = _known_prefix(code)
    return "uncertain" if found != "unknown" and _REPETITION_WORDS.search(code) else found


def _known_prefix(code: str) -> _CodeClass:
    if code.startswith(THROTTLING):
        return "throttling"
    return "refusal" if code.startswith(_REFUSAL_PREFIXES) else "unknown"
