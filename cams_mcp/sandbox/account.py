"""A realistic, deterministic CAMS account with several hundred instances, audiences, campaigns and groups.

All data is fictional: the names are invented, addresses end in example.com, and numbers come from the range reserved
for fiction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

Row = dict[str, Any]

MESSENGER_SPACE = "cams-msgr0001"
MESSENGER_PAGE = "102938475600001"
AD_ACCOUNT = "238400000000001"
WHATSAPP_SPACE = "cams-wapp0001"
WHATSAPP_NUMBER = "12025550100"

_CHANNELS = ("messenger", "whatsapp", "instagram", "viber")
_PREFIX = {"messenger": "msgr", "whatsapp": "wapp", "instagram": "inst", "viber": "vibr"}
_BRANDS = ("Aurora Coffee", "Blue Heron Travel", "Cedar Home", "Delta Sports", "Ember Kitchen", "Fjord Outdoor")
_CITIES = ("Singapore", "Jakarta", "Bangkok", "Manila", "Hanoi", "Madrid", "Lagos", "São Paulo", "上海", "Dubai")
_SEGMENTS = ("VIP", "Lapsed", "Newsletter", "Cart", "Loyalty", "Birthday", "Wholesale", "Trial", "Event", "App")
_OFFERS = ("Spring sale", "Restock", "Flash offer", "Loyalty week", "Launch", "Reminder", "Clearance", "New menu")
_STATES = ("published", "published", "published", "submitted", "draft")
_GROUP_STATUSES = ("ACTIVE", "ACTIVE", "ACTIVE", "DELETING", "INACTIVE", "SUSPENDED", "CREATING", "UPDATING")
_SECOND_ACCOUNT_FROM = 280


@dataclass(slots=True)
class Account:
    """The rows of every list, with CAMS's element names.

    `bindings` maps bound instances to their bind ids. CAMS filters by the bind id but does not return it.
    """

    instances: list[Row] = field(default_factory=list[Row])
    audiences: list[Row] = field(default_factory=list[Row])
    campaigns: list[Row] = field(default_factory=list[Row])
    groups: list[Row] = field(default_factory=list[Row])
    bindings: dict[str, str] = field(default_factory=dict[str, str])


def make_account() -> Account:
    """Create 240 instances. The first Messenger page has 320 audiences and 300 campaigns, the first number 280 groups.

    The last audiences and campaigns of the first page belong to a second ad account.
    """
    account = Account()
    for number in range(60):
        for channel in _CHANNELS:
            instance = _instance(channel, number)
            account.instances.append(instance)
            if number % 3:
                account.bindings[instance["InstanceId"]] = f"bind-{number:04}"
        main = number == 0
        space, page, ad_account = (
            f"cams-msgr{number + 1:04}",
            str(102938475600001 + number),
            str(238400000000001 + number),
        )
        account.audiences += islice(_audiences(space, page, ad_account), 320 if main else number % 9)
        account.campaigns += islice(_campaigns(space, page, ad_account), 300 if main else number % 7)
        account.groups += islice(
            _groups(f"cams-wapp{number + 1:04}", str(12025550100 + number)), 280 if main else number % 5
        )
    return account


def _instance(channel: str, number: int) -> Row:
    brand, city = _BRANDS[number % 6], _CITIES[number % 10]
    about = {
        "messenger": f"Messenger page {102938475600001 + number}, ad account {238400000000001 + number}",
        "whatsapp": f"WhatsApp number {12025550100 + number}",
    }.get(channel, f"{brand} on {channel}")
    space = f"cams-{_PREFIX[channel]}{number + 1:04}"
    return {
        "CountryId": str(65 + number % 30),
        "ContactMail": f"ops{number}@example.com",
        "ResourceRegionId": "ap-southeast-1",
        "ResourceGroupId": f"rg-{number % 4 + 1:04}",
        "InstanceId": space,
        "OfficeAddress": f"{number + 1} Example Street, {city}",
        "SubmitTime": f"2025-{number % 12 + 1:02}-{number % 28 + 1:02} 08:{number % 60:02}:00",
        "InstanceName": f"{brand} {city} {channel}",
        "CustSpaceId": space,
        "IsvTerms": "accepted" if number % 3 else "",
        "FacebookBmId": str(770000000000000 + number),
        "InstanceDescription": about,
        # CAMS documents channel types in lower case but returns them in upper case.
        "ChannelType": channel.upper(),
        "State": _STATES[number % 5],
    }


def _names(first: Iterable[str], second: Iterable[str]) -> Iterator[str]:
    pairs = [f"{a}-{b}" for a in first for b in second]
    for number, pair in enumerate(cycle(pairs)):
        yield f"{pair}-{number // len(pairs) + 1}"


def _account_of(number: int, ad_account: str) -> str:
    return ad_account if number < _SECOND_ACCOUNT_FROM else str(int(ad_account) + 1000)


def _audiences(space: str, page: str, ad_account: str) -> Iterator[Row]:
    for number, name in enumerate(_names(_SEGMENTS, ("Q1", "Q2", "Q3", "Q4"))):
        yield {
            "CustSpaceId": space,
            "PageId": page,
            "Status": "NORMAL" if number % 11 else "UPDATING",
            "CustomAudienceId": f"{page[-6:]}{9000000 + number}",
            "CustomAudienceName": name,
            "TokenType": "custom" if number % 5 else "marketing_message",
            "Description": f"{name}, made for tests" if number % 3 else None,
            # The documentation shows times with 10 and 12 digits, and "51".
            "CreateTime": 1_720_356_898 + number * 3600,
            "AdAccountId": _account_of(number, ad_account),
            "UpdateTime": 51 if number % 7 == 0 else 1_720_400_000 + number * 3600,
            "TokenTotal": number * 37 % 5000,
            "UploadType": "intf" if number % 2 else "excel",
        }


def _campaigns(space: str, page: str, ad_account: str) -> Iterator[Row]:
    for number, name in enumerate(_names(_OFFERS, _CITIES)):
        yield {
            "CustSpaceId": space,
            "PageId": page,
            "Status": ("AVAILABLE", "AVAILABLE", "PAUSED", "EXHAUSTED")[number % 4],
            "CampaignId": f"{page[-6:]}{5000000 + number}",
            "CreateTime": 173_029_392_838 + number,
            "AdAccountId": _account_of(number, ad_account),
            "CampaignName": name,
            "Budget": number * 50 % 4000,
            "BudgetType": "daily" if number % 2 else "lifetime",
        }


def _groups(space: str, number: str) -> Iterator[Row]:
    for index, name in enumerate(_names(_BRANDS, _CITIES)):
        status = _GROUP_STATUSES[index % len(_GROUP_STATUSES)]
        yield {
            "CustSpaceId": space,
            "Description": f"Customers of {name}" if index % 2 else "",
            "BusinessNumber": number,
            "InviteLink": f"https://chat.whatsapp.com/sandbox{number[-4:]}{index:04}",
            "GroupStatus": status,
            "ProfilePictureFile": f"https://example.com/pictures/{index:04}.jpg" if index % 4 else None,
            "Subject": name,
            "GroupId": f"G{number[-4:]}{index:06}",
            "BusinessRole": "ADMIN",
            "GmtModifier": 1_720_356_898_000 + index,
            "GroupLink": f"https://example.com/groups/{index:04}",
            "GroupType": "INVITE" if index % 3 else "OPEN",
            "TotalParticipantCount": index % 8 + 1,
        }
