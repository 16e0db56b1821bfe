"""Turn an HTTP response into a response model, or raise the error that describes the failure."""

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
from cams_mcp.operation import AnyOperation, Operation, RequestT, ResponseT
from cams_mcp.redaction import identifier


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response: status, headers (lowercase names), and the complete body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """CAMS's request id, from the headers."""
        return identifier(self.headers.get("x-acs-request-id"))


def read_answer(operation: Operation[RequestT, ResponseT], answer: Answer, *, signed_at: dt.datetime) -> ResponseT:
    """Return the response model if the operation succeeded. `cams_mcp.api.outcome` decides whether it did.

    Raises:
        ServiceError, ProxyAnswer, MalformedAnswer: see `cams_mcp.errors`.
    """
    document = read_document(answer.body, answer.request_id)
    if document is None:
        raise _unrecognised(operation, answer)
    if document.invalid:
        raise _invalid_elements(operation, answer, document, document.invalid)
    if document.success is None and document.code is None:
        raise _unrecognised(operation, answer)
    result = verdict(answer.status, document.success, document.code)
    if result is not Verdict.SUCCEEDED:
        raise _service_error(operation, answer, document, result, signed_at)
    try:
        return operation.response.model_validate(document.elements)
    except ValidationError as error:
        names = {".".join(map(str, item["loc"])) for item in error.errors()}
        raise _invalid_elements(operation, answer, document, names) from None


def _invalid_elements(
    operation: AnyOperation, answer: Answer, document: Document, names: Iterable[str]
) -> MalformedAnswer:
    return MalformedAnswer(
        f"the response does not match the CAMS documentation. Invalid elements: {', '.join(sorted(names)[:5])}.",
        action=operation.action,
        request_id=document.request_id,
        http_status=answer.status,
        hint="CAMS may have changed. Check for a newer version of cams-mcp.",
    )


def _unrecognised(operation: AnyOperation, answer: Answer) -> ProxyAnswer | MalformedAnswer:
    """The error for a body that is not CAMS's JSON. Blames a proxy if the response looks like one's."""
    status = answer.status
    start, kind = answer.body.lstrip()[:1], answer.headers.get("content-type", "")
    like_json = start in (b"{", b"[", b'"')
    page = start in (b"", b"<") or (kind.startswith("text/plain") and not like_json)
    html = start == b"<" or "html" in kind
    action, request_id = operation.action, answer.request_id
    if not like_json and status == 413:
        message = "a proxy in front of CAMS rejected the request as too large (413)."
        hint = "Send less per call, or raise the proxy's body limit (nginx: client_max_body_size)."
    elif not like_json and status == 414:
        message = "a proxy in front of CAMS rejected the request because its URL is too long (414)."
        hint = "Use --users-in body (the default), or send less per call."
    elif html or 300 <= status < 400:
        what = "a redirect" if status < 400 and not html else "an HTML page"
        message = f"a proxy or gateway in front of CAMS returned {what} instead of CAMS's JSON."
        hint = "Check the proxy settings (HTTPS_PROXY, NO_PROXY), --endpoint, and whether the network has a login page."
    else:
        return MalformedAnswer(
            "the response is not the JSON with a Code that CAMS documents.",
            action=action,
            request_id=request_id,
            http_status=status,
            hint="Check --endpoint. If it is correct, try again later.",
        )
    # A proxy that rejects or redirects a request does not forward it. With any other status, CAMS may have executed the
    # request. Anything other than a page may be the remains of CAMS's own response.
    not_executed = page and status in REFUSAL_STATUSES | REDIRECTS_BEFORE_EXECUTION
    return ProxyAnswer(
        message, action=action, request_id=request_id, http_status=status, not_executed=not_executed, hint=hint
    )


def _service_error(
    operation: AnyOperation, answer: Answer, document: Document, result: Verdict, signed_at: dt.datetime
) -> ServiceError:
    kind, hint = _kind_and_hint(operation, document.code or "", answer, signed_at)
    error = kind(
        _describe(document),
        action=operation.action,
        code=document.code or None,
        request_id=document.request_id,
        http_status=answer.status,
        not_executed=result in (Verdict.REFUSED, Verdict.THROTTLED),
        hint=hint,
    )
    if isinstance(error, Throttled):
        error.retry_after = _retry_after(answer)
        error.hint = f"Try again in {error.retry_after:g} s." if error.retry_after else hint
    return error


def _describe(document: Document) -> str:
    """The failure as a sentence, without the HTTP status, which every error includes."""
    code, message = document.code or "no code", document.message
    if document.success or code == "OK":
        success = "" if document.success is None else f"Success {str(document.success).lower()}, "
        return f"the response contradicts itself ({success}Code {document.code or 'absent'})."
    return f"CAMS returned {code}" + (f' ("{message}").' if message and message != code else ".")


def _kind_and_hint(
    operation: AnyOperation, code: str, answer: Answer, signed_at: dt.datetime
) -> tuple[type[ServiceError], str | None]:
    if code.startswith(THROTTLING):
        return Throttled, "Wait a minute, then try again with fewer concurrent calls."
    if code in PERMISSION_CODES:
        return PermissionDenied, (
            f"The access key's RAM user or role is not allowed to run {operation.ram_action}. "
            "Ask the account's administrator to allow this action in a RAM policy."
        )
    if code in CLOCK_CODES:
        return ClockSkew, clock_hint(server_date(answer.headers.get("date")), signed_at)
    if code.startswith("Missing"):
        return ServiceError, "CAMS did not receive a required argument. Check the arguments and any gateway in between."
    contradiction_or_failure = code == "OK" or is_uncertain(code)
    return ServiceError, HINTS.get(code, LATER if contradiction_or_failure else None)


def server_date(header: str | None) -> dt.datetime | None:
    """Parse a `Date` header as UTC. None if it is absent or invalid."""
    try:
        date = email.utils.parsedate_to_datetime(header or "")
        # The zone -0000 also means UTC, but the parser returns a naive time for it.
        return date.replace(tzinfo=date.tzinfo or dt.UTC).astimezone(dt.UTC)
    except (ValueError, ArithmeticError, LookupError, TypeError):
        # Out-of-range dates raise OverflowError. Some malformed dates pass the parser's own checks and fail later.
        return None


def _retry_after(answer: Answer) -> float | None:
    """`x-acs-retry-after`, converted from milliseconds to seconds."""
    try:
        wait = float(answer.headers["x-acs-retry-after"]) / 1000
    except (KeyError, ValueError):
        return None
    return wait if 0 < wait < 86_400 else None
