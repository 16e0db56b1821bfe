"""The facts that a person must know to confirm a write to an audience: names from CAMS, counts, masked samples.

`description` makes the question of them. Numbers are bounded, text is short and printable, and no address is a fact,
other than masked samples.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import anyio

from cams_mcp.errors import CamsMcpError, NotConfirmed, PermissionDenied
from cams_mcp.facts import Fact
from cams_mcp.fields import MOST
from cams_mcp.operation import PAGE_ARGUMENTS, AnyOperation, LookUp
from cams_mcp.operations.audience.users import EMAIL, AudienceUser, person
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE, CustomAudience
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.operations.list_page_ad_account import LIST_PAGE_AD_ACCOUNT
from cams_mcp.redaction import mask_email, mask_phone, printable

MIN_MATCHED = 100
"""Meta discards the data if fewer users match ("If fewer than 100 users are matched, Meta discards")."""

LOOK_UPS: tuple[AnyOperation, ...] = (LIST_CUSTOM_AUDIENCE, LIST_INSTANCE, LIST_PAGE_AD_ACCOUNT)
LOOK_UP_SECONDS = 15.0
MOST_INSTANCE_PAGES = 3
MOST_EXAMPLES = 4

Reason = Literal["denied", "failed", "timeout"]
"""Why a look-up returned nothing."""


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


async def facts_of(request: Addition, look_up: LookUp) -> tuple[Fact, ...]:
    """The facts about AddCustomAudienceUser.

    A look-up that is denied or fails adds a warning and does not prevent the question.

    Raises:
        NotConfirmed: CAMS does not list the audience on this page.
    """
    users = request.users or []
    emails = [user.email for user in users if user.email is not None]
    phones = [user.phone for user in users if user.phone is not None]
    facts = [
        *await target_facts(request, len(users), look_up),
        count("emails", len(emails)),
        count("phones", len(phones)),
        count("duplicates", len(users) - len({person(user) for user in users})),
        samples([*map(mask_email, emails[:2]), *map(mask_phone, phones[:2])]),
    ]
    if request.estimated_num_total is not None:
        facts.append(count("estimate", request.estimated_num_total))
    if request.batch_last_flag:
        facts.append(Fact("last_batch", "note", value=True))
    return tuple(facts)


async def target_facts(request: Target, people: int, look_up: LookUp) -> tuple[Fact, ...]:
    """The facts about how many people are added to which audience.

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
    audience = found.audience or CustomAudience()
    other = audience.ad_account_id
    return (
        Fact("audience_id", "id", request.custom_audience_id),
        name("audience_name", audience.custom_audience_name),
        count("audience_tokens", audience.token_total),
        Fact("ad_account_id", "id", request.ad_account_id),
        name("ad_account_name", found.ad_account),
        Fact("page_id", "id", request.page_id),
        Fact("instance_id", "id", request.cust_space_id),
        name("instance_name", found.instance),
        count("people", people),
        *(
            [Fact("other_ad_account", "warning", printable(other))]
            if other not in (None, request.ad_account_id)
            else []
        ),
        *(Fact("no_name", "warning", {"of": thing, "why": why}) for thing, why in found.failures.items()),
    )


def count(key: str, number: int | None) -> Fact:
    """A number from outside of any size, as a fact. More than `MOST` is "over MOST"."""
    return Fact(key, "number", number if number is None or abs(number) <= MOST else MOST + 1)


def name(key: str, text: str | None) -> Fact:
    """A name from outside, as a fact; "" if there is none. Some people name files after an address: it is masked."""
    return Fact(key, "name", EMAIL.sub(lambda found: mask_email(found[0]), printable(text or "")))


def samples(masked: Sequence[str]) -> Fact:
    """Masked addresses, as a fact."""
    return Fact("samples", "samples", list(masked[:MOST_EXAMPLES]))


@dataclass(slots=True)
class _Found:
    """What CAMS returned: the names it knows, the look-ups it answered, and why the others failed."""

    audience: CustomAudience | None = None
    instance: str | None = None
    ad_account: str | None = None
    answered: set[str] = field(default_factory=set[str])
    failures: dict[str, Reason] = field(default_factory=dict[str, Reason])


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

    async def attempt(thing: str, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            await ask()
            found.answered.add(thing)
            found.failures.pop(thing)
        except PermissionDenied:
            found.failures[thing] = "denied"
        except CamsMcpError:
            found.failures[thing] = "failed"

    questions = {"audience": audience, "instance": instance, "ad_account": ad_account}
    found.failures = dict.fromkeys(questions, "timeout")
    with anyio.move_on_after(LOOK_UP_SECONDS):
        async with anyio.create_task_group() as group:
            for thing, ask in questions.items():
                group.start_soon(attempt, thing, ask)
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
