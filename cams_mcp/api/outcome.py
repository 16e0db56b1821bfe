"""What an answer of CAMS says about its request: executed, refused, or nothing certain.

For a write the difference matters: a refused write can be sent again, one that may have been applied cannot. So an
answer is a refusal only where its HTTP status, its `Success` and its `Code` all say so. Time-outs, contradictions and
codes that nobody here knows are uncertain.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Literal

from cams_mcp.errors import THROTTLING, UNDECIDED_CODES


class Verdict(Enum):
    SUCCEEDED = auto()
    REFUSED = auto()
    """Not executed, and would not be if it were sent again."""
    THROTTLED = auto()
    """Not executed; may be sent again later."""
    UNCERTAIN = auto()
    """Failed, but perhaps not before it was executed, or the answer contradicts itself."""


SUCCESS_STATUSES = frozenset({200, 201, 202, 203})

REFUSAL_STATUSES = frozenset({400, 401, 403, 404, 405, 406, 407, 410, 411, 413, 414, 415, 417, 421, 422, 426, 429, 431})
"""Without those that mean no answer in time (408, 425, 499) and those that a repeated request can get (409, 412)."""

REDIRECTS_BEFORE_EXECUTION = frozenset({301, 302, 307, 308})
"""CAMS redirects nothing; these come from a login page or a moved gateway. 303 would be the answer to a request."""

_REFUSAL_FAMILIES = (
    *("Invalid", "Illegal", "Missing", "Unsupported", "Forbidden", "NoPermission", "Unauthorized", "Authentication."),
    *("SignatureDoesNotMatch", "IncompleteSignature", "Ram.PermissionDeny", "Product.Unsubscript"),
)
"""How codes begin that a gateway or a check before execution gives."""

_REFUSAL_CODES = frozenset({"System.LimitControl", "Unknown.ResourceOwnerId"})
"""Documented codes of CAMS in none of the families; the second one has a word of the uncertain ones."""

_UNCERTAIN_WORDS = re.compile(
    r"time[-._]?d?[-._]?out|deadline|unavailable|internal|gateway|upstream|backend|busy|unknown|systemerror|servererror"
    r"|exception|pending|processing|partial|nonceused",
    re.IGNORECASE,
)
"""No answer in time, or a failure in mid-work. `SignatureNonceUsed` is the answer to a request that a proxy repeated;
the first one may have been executed."""

_REPETITION_WORDS = re.compile(
    r"duplicat|already|repeat|replay|idempot|conflict|applied|executed|completed|finished"
    r"|(?<!not)(?<!not[-._])(?<!non)(?<!non[-._])exist",
    re.IGNORECASE,
)
"""In the code of a refusal: a first copy of the request may have caused it, one that a proxy sent and CAMS executed.
Without `NotExist` and `NonExistent`, which no first copy brings about."""

_Status = Literal["success", "refusal", "unavailable", "other"]
_Code = Literal["none", "ok", "refusal", "throttling", "uncertain", "unknown"]

_VERDICTS: dict[tuple[_Status, bool | None], dict[_Code, Verdict]] = {
    # Documented successes carry odd codes ("Example"), so an unknown code does not contradict `Success: true`.
    ("success", True): dict.fromkeys(("none", "ok", "unknown"), Verdict.SUCCEEDED),
    ("success", None): {"ok": Verdict.SUCCEEDED, "refusal": Verdict.REFUSED, "throttling": Verdict.THROTTLED},
    ("success", False): {"refusal": Verdict.REFUSED, "throttling": Verdict.THROTTLED},
    ("refusal", None): {"refusal": Verdict.REFUSED, "throttling": Verdict.THROTTLED},
    ("refusal", False): {"refusal": Verdict.REFUSED, "throttling": Verdict.THROTTLED},
    ("unavailable", None): {"throttling": Verdict.THROTTLED},
    ("unavailable", False): {"throttling": Verdict.THROTTLED},
}
"""Every combination that is not here is uncertain."""


def verdict(status: int, success: bool | None, code: str | None) -> Verdict:
    """The verdict on an answer with this HTTP status, `Success` and `Code` (None where absent)."""
    return _VERDICTS.get((_status(status), success), {}).get(_kind(code), Verdict.UNCERTAIN)


def is_uncertain(code: str | None) -> bool:
    """Whether a code says that the service failed in mid-work or not in time. A read can be repeated after it."""
    if not code or code in _REFUSAL_CODES:
        return False
    return code in UNDECIDED_CODES or _UNCERTAIN_WORDS.search(code) is not None


def _status(status: int) -> _Status:
    if status in SUCCESS_STATUSES:
        return "success"
    if status in REFUSAL_STATUSES:
        return "refusal"
    return "unavailable" if status == 503 else "other"


def _kind(code: str | None) -> _Code:
    if not code:
        return "none"
    if code == "OK":
        return "ok"
    if code in _REFUSAL_CODES:
        return "refusal"
    if is_uncertain(code):
        return "uncertain"
    family = _family(code)
    return "uncertain" if family != "unknown" and _REPETITION_WORDS.search(code) else family


def _family(code: str) -> _Code:
    if code.startswith(THROTTLING):
        return "throttling"
    return "refusal" if code.startswith(_REFUSAL_FAMILIES) else "unknown"
