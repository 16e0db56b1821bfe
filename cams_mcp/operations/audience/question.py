"""The question that a person answers to confirm AddCustomAudienceUser: names from CAMS, counts, samples, consequences.

Every line is one of our own sentences. Text from CAMS, an assistant or a file appears in it only as a number, or short
and in quotation marks. No such text can change what the question says or make it longer than 2,000 characters.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import anyio

from cams_mcp.errors import CamsMcpError, NotConfirmed, PermissionDenied
from cams_mcp.fields import MOST
from cams_mcp.operation import PAGE_ARGUMENTS, AnyOperation, Facts, LookUp
from cams_mcp.operations.audience.users import AudienceUser, person
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE, CustomAudience
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.operations.list_page_ad_account import LIST_PAGE_AD_ACCOUNT
from cams_mcp.redaction import mask_email, mask_phone, printable, quoted

MIN_MATCHED = 100
"""Meta discards the data if fewer users match ("If fewer than 100 users are matched, Meta discards")."""

LOOK_UPS: tuple[AnyOperation, ...] = (LIST_CUSTOM_AUDIENCE, LIST_INSTANCE, LIST_PAGE_AD_ACCOUNT)
LOOK_UP_SECONDS = 15.0
MOST_INSTANCE_PAGES = 3
MOST_EXAMPLES = 4


class Target(Protocol):
    """The audience to add people to, and what it belongs to."""

    @property
    def cust_space_id(self) -> str: ...
    @property
    def page_id(self) -> str: ...
    @property
    def ad_account_id(self) -> str: ...
    @property
    def custom_audience_id(self) -> str: ...


class Addition(Target, Protocol):
    """The arguments of AddCustomAudienceUser."""

    @property
    def users(self) -> Sequence[AudienceUser] | None: ...
    @property
    def estimated_num_total(self) -> int | None: ...
    @property
    def batch_last_flag(self) -> bool | None: ...


async def facts_of(request: Addition, look_up: LookUp) -> Facts:
    """The facts in the question about AddCustomAudienceUser.

    A look-up that is denied or fails adds a warning to the question and does not prevent it.

    Raises:
        NotConfirmed: CAMS does not list the audience on this page.
    """
    number = len(request.users or [])
    facts = await target_facts(request, number, look_up)
    return replace(
        facts,
        details=(*facts.details, *_people(request)),
        consequences=consequences(request.estimated_num_total or number),
    )


async def target_facts(request: Target, people: int, look_up: LookUp) -> Facts:
    """The part of the question that says how many people are added to which audience.

    Raises:
        NotConfirmed: CAMS does not list the audience on this page.
    """
    found = await _find(request, look_up)
    if "audience" in found.answered and found.audience is None:
        raise NotConfirmed(
            "Nothing was sent, and the user was not asked: CAMS lists no audience with this custom_audience_id on this "
            "page.",
            hint="Take custom_audience_id, page_id and cust_space_id from list_custom_audience.",
        )
    return _target(request, people, found)


@dataclass(slots=True)
class _Found:
    """What CAMS returned: the names it knows, the look-ups it answered, and why the others failed."""

    audience: CustomAudience | None = None
    instance: str | None = None
    ad_account: str | None = None
    answered: set[str] = field(default_factory=set[str])
    failures: dict[str, str] = field(default_factory=dict[str, str])


async def _find(request: Target, look_up: LookUp) -> _Found:
    found = _Found()
    page = {"cust_space_id": request.cust_space_id, "page_id": request.page_id}

    async def audience() -> None:
        wanted = page | {"custom_audience_id": request.custom_audience_id}
        rows = (await look_up(LIST_CUSTOM_AUDIENCE, LIST_CUSTOM_AUDIENCE.request.model_validate(wanted))).data
        found.audience = next((row for row in rows if row.custom_audience_id == request.custom_audience_id), None)

    async def instance() -> None:
        found.instance = await _instance_name(request.cust_space_id, look_up)

    async def ad_account() -> None:
        rows = (await look_up(LIST_PAGE_AD_ACCOUNT, LIST_PAGE_AD_ACCOUNT.request.model_validate(page))).data
        names = (row.ad_account_name for row in rows if row.ad_account_id == request.ad_account_id)
        found.ad_account = next(names, None)

    async def attempt(name: str, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            await ask()
            found.answered.add(name)
            found.failures.pop(name)
        except PermissionDenied:
            found.failures[name] = "the access key lacks permission"
        except CamsMcpError:
            found.failures[name] = "the look-up failed"

    questions = {"audience": audience, "instance": instance, "ad account": ad_account}
    found.failures = dict.fromkeys(questions, "the look-up timed out")
    with anyio.move_on_after(LOOK_UP_SECONDS):
        async with anyio.create_task_group() as group:
            for name, ask in questions.items():
                group.start_soon(attempt, name, ask)
    return found


async def _instance_name(cust_space_id: str, look_up: LookUp) -> str | None:
    """The name of a space's instance. A direct customer's space id is the instance id; an ISV's is in the listing."""
    pages = [{"page_size": 100, "page_index": index} for index in range(1, MOST_INSTANCE_PAGES + 1)]
    for arguments in [{"instance_id": cust_space_id}, *pages]:
        wanted = LIST_INSTANCE.request.model_validate(arguments)
        listed = (await look_up(LIST_INSTANCE, wanted)).paged(*PAGE_ARGUMENTS.window(wanted))
        for row in listed.data:
            if cust_space_id in (row.cust_space_id, row.instance_id):
                return row.instance_name
        if "page_size" in arguments and not listed.has_more:
            break
    return None


def _target(request: Target, number: int, found: _Found) -> Facts:
    audience = found.audience
    name = printable(audience.custom_audience_name or "") if audience else ""
    tokens = audience.token_total if audience else None
    size = f", currently {_amount(tokens)} tokens" if tokens is not None else ""
    warnings = [f"CAMS did not return the {what}'s name: {why}." for what, why in found.failures.items()]
    if audience and audience.ad_account_id not in (None, request.ad_account_id):
        other = _id(audience.ad_account_id or "")
        warnings.insert(0, f"CAMS lists this audience under a different ad account: {other}.")
    return Facts(
        question=f"Add {_count(number)} to the Meta custom audience {quoted(name or request.custom_audience_id)}?",
        warnings=tuple(warnings),
        details=(
            f"Audience id {_id(request.custom_audience_id)}{size}.",
            (
                f"Ad account {_named(found.ad_account, request.ad_account_id)}, page {_id(request.page_id)}, "
                f"instance {_named(found.instance, request.cust_space_id)}."
            ),
        ),
    )


def _people(request: Addition) -> list[str]:
    users = request.users or []
    emails = [user.email for user in users if user.email is not None]
    phones = [user.phone for user in users if user.phone is not None]
    again = len(users) - len({person(user) for user in users})
    duplicates = f"{again:,} duplicate{'' if again == 1 else 's'}" if again else "no duplicates"
    lines = [f"{len(emails):,} with e-mail, {len(phones):,} with phone, {duplicates}."]
    lines += examples([*map(mask_email, emails[:2]), *map(mask_phone, phones[:2])])
    if request.estimated_num_total is not None:
        lines.append(f"The caller's estimate for the whole upload is {_count(request.estimated_num_total)}.")
    if request.batch_last_flag:
        lines.append("This is the last batch of the upload.")
    return lines


def examples(masked: Sequence[str]) -> list[str]:
    """A line of masked addresses as examples, if there are any."""
    shown = [f"{'e-mail' if '@' in address else 'phone'} {quoted(address)}" for address in masked[:MOST_EXAMPLES]]
    return [f"For example: {', '.join(shown)}."] if shown else []


def consequences(people: int) -> tuple[str, ...]:
    """The lines about the consequences of sending this many people in total."""
    discards = (
        f"Meta discards uploads with fewer than {MIN_MATCHED} matches, so adding this few people will have no effect."
        if people < MIN_MATCHED
        else f"If Meta matches fewer than {MIN_MATCHED} of them, it discards the data."
    )
    return ("Their contact details will be sent to Meta. This cannot be undone.", discards)


def _named(name: str | None, identifier: str) -> str:
    return f"{quoted(name)} (id {_id(identifier)})" if name and printable(name) else _id(identifier)


def _id(identifier: str) -> str:
    """A number unchanged, anything else quoted: the assistant supplies ids, and words in them could pass for ours."""
    return identifier if re.fullmatch(r"[0-9]{1,32}", identifier) else quoted(identifier)


def _amount(number: int) -> str:
    """Format an external number of any size so that it stays short."""
    return f"{number:,}" if abs(number) <= MOST else f"over {MOST:,}"


def _count(number: int) -> str:
    return f"{_amount(number)} {'person' if number == 1 else 'people'}"
