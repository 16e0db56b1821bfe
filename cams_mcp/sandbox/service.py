"""The sandbox: CAMS operations on a made-up account, with the limits, response shapes and quirks of CAMS."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cams_mcp.api.credentials import AccessKey
from cams_mcp.sandbox.answers import find_answer
from cams_mcp.sandbox.faults import Faults
from cams_mcp.sandbox.gateway import Gateway, Refused, WireRequest
from cams_mcp.sandbox.state import Contact, State

SANDBOX_KEY = AccessKey("sandbox-id", "sandbox-secret")
"""Works only with the sandbox."""

API_VERSION = "2020-06-06"


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An HTTP response. `delay` is how long to wait before sending it, in seconds; `broken` breaks the connection."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay: float = 0.0
    broken: bool = False


@dataclass(frozen=True, slots=True)
class ExecutedCall:
    """An executed call as it arrived, including `Users`, for tests."""

    action: str
    request_id: str
    parameters: Mapping[str, str]


class Sandbox:
    """A CAMS endpoint without a socket: `handle` takes a request and returns a reply.

    Args:
        faults: which faults to inject, and how often.
        key: the access key that must sign requests.
        now: returns the current time, UTC.
        keep_calls: how many of the latest executed calls `calls` keeps.
    """

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        key: AccessKey = SANDBOX_KEY,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        keep_calls: int = 1000,
    ) -> None:
        self.calls: deque[ExecutedCall] = deque(maxlen=keep_calls)
        self._state = State()
        self._faults = faults or Faults()
        self._now = now
        self._gateway = Gateway(key, now)

    def people(self, custom_audience_id: str) -> set[Contact]:
        """The (e-mail, phone) pairs added to an audience."""
        return set(self._state.people.get(custom_audience_id, ()))

    def handle(self, request: WireRequest) -> HttpReply:
        """Answer one request."""
        request_id = str(uuid.uuid4()).upper()
        latency = self._faults.strikes("latency")
        clock = self._faults.strikes("clock")
        skew = dt.timedelta(seconds=clock.value if clock else 0)
        headers = {
            "content-type": "application/json;charset=utf-8",
            "date": email.utils.format_datetime(self._now() + skew, usegmt=True),
            "x-acs-request-id": request_id,
        }
        delay = latency.value if latency else 0.0
        if self._faults.strikes("html413"):
            page = b"<html><head><title>413 Request Entity Too Large</title></head><body></body></html>"
            return HttpReply(413, {"content-type": "text/html", "date": headers["date"]}, page, delay)
        try:
            self._gateway.check(request, skew=skew)
            self._refuse_by_fault(headers)
            document = self._run(request, request_id)
            status = 200
        except Refused as refused:
            status = refused.status
            document = {"Code": refused.code, "Message": refused.message, **refused.elements}
            # Business errors come with HTTP 200 and `Success: false`; gateway errors name the host.
            document |= {"Success": False} if status == 200 else {"HostId": request.headers.get("host", "")}
        body = json.dumps({"RequestId": request_id, **document}, ensure_ascii=False).encode()
        if self._faults.strikes("malformed"):
            body = body[: len(body) // 2]
        return HttpReply(status, headers, body, delay, broken=bool(self._faults.strikes("reset")))

    def _refuse_by_fault(self, headers: dict[str, str]) -> None:
        if throttle := self._faults.strikes("throttle"):
            if throttle.value:
                headers["x-acs-retry-after"] = f"{throttle.value:g}"
            raise Refused(400, "Throttling.User", "Request was denied due to user flow control.")
        if error := self._faults.strikes("error"):
            raise Refused(int(error.value), "ServiceUnavailable", "The request has failed due to a temporary failure.")
        if self._faults.strikes("denied"):
            detail = {"AuthAction": "cams:*", "NoPermissionType": "ImplicitDeny", "PolicyType": "AccountLevelPolicy"}
            raise Refused(403, "Forbidden.RAM", "User not authorized to operate.", AccessDeniedDetail=detail)

    def _run(self, request: WireRequest, request_id: str) -> dict[str, Any]:
        action = request.headers.get("x-acs-action", "")
        answer = find_answer(action)
        if answer is None or request.headers.get("x-acs-version") != API_VERSION or request.path != "/":
            raise Refused(404, "InvalidApi.NotFound", "Specified api is not found, please check your url and method.")
        try:
            parameters = request.parameters
        except ValueError:
            raise Refused(400, "InvalidParameter", "The parameters are not well formed.") from None
        document = answer(self._state, parameters)
        self.calls.append(ExecutedCall(action, request_id, parameters))
        return document
