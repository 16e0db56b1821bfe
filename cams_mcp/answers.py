"""An HTTP answer as a response model, or as the error that says what went wrong."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from cams_mcp.errors import (
    CLOCK_CODES,
    HINTS,
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
from cams_mcp.models import AnyOperation, Operation, RequestT, Response, ResponseT
from cams_mcp.redaction import scrub


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers (lowercase names), the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def read_answer(operation: Operation[RequestT, ResponseT], answer: Answer, *, signed_at: dt.datetime) -> ResponseT:
    """The response, if the operation succeeded.

    `Success` decides, or where it is absent `Code == "OK"`; business errors come with HTTP 200, throttling commonly
    with HTTP 400, so codes decide, not statuses.

    Raises:
        ServiceError, ProxyAnswer, MalformedAnswer: as `cams_mcp.errors` says.
    """
    document = _parse(operation, answer)
    try:
        response = operation.response.model_validate(document)
    except ValidationError as error:
        # A refusal is a refusal, however odd the rest of it; only a success must be read whole.
        envelope = _envelope(document)
        if envelope.succeeded:
            places = ", ".join(sorted({".".join(map(str, item["loc"])) for item in error.errors()})[:5])
            raise MalformedAnswer(
                f"the answer's elements are not as documented: {places}.",
                action=operation.action,
                request_id=envelope.request_id or answer.headers.get("x-acs-request-id"),
                http_status=answer.status,
                hint="CAMS may have changed; look for a newer cams-mcp.",
            ) from None
        raise _service_error(operation, answer, envelope, signed_at) from None
    if answer.status < 400 and response.succeeded:  # noqa: PLR2004
        return response
    if response.code is None and response.success is None:
        raise _unrecognised(operation, answer)
    raise _service_error(operation, answer, response, signed_at)


def _parse(operation: AnyOperation, answer: Answer) -> dict[str, Any]:
    try:
        document: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _unrecognised(operation, answer)
    return cast("dict[str, Any]", document)


def _envelope(document: Mapping[str, Any]) -> Response:
    plain = {name: value for name, value in document.items() if isinstance(value, str | bool)}
    try:
        return Response.model_validate(plain)
    except ValidationError:
        return Response(code=str(document.get("Code")), request_id=str(document.get("RequestId")))


def _unrecognised(operation: AnyOperation, answer: Answer) -> ProxyAnswer | MalformedAnswer:
    """Not CAMS's JSON: name the proxy, if it is one's."""
    status = answer.status
    html = answer.body.lstrip()[:1] == b"<" or "html" in answer.headers.get("content-type", "")
    action, request_id = operation.action, answer.headers.get("x-acs-request-id")
    if status == 413:  # noqa: PLR2004
        message = "a proxy in front of CAMS refused the request as too large (413)."
        hint = "Send fewer users in a call, or raise the proxy's body limit (nginx: client_max_body_size)."
    elif status == 414:  # noqa: PLR2004
        message = "a proxy in front of CAMS refused the request's address as too long (414)."
        hint = "Use --users-in body (the default), or send fewer users in a call."
    elif html or 300 <= status < 400:  # noqa: PLR2004
        what = "a redirect" if status < 400 and not html else "an HTML page"  # noqa: PLR2004
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
    return ProxyAnswer(message, action=action, request_id=request_id, http_status=status, hint=hint)


def _service_error(operation: AnyOperation, answer: Answer, response: Response, signed_at: dt.datetime) -> ServiceError:
    code = scrub(response.code or "") or "no code"
    said = scrub(response.message or "")
    kind, hint = _kind_and_hint(operation, code, answer, signed_at)
    error = kind(
        f"CAMS refused with {code}" + (f' ("{said}").' if said and said != code else "."),
        action=operation.action,
        code=response.code,
        request_id=response.request_id or answer.headers.get("x-acs-request-id"),
        http_status=answer.status,
        hint=hint,
    )
    if isinstance(error, Throttled):
        error.retry_after = _retry_after(answer)
        error.hint = f"Wait {error.retry_after:g} s, then call again." if error.retry_after else hint
    return error


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
        return ClockSkew, clock_hint(_date(answer), signed_at)
    if code.startswith("Missing"):
        return ServiceError, "A required argument did not arrive; check the arguments and any gateway in between."
    return ServiceError, HINTS.get(code)


def _date(answer: Answer) -> dt.datetime | None:
    try:
        return email.utils.parsedate_to_datetime(answer.headers["date"]).astimezone(dt.UTC)
    except (KeyError, ValueError):
        return None


def _retry_after(answer: Answer) -> float | None:
    """`x-acs-retry-after` is in milliseconds; returned in seconds."""
    try:
        wait = float(answer.headers["x-acs-retry-after"]) / 1000
    except (KeyError, ValueError):
        return None
    return wait if 0 < wait < 86_400 else None  # noqa: PLR2004 - a day; more is no wait but an error
