"""The exception hierarchy, and advice for each service error code.

    CamsMcpError
    ├── InvalidArguments          invalid tool arguments; nothing was sent
    ├── ConfigurationError        an option or environment variable is invalid
    ├── MissingCredentials        no access key found; nothing was sent
    ├── NotConfirmed              the guard rejected a write; nothing was sent
    ├── StoreError                the approval and write store is unusable; nothing was sent
    ├── FileRefused               the server rejected a file of people; nothing was sent
    ├── Recorded                  an identical call was approved before and CAMS refused it; nothing was sent
    ├── NotNow                    the caller hit a limit, or the server is shutting down; nothing was sent
    └── CamsError                 the request to CAMS failed
        ├── ServiceError          CAMS (or its gateway) returned an error code
        │   ├── PermissionDenied  the access key lacks permission
        │   ├── Throttled         too many requests
        │   └── ClockSkew         this machine's clock is wrong
        ├── ProxyAnswer           a proxy answered instead of CAMS (HTML, 413, 414)
        ├── MalformedAnswer       the response is not what CAMS documents, or is too large
        ├── ConnectionFailed      the connection failed or broke
        └── AmbiguousWrite        a write was sent and its outcome is unknown

`str(error)` is the full text shown to assistants and people: what went wrong, where, and what to do next. It never
contains argument values, secrets or people's addresses.
"""

from __future__ import annotations

import datetime as dt
import math


class CamsMcpError(Exception):
    """Base class for every error this package raises deliberately.

    Args:
        message: what is wrong and where, in one or two sentences.
        hint: what to do next, as a sentence, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class InvalidArguments(CamsMcpError):
    """The arguments of a tool call are invalid. `problems` has one line per invalid field and contains no values."""

    def __init__(self, tool: str, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            f"Nothing was sent: {len(problems)} problem{'s' if len(problems) > 1 else ''} in the arguments of {tool}:"
            + "".join(f"\n- {problem}" for problem in problems)
        )


class ConfigurationError(CamsMcpError):
    """A cams-mcp option or environment variable has an invalid value."""


class MissingCredentials(CamsMcpError):
    """No access key found, neither in the settings nor in Alibaba Cloud's default credential chain."""


class NotConfirmed(CamsMcpError):
    """The guard rejected a write. Nothing was sent."""


class Recorded(CamsMcpError):
    """An identical call was approved a short while ago, and its write failed. Nothing was sent then or now."""


class StoreError(CamsMcpError):
    """The store of approvals and writes cannot be read or written. Without it, the server sends no writes."""


class FileRefused(CamsMcpError):
    """A file of people is unusable: outside the allowed folders, not a regular file, or not readable as a table."""

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"Nothing was sent: {problem}.", hint=hint)


class NotNow(CamsMcpError):
    """The server cannot take this call now: the caller hit a limit, or the server is shutting down. Nothing was sent.

    `retry_after` is the number of seconds to wait before retrying, or None.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, hint: str | None = None) -> None:
        self.retry_after = retry_after
        if retry_after is not None:
            hint = f"Try again in {max(1, math.ceil(retry_after))} s with the same arguments."
        super().__init__(message, hint=hint)


class CamsError(CamsMcpError):
    """A call to CAMS failed.

    Attributes:
        action: the operation, e.g. "ListInstance".
        code: the service's error code, if any.
        request_id: CAMS's request id, if any.
        http_status: the HTTP status of the response, if there was one.
        attempts: how many times the request was attempted.
        not_executed: whether the request was certainly not executed, so that even a write can be retried.
    """

    def __init__(
        self,
        message: str,
        *,
        action: str,
        code: str | None = None,
        request_id: str | None = None,
        http_status: int | None = None,
        attempts: int = 1,
        not_executed: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.action = action
        self.code = code
        self.request_id = request_id
        self.http_status = http_status
        self.attempts = attempts
        self.not_executed = not_executed

    def __str__(self) -> str:
        facts = [f"HTTP {self.http_status}"] if self.http_status else []
        if self.request_id:
            facts.append(f"request id {self.request_id}")
        if self.attempts > 1:
            facts.append(f"tried {self.attempts} times")
        text = f"{self.action}: {self.message}"
        if facts:
            text += f" ({', '.join(facts)})"
        return f"{text} {self.hint}" if self.hint else text


class ServiceError(CamsError):
    """CAMS or its gateway returned an error code."""


class PermissionDenied(ServiceError):
    """The access key is valid but lacks permission for this operation on this resource."""


class Throttled(ServiceError):
    """Too many requests. `retry_after` is the wait the service requested, in seconds, or None."""

    retry_after: float | None = None


class ClockSkew(ServiceError):
    """The signature's timestamp is outside the gateway's 15-minute window."""


class ProxyAnswer(CamsError):
    """A proxy or gateway answered instead of CAMS: an HTML page, 413, 414, or a redirect."""


class MalformedAnswer(CamsError):
    """The response is not the JSON that CAMS documents for the operation, or exceeds the size limit."""


class ConnectionFailed(CamsError):
    """The connection could not be established, broke, or timed out."""

    @property
    def sent(self) -> bool:
        """Whether the request may have been sent."""
        return not self.not_executed


class AmbiguousWrite(CamsError):
    """A write was sent and its outcome is unknown: it may have been applied. It is never retried automatically."""


THROTTLING = "Throttling"
"""Prefix of every throttling code: Throttling, Throttling.User, Throttling.Api. They usually come with HTTP 400."""

UNDECIDED_CODES = frozenset({"InternalError", "ServiceUnavailable", "SystemError"})
"""The service failed while processing: a read can be retried, a write may or may not have been applied."""

PERMISSION_CODES = frozenset({"Forbidden.RAM", "Forbidden", "NoPermission", "Forbidden.NoPermission"})

CLOCK_CODES = frozenset({"InvalidTimeStamp.Expired", "InvalidTimeStamp.Format", "IllegalTimestamp"})

LATER = "Temporary service failure. Try again in a minute; if it persists, report the request id to Alibaba Cloud."

HINTS: dict[str, str] = {
    **dict.fromkeys(sorted(UNDECIDED_CODES), LATER),
    "Authentication.NoAuth": (
        "The account has no access to this cust_space_id, page or ad account. Get cust_space_id from list_instance, "
        "and check that the access key belongs to the account that owns them."
    ),
    "InvalidAccessKeyId.NotFound": "The access key id does not exist or is disabled. Check it in the RAM console.",
    "InvalidAccessKeyId.Inactive": "The access key is disabled. Enable it in the RAM console or use another one.",
    "SignatureDoesNotMatch": (
        "The access key secret does not match the access key id, or a proxy rewrites the request. Check the secret."
    ),
    "SignatureNonceUsed": "A proxy may be replaying requests. Try again; if it persists, check the proxy.",
    "InvalidApi.NotFound": "The endpoint does not support this operation. Check the endpoint and region settings.",
    "InvalidParameter.PageInvalid": "Use a page size from 1 to 100 and a page index of 1 or more.",
    "InvalidParameter.ChannelTypeNotSupport": "Use a channel type listed in the tool's description.",
    "InvalidParameter.PhoneNumberError": "Enter the number as digits with its country code, exactly as CAMS lists it.",
    "InvalidSecurityToken.Expired": "The temporary credentials have expired. Get new ones.",
}
"""What to do about each service error code, written for an assistant. Source: the CAMS API documentation."""


def clock_hint(server_date: dt.datetime | None, local_date: dt.datetime) -> str:
    """Describe this machine's clock error, given the response's `Date` and the signing time (UTC)."""
    if server_date is None:
        return "Set this machine's clock: the service accepts a difference of up to 15 minutes."
    off = round((local_date - server_date).total_seconds())
    minutes, seconds = divmod(abs(off), 60)
    amount = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    direction = "ahead of" if off > 0 else "behind"
    return (
        f"This machine's clock is {amount} {direction} the service's, which accepts a difference of up to 15 minutes. "
        "Set the clock (for example, enable network time), then try again."
    )
