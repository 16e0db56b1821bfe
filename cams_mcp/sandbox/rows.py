"""Filtering, paging and JSON parameters for the sandbox's operations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from cams_mcp.sandbox.account import Row
from cams_mcp.sandbox.gateway import Refused
from cams_mcp.sandbox.state import State


def equals(row: Row, element: str, wanted: str | None) -> bool:
    return not wanted or row[element] == wanted


def contains(row: Row, element: str, wanted: str | None) -> bool:
    return not wanted or wanted.lower() in str(row[element] or "").lower()


def is_bound(bound: str | None, given: Mapping[str, str]) -> bool:
    wanted, flag = given.get("BindId"), given.get("IsBind", "").lower()
    return (not wanted or bound == wanted) and (not flag or (bound is not None) == (flag == "true"))


def is_user(user: Any) -> bool:
    return isinstance(user, dict) and all(
        isinstance(cast("Row", user).get(name), str | None) for name in ("Email", "Phone")
    )


def of_page(row: Row, given: Mapping[str, str]) -> bool:
    same_place = row["CustSpaceId"] == given["CustSpaceId"] and row["PageId"] == given["PageId"]
    return same_place and equals(row, "AdAccountId", given.get("AdAccountId"))


def json_of(text: str, name: str, kind: type[Any]) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise Refused(400, f"InvalidParameter.{name}", f"{name} is not valid JSON of the right kind.")
    return value


def nested_page(rows: list[Row], given: Mapping[str, str]) -> tuple[int, list[Row]]:
    page = json_of(given["Page"], "Page", dict)
    total, shown = page_of(rows, page.get("Size"), page.get("Index"))
    return total, [{name: value for name, value in row.items() if name != "CustSpaceId"} for row in shown]


def page_of(rows: list[Row], size: object, index: object) -> tuple[int, list[Row]]:
    try:
        size, index = int(str(size)), int(str(index))
    except ValueError:
        size = index = 0
    if not (1 <= size <= 100 and index >= 1):
        raise Refused(200, "InvalidParameter.PageInvalid", "The page is invalid.")
    return len(rows), rows[(index - 1) * size : index * size]


def check_target(state: State, given: Mapping[str, str], *required: str) -> None:
    """Refuse a call without the required parameters, or for a space that does not exist."""
    for name in required:
        if not given.get(name):
            raise Refused(400, f"Missing{name}", f"{name} is mandatory for this action.")
    if not any(given["CustSpaceId"] == row["CustSpaceId"] for row in state.account.instances):
        raise Refused(200, "Authentication.NoAuth", "No permission for this space.")
