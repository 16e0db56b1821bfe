"""Everything that can go wrong, as one tree, and what each service code means.

    CamsMcpError
    ├── InvalidArguments          the tool's arguments are wrong; nothing was sent
    ├── ConfigurationError        an option or environment variable is wrong
    ├── MissingCredentials        no access key could be found; nothing was sent
    ├── NotConfirmed              the guard held a write back; nothing was sent
    ├── StoreError                the record of approvals and writes cannot be kept; nothing was sent
    ├── FileRefused               a file of people cannot be used; nothing was sent
    ├── NotNow                    a limit is reached, or the server is stopping; nothing was sent
    └── CamsError                 the way to CAMS or CAMS itself failed
        ├── ServiceError          CAMS (or its gateway) answered with an error code
        │   ├── PermissionDenied  the access key may not do this
        │   ├── Throttled         too many requests
        │   └── ClockSkew         this machine's clock is off
        ├── ProxyAnswer           something in between answered instead of CAMS (HTML, 413, 414)
        ├── MalformedAnswer       the answer is not what CAMS documents, or too large
        ├── ConnectionFailed      no connection, or it broke
        └── AmbiguousWrite        a write went out and its outcome is unknown

`str(error)` is the whole text for an assistant and a person: what went wrong, where, and what to do next. It never
carries argument values, secrets or people's addresses.
"""

from __future__ import annotations

import datetime as dt
import math


class CamsMcpError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: one or two sentences: what is wrong and where.
        hint: what to do next, as a sentence, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class InvalidArguments(CamsMcpError):
    """The arguments of a tool call are wrong. `problems` has one line per wrong field, without any value."""

    def __init__(self, tool: str, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            f"Nothing was sent: {len(problems)} problem{'s' if len(problems) > 1 else ''} in the arguments of {tool}:"
            + "".join(f"\n- {problem}" for problem in problems)
        )


class ConfigurationError(CamsMcpError):
    """An option or environment variable of cams-mcp has a value that cannot work."""


class MissingCredentials(CamsMcpError):
    """No access key: neither explicit settings nor the official credential chain gave one."""


class NotConfirmed(CamsMcpError):
    """The guard held a write back. Nothing was sent."""


class StoreError(CamsMcpError):
    """The record of approvals and writes cannot be read or written. No write goes out without it."""


class FileRefused(CamsMcpError):
    """A file of people cannot be used: outside of the allowed folders, not a plain file, or not readable as a table."""

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"Nothing was sent: {problem}.", hint=hint)


class NotNow(CamsMcpError):
    """The server takes no such call at the moment: the caller is over a limit, or it is stopping. Nothing was sent.

    `retry_after` is when it may, in seconds, or None.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, hint: str | None = None) -> None:
        self.retry_after = retry_after
        if retry_after is not None:
            hint = f"Call again in {max(1, math.ceil(retry_after))} s; the arguments may stay as they are."
        super().__init__(message, hint=hint)


class CamsError(CamsMcpError):
    """A call to CAMS failed.

    Attributes:
        action: the operation, e.g. "ListInstance".
        code: the service's error code, if it gave one.
        request_id: CAMS's request id, if it gave one.
        http_status: the HTTP status of the answer, if there was an answer.
        attempts: how often the request was tried.
        not_executed: whether it is certain that the request was not executed, so that a write can be sent again.
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
    """CAMS or its gateway answered with an error code."""


class PermissionDenied(ServiceError):
    """The access key is known but may not run this operation on this resource."""


class Throttled(ServiceError):
    """Too many requests. `retry_after` is the wait the service asked for, in seconds, or None."""

    retry_after: float | None = None


class ClockSkew(ServiceError):
    """The signature's time is outside the 15 minutes the gateway accepts."""


class ProxyAnswer(CamsError):
    """Something between here and CAMS answered in its place: an HTML page, 413, 414, a redirect."""


class MalformedAnswer(CamsError):
    """The answer is not the JSON that the operation's document describes, or is larger than the limit."""


class ConnectionFailed(CamsError):
    """No connection could be made, or it broke or timed out."""

    @property
    def sent(self) -> bool:
        """Whether the request may have gone out."""
        return not self.not_executed


class AmbiguousWrite(CamsError):
    """A write was sent and its outcome is unknown: it may have been applied. It is never sent again on its own."""


THROTTLING = "Throttling"
"""Codes that begin so mean "slow down": Throttling, Throttling.User, Throttling.Api. Commonly with HTTP 400."""

UNDECIDED_CODES = frozenset({"InternalError", "ServiceUnavailable", "SystemError"})
"""The service failed in mid-work: a read may be repeated, a write may or may not have been applied."""

PERMISSION_CODES = frozenset({"Forbidden.RAM", "Forbidden", "NoPermission", "Forbidden.NoPermission"})

CLOCK_CODES = frozenset({"InvalidTimeStamp.Expired", "InvalidTimeStamp.Format", "IllegalTimestamp"})

LATER = "The service failed for a moment. Call again in a minute; tell Alibaba Cloud the request id if it persists."

HINTS: dict[str, str] = {
    **dict.fromkeys(sorted(UNDECIDED_CODES), LATER),
    "Authentication.NoAuth": (
        "The account has no access to this cust_space_id, page or ad account. Take the ids from list_instance, and "
        "check that the access key belongs to the account that owns them."
    ),
    "InvalidAccessKeyId.NotFound": "The access key id is unknown or disabled. Check it in the RAM console.",
    "InvalidAccessKeyId.Inactive": "The access key is disabled. Enable it in the RAM console or use another one.",
    "SignatureDoesNotMatch": (
        "The access key secret does not belong to the access key id, or a proxy rewrites the request. Check the secret."
    ),
    "SignatureNonceUsed": "A proxy seems to repeat requests. Call again; if it persists, look at the proxy.",
    "InvalidApi.NotFound": "The endpoint does not know this operation. Check the endpoint and region settings.",
    "InvalidParameter.PageInvalid": "Use a page size from 1 to 100 and an index from 1.",
    "InvalidParameter.ChannelTypeNotSupport": "Use a channel type from the tool's description.",
    "InvalidParameter.PhoneNumberError": "Give the number as digits with its country code, as CAMS lists it.",
    "InvalidSecurityToken.Expired": "The temporary credentials have expired. Get new ones.",
}
"""What to do about a service code, in words for an assistant. Source: the error codes named in the documents."""


def clock_hint(server_date: dt.datetime | None, local_date: dt.datetime) -> str:
    """Say by how much this machine's clock is off, given the `Date` of the answer and the time of signing (UTC)."""
    if server_date is None:
        return "Set this machine's clock: the service accepts 15 minutes of difference."
    off = round((local_date - server_date).total_seconds())
    minutes, seconds = divmod(abs(off), 60)
    amount = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    direction = "ahead of" if off > 0 else "behind"
    return (
        f"This machine's clock is {amount} {direction} the service's, which accepts 15 minutes of difference. "
        "Set the clock (for example, switch on network time), then call again."
    )
