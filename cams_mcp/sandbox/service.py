"""The sandbox: CAMS's five operations over a made-up account, with its limits, its shapes and its quirks."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cams_mcp.api.credentials import AccessKey
from cams_mcp.operations.add_custom_audience_user import MAX_USERS
from cams_mcp.operations.audience.question import MIN_MATCHED
from cams_mcp.sandbox.account import Account, make_account
from cams_mcp.sandbox.faults import Faults
from cams_mcp.sandbox.gateway import Gateway, Refused, WireRequest
from cams_mcp.sandbox.rows import contains, equals, is_bound, is_user, json_of, nested_page, of_page, page_of

SANDBOX_KEY = AccessKey("sandbox-id", "sandbox-secret")
"""Opens nothing but the sandbox."""

API_VERSION = "2020-06-06"
PERSON = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. `delay` is how long to wait first, in seconds; `broken` breaks the connection instead."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay: float = 0.0
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One executed call, for tests: what arrived, `Users` included."""

    action: str
    request_id: str
    parameters: Mapping[str, str]


@dataclass(slots=True)
class _Upload:
    """The batches so far of an upload that goes on. People wait until there are enough of them to count."""

    waiting: set[PERSON] = field(default_factory=set[PERSON])
    counts: bool = False


class Sandbox:
    """A CAMS endpoint without a socket: `handle` takes a request and gives a reply.

    Args:
        faults: what goes wrong, and how often.
        key: the access key requests must be signed with.
        now: the time, UTC.
        keep_calls: how many of the executed calls `calls` remembers, the last ones.
    """

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        key: AccessKey = SANDBOX_KEY,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        keep_calls: int = 1000,
    ) -> None:
        self.calls: deque[Call] = deque(maxlen=keep_calls)
        self._account: Account = make_account()
        self._faults = faults or Faults()
        self._now = now
        self._gateway = Gateway(key, now)
        self._people: dict[str, set[PERSON]] = {}
        self._uploads: dict[str, _Upload] = {}
        self._operations: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
            "ListInstance": self._list_instance,
            "ListCustomAudience": self._list_custom_audience,
            "ListMessageCampaign": self._list_message_campaign,
            "ListChatGroup": self._list_chat_group,
            "ListPageAdAccount": self._list_page_ad_account,
            "AddCustomAudienceUser": self._add_custom_audience_user,
        }

    def people(self, custom_audience_id: str) -> set[PERSON]:
        """The (e-mail, phone) pairs added to an audience."""
        return set(self._people.get(custom_audience_id, ()))

    def handle(self, request: WireRequest) -> Reply:
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
            return Reply(413, {"content-type": "text/html", "date": headers["date"]}, page, delay)
        try:
            self._gateway.check(request, skew=skew)
            self._refuse_by_fault(headers)
            document = self._run(request, request_id)
            status = 200
        except Refused as refused:
            status = refused.status
            document = {"Code": refused.code, "Message": refused.message, **refused.elements}
            # Business errors come with HTTP 200 and say so; gateway errors name the host and a page to read.
            document |= {"Success": False} if status == 200 else {"HostId": request.headers.get("host", "")}
        body = json.dumps({"RequestId": request_id, **document}, ensure_ascii=False).encode()
        if self._faults.strikes("malformed"):
            body = body[: len(body) // 2]
        return Reply(status, headers, body, delay, broken=bool(self._faults.strikes("reset")))

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
        run = self._operations.get(action)
        if run is None or request.headers.get("x-acs-version") != API_VERSION or request.path != "/":
            raise Refused(404, "InvalidApi.NotFound", "Specified api is not found, please check your url and method.")
        try:
            parameters = request.parameters
        except ValueError:
            raise Refused(400, "InvalidParameter", "The parameters are not well formed.") from None
        document = run(parameters)
        self.calls.append(Call(action, request_id, parameters))
        return document

    # The answers below have the elements, and the odd values, of the documents' samples.

    def _list_instance(self, given: dict[str, str]) -> dict[str, Any]:
        channel = given.get("ChannelType", "")
        if channel and channel.lower() not in ("whatsapp", "messenger", "instagram", "viber"):
            raise Refused(200, "InvalidParameter.ChannelTypeNotSupport", "The channel type is not supported.")
        filtered = bool(given.keys() - {"PageSize", "PageIndex"})
        rows = [
            row
            for row in self._account.instances
            if not filtered
            or (
                equals(row, "ChannelType", channel.upper())
                and contains(row, "InstanceName", given.get("InstanceName"))
                and equals(row, "InstanceId", given.get("InstanceId"))
                and equals(row, "SubmitTime", given.get("SubmitTime"))
                and equals(row, "ResourceGroupId", given.get("ResourceGroupId"))
                and is_bound(self._account.bindings.get(row["InstanceId"]), given)
                and (
                    contains(row, "InstanceName", wanted := given.get("FilterStr"))
                    or contains(row, "InstanceDescription", wanted)
                )
            )
        ]
        total, shown = page_of(rows, given.get("PageSize", "10"), given.get("PageIndex", "1"))
        return {
            "AccessDeniedDetail": "{}",
            "Message": "NULL",
            "Code": "OK",
            "Success": True,
            "TotalCount": total,
            "Data": shown,
        }

    def _list_custom_audience(self, given: dict[str, str]) -> dict[str, Any]:
        self._check_target(given, "CustSpaceId", "PageId", "Page")
        rows = [
            row | {"TokenTotal": row["TokenTotal"] + len(self._people.get(row["CustomAudienceId"], ()))}
            for row in self._account.audiences
            if of_page(row, given)
            and equals(row, "TokenType", given.get("TokenType"))
            and contains(row, "CustomAudienceName", given.get("CustomAudienceName"))
            and equals(row, "CustomAudienceId", given.get("CustomAudienceId"))
        ]
        total, shown = nested_page(rows, given)
        return {
            "AccessDeniedDetail": "None",
            "Message": "OK",
            "Code": "OK",
            "Success": True,
            "Total": total,
            "Data": shown,
        }

    def _list_message_campaign(self, given: dict[str, str]) -> dict[str, Any]:
        self._check_target(given, "CustSpaceId", "PageId", "Page")
        rows = [
            row
            for row in self._account.campaigns
            if of_page(row, given)
            and equals(row, "Status", given.get("Status"))
            and contains(row, "CampaignName", given.get("CampaignName"))
            and equals(row, "CampaignId", given.get("CampaignId"))
        ]
        total, shown = nested_page(rows, given)
        # The documented success carries this code: Success decides.
        answer = {"AccessDeniedDetail": "None", "Message": "OK", "Code": "Example", "Success": True}
        return answer | {"Total": total, "Data": shown}

    def _list_chat_group(self, given: dict[str, str]) -> dict[str, Any]:
        self._check_target(given, "CustSpaceId", "BusinessNumber", "Page")
        if given.get("ChannelType", "WHATSAPP").upper() not in ("", "WHATSAPP"):
            raise Refused(200, "InvalidParameter.ChannelTypeNotSupport", "The channel type is not supported.")
        number = given["BusinessNumber"].lstrip("+")
        if not (number.isascii() and number.isdigit()):
            raise Refused(200, "InvalidParameter.PhoneNumberError", "The phone number is wrong.")
        rows = [
            row
            for row in self._account.groups
            if row["CustSpaceId"] == given["CustSpaceId"]
            and row["BusinessNumber"] == number
            and equals(row, "GroupStatus", given.get("GroupStatus"))
            and contains(row, "Subject", given.get("Subject"))
            and equals(row, "GroupLink", given.get("GroupLink"))
            and equals(row, "GroupType", given.get("GroupType"))
        ]
        total, shown = nested_page(rows, given)
        answer = {"AccessDeniedDetail": "None", "Message": "None", "Code": "OK", "Success": True}
        return answer | {"Data": {"Total": total, "List": shown}}

    def _list_page_ad_account(self, given: dict[str, str]) -> dict[str, Any]:
        self._check_target(given, "CustSpaceId", "PageId")
        pages = {(row["CustSpaceId"], row["PageId"], row["AdAccountId"]) for row in self._account.audiences}
        shown = [
            {"AdAccountId": account, "AdAccountName": f"Ads {account[-3:]}", "Currency": "USD", "PageId": page}
            for space, page, account in sorted(pages)
            if (space, page) == (given["CustSpaceId"], given["PageId"])
        ]
        return {"AccessDeniedDetail": "None", "Message": "OK", "Code": "OK", "Success": True, "Data": shown}

    def _add_custom_audience_user(self, given: dict[str, str]) -> dict[str, Any]:
        self._check_target(given, "CustSpaceId", "PageId", "AdAccountId", "CustomAudienceId")
        audience = given["CustomAudienceId"]
        known = any(
            of_page(row, given) and row["CustomAudienceId"] == audience and row["AdAccountId"] == given["AdAccountId"]
            for row in self._account.audiences
        )
        if not known:
            raise Refused(200, "InvalidParameter.CustomAudienceId", "The custom audience does not exist.")
        users = json_of(given.get("Users", "[]"), "Users", list)
        last = given.get("BatchLastFlag", "").lower()
        if len(users) > MAX_USERS or not all(map(is_user, users)):
            raise Refused(200, "InvalidParameter.Users", f"Users takes up to {MAX_USERS} objects of texts.")
        if not users and last != "true":
            raise Refused(400, "MissingUsers", "Users is mandatory for this action.")
        self._add({(user.get("Email"), user.get("Phone")) for user in users}, audience, goes_on=last == "false")
        return {"AccessDeniedDetail": "无", "Message": "OK", "Code": "OK", "Success": True}

    def _add(self, people: set[PERSON], audience: str, *, goes_on: bool) -> None:
        """Count people, as Meta does: an upload of fewer than 100, over all its batches, is discarded."""
        upload = self._uploads.setdefault(audience, _Upload())
        upload.waiting |= people
        upload.counts = upload.counts or len(upload.waiting) >= MIN_MATCHED
        if upload.counts:
            self._people.setdefault(audience, set()).update(upload.waiting)
            upload.waiting.clear()
        if not goes_on:
            del self._uploads[audience]

    def _check_target(self, given: dict[str, str], *required: str) -> None:
        for name in required:
            if not given.get(name):
                raise Refused(400, f"Missing{name}", f"{name} is mandatory for this action.")
        if not any(given["CustSpaceId"] == row["CustSpaceId"] for row in self._account.instances):
            raise Refused(200, "Authentication.NoAuth", "No permission for this space.")
