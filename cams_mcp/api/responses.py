"""An HTTP answer as a response model, or as the error that says what went wrong."""

from __future__ import annotations

import datetime as dt
import email.utils
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from cams_mcp.api.body import Document, read_document
from cams_mcp.api.outcome import REDIRECTS_BEFORE_EXECUTION, REFUSAL_STATUSES, Verdict, is_uncertain, verdict
from cams_mcp.errors import (
    CLOCK_CODES,
    HINTS,
    LATER,
    PERMISSION_CODES,
    THROTTLING,
    ClockSkew,
    MalformedAnswer,
    PermissionDenied,
    ProxyAnswer,
    ServiceError,
    Throttled,
    clock_hint,
)
from cams_mcp.models import AnyOperation, Operation, RequestT, ResponseT
from cams_mcp.redaction import identifier


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers (lowercase names), the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """CAMS's request id by the headers."""
        return identifier(self.headers.get("x-acs-request-id"))


def read_answer(operation: Operation[RequestT, ResponseT], answer: Answer, *, signed_at: dt.datetime) -> ResponseT:
    """The response, if the operation succeeded. What an answer says is decided in `cams_mcp.api.outcome`.

    Raises:
        ServiceError, ProxyAnswer, MalformedAnswer: as `cams_mcp.errors` says.
    """
    document = read_document(answer.body, answer.request_id)
    if document is None:
        raise _unrecognised(operation, answer)
    if document.odd:
        raise _not_as_documented(operation, answer, document, document.odd)
    if document.success is None and document.code is None:
        raise _unrecognised(operation, answer)
    said = verdict(answer.status, document.success, document.code)
    if said is not Verdict.SUCCEEDED:
        raise _service_error(operation, answer, document, said, signed_at)
    try:
        return operation.response.model_validate(document.elements)
    except ValidationError as error:
        places = {".".join(map(str, item["loc"])) for item in error.errors()}
        raise _not_as_documented(operation, answer, document, places) from None


def _not_as_documented(
    operation: AnyOperation, answer: Answer, document: Document, places: Iterable[str]
) -> MalformedAnswer:
    return MalformedAnswer(
        f"the answer's elements are not as documented: {', '.join(sorted(places)[:5])}.",
        action=operation.action,
        request_id=document.request_id,
        http_status=answer.status,
        hint="CAMS may have changed; look for a newer cams-mcp.",
    )


def _unrecognised(operation: AnyOperation, answer: Answer) -> ProxyAnswer | MalformedAnswer:
    """Not CAMS's JSON: name the proxy, if it is one's."""
    status = answer.status
    start, kind = answer.body.lstrip()[:1], answer.headers.get("content-type", "")
    like_json = start in (b"{", b"[", b'"')
    page = start in (b"", b"<") or (kind.startswith("text/plain") and not like_json)
    html = start == b"<" or "html" in kind
    action, request_id = operation.action, answer.request_id
    if not like_json and status == 413:
        message = "a proxy in front of CAMS refused the request as too large (413)."
        hint = "Send fewer users in a call, or raise the proxy's body limit (nginx: client_max_body_size)."
    elif not like_json and status == 414:
        message = "a proxy in front of CAMS refused the request's address as too long (414)."
        hint = "Use --users-in body (the default), or send fewer users in a call."
    elif html or 300 <= status < 400:
        what = "a redirect" if status < 400 and not html else "an HTML page"
        message = f"something between here and CAMS answered with {what} instead of CAMS's JSON."
        hint = "Check the proxy settings (HTTPS_PROXY, NO_PROXY), --endpoint, and any login page of the network."
    else:
        return MalformedAnswer(
            "the answer is not JSON with a Code, as CAMS documents.",
            action=action,
            request_id=request_id,
            http_status=status,
            hint="Check --endpoint; call again later if it is right.",
        )
    # A page in place of a success may stand for one; a proxy that refuses or redirects did not pass the request on.
    # Anything but a page may be what is left of CAMS's own answer, which nobody can read any more.
    not_executed = page and status in REFUSAL_STATUSES | REDIRECTS_BEFORE_EXECUTION
    return ProxyAnswer(
        message, action=action, request_id=request_id, http_status=status, not_executed=not_executed, hint=hint
    )


def _service_error(
    operation: AnyOperation, answer: Answer, document: Document, said: Verdict, signed_at: dt.datetime
) -> ServiceError:
    kind, hint = _kind_and_hint(operation, document.code or "", answer, signed_at)
    error = kind(
        _words(document),
        action=operation.action,
        code=document.code or None,
        request_id=document.request_id,
        http_status=answer.status,
        not_executed=said in (Verdict.REFUSED, Verdict.THROTTLED),
        hint=hint,
    )
    if isinstance(error, Throttled):
        error.retry_after = _retry_after(answer)
        error.hint = f"Wait {error.retry_after:g} s, then call again." if error.retry_after else hint
    return error


def _words(document: Document) -> str:
    """What CAMS said, as a sentence. Its HTTP status is told with every error."""
    code, message = document.code or "no code", document.message
    if document.success or code == "OK":
        success = "" if document.success is None else f"Success {str(document.success).lower()}, "
        return f"CAMS's answer contradicts itself ({success}Code {document.code or 'absent'})."
    return f"CAMS refused with {code}" + (f' ("{message}").' if message and message != code else ".")


def _kind_and_hint(
    operation: AnyOperation, code: str, answer: Answer, signed_at: dt.datetime
) -> tuple[type[ServiceError], str | None]:
    if code.startswith(THROTTLING):
        return Throttled, "Wait a minute, then call again with fewer calls at a time."
    if code in PERMISSION_CODES:
        return PermissionDenied, (
            f"The RAM user or role of the access key needs the action {operation.ram_action}. "
            "Ask the account's administrator to allow it in a RAM policy."
        )
    if code in CLOCK_CODES:
        return ClockSkew, clock_hint(server_date(answer.headers.get("date")), signed_at)
    if code.startswith("Missing"):
        return ServiceError, "A required argument did not arrive; check the arguments and any gateway in between."
    contradiction_or_failure = code == "OK" or is_uncertain(code)
    return ServiceError, HINTS.get(code, LATER if contradiction_or_failure else None)


def server_date(header: str | None) -> dt.datetime | None:
    """The time in a `Date` header, UTC; None if it is absent or cannot be read."""
    try:
        date = email.utils.parsedate_to_datetime(header or "")
        # A zone of -0000 is UTC as well, but gives a time without a zone.
        return date.replace(tzinfo=date.tzinfo or dt.UTC).astimezone(dt.UTC)
    except (ValueError, ArithmeticError, LookupError, TypeError):
        # Dates out of range raise OverflowError; some malformed ones get through the parser's own checks.
        return None


def _retry_after(answer: Answer) -> float | None:
    """`x-acs-retry-after` is in milliseconds; returned in seconds."""
    try:
        wait = float(answer.headers["x-acs-retry-after"]) / 1000
    except (KeyError, ValueError):
        return None
    return wait if 0 < wait < 86_400 else None  # a day; more is no wait but an error
