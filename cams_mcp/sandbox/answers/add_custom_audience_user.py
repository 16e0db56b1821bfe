"""AddCustomAudienceUser, answered from the made-up account."""

from __future__ import annotations

from typing import Any

from cams_mcp.operations.add_custom_audience_user import MAX_USERS
from cams_mcp.operations.audience.question import MIN_MATCHED
from cams_mcp.sandbox.gateway import Refused
from cams_mcp.sandbox.rows import check_target, is_user, json_of, of_page
from cams_mcp.sandbox.state import Contact, State, Upload


def answer(state: State, given: dict[str, str]) -> dict[str, Any]:
    check_target(state, given, "CustSpaceId", "PageId", "AdAccountId", "CustomAudienceId")
    audience = given["CustomAudienceId"]
    known = any(
        of_page(row, given) and row["CustomAudienceId"] == audience and row["AdAccountId"] == given["AdAccountId"]
        for row in state.account.audiences
    )
    if not known:
        raise Refused(200, "InvalidParameter.CustomAudienceId", "The custom audience does not exist.")
    users = json_of(given.get("Users", "[]"), "Users", list)
    last = given.get("BatchLastFlag", "").lower()
    if len(users) > MAX_USERS or not all(map(is_user, users)):
        raise Refused(200, "InvalidParameter.Users", f"Users accepts up to {MAX_USERS} objects with string values.")
    if not users and last != "true":
        raise Refused(400, "MissingUsers", "Users is mandatory for this action.")
    _add(state, {(user.get("Email"), user.get("Phone")) for user in users}, audience, goes_on=last == "false")
    return {"AccessDeniedDetail": "无", "Message": "OK", "Code": "OK", "Success": True}


def _add(state: State, people: set[Contact], audience: str, *, goes_on: bool) -> None:
    """Count people as Meta does: discard an upload that has fewer than 100 in all its batches."""
    upload = state.uploads.setdefault(audience, Upload())
    upload.waiting |= people
    upload.counts = upload.counts or len(upload.waiting) >= MIN_MATCHED
    if upload.counts:
        state.people.setdefault(audience, set()).update(upload.waiting)
        upload.waiting.clear()
    if not goes_on:
        del state.uploads[audience]
