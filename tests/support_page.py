"""What tests of the approval page need: writes that wait, a desk in memory, the page over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from cams_mcp.approval.desk import Decision
from cams_mcp.approval.page import ApprovalPage
from cams_mcp.confirmation import Channel
from cams_mcp.errors import StoreError
from cams_mcp.facts import Fact
from cams_mcp.store import Pending
from cams_mcp.store.pending import not_waiting

PERSON = "ada@laptop"

PLACE = (
    Fact("audience_id", "id", "6000019000000"),
    Fact("ad_account_id", "id", "238400000000001"),
    Fact("ad_account_name", "name", "Ads 001"),
    Fact("page_id", "id", "102938475600001"),
    Fact("instance_id", "id", "cams-msgr0001"),
    Fact("instance_name", "name", "Aurora Coffee Singapore messenger"),
)


def facts_of(
    people: int = 150, audience: str = "VIP-Q1-1", *more: Fact, tokens: int | None = 12_430
) -> tuple[Fact, ...]:
    """The facts of a call of AddCustomAudienceUser."""
    return (
        *PLACE,
        Fact("audience_name", "name", audience),
        Fact("audience_tokens", "number", tokens),
        Fact("people", "number", people),
        Fact("emails", "number", people),
        Fact("phones", "number", people * 2 // 3),
        Fact("duplicates", "number", 4),
        Fact("samples", "samples", ["a***@example.com", "m***@example.com", "+12025****47"]),
        *more,
    )


def file_facts(*more: Fact) -> tuple[Fact, ...]:
    """The facts of the upload of a file."""
    return (
        *PLACE,
        Fact("audience_name", "name", "Newsletter 2026"),
        Fact("audience_tokens", "number", 48_210),
        Fact("file", "name", "customers-spring.csv"),
        Fact("rows", "number", 9_870),
        Fact("people", "number", 9_412),
        Fact("emails", "number", 9_105),
        Fact("phones", "number", 6_320),
        Fact("duplicates", "number", 214),
        Fact("suppressed", "number", 187),
        Fact("invalid", "number", 57),
        Fact("calls", "number", 10),
        Fact("samples", "samples", ["j***@example.com", "+44161****00"]),
        *more,
    )


REPETITION = Fact("earlier", "warning", {"started": 1_764_000_000.0, "outcome": "sent"})


def a_write(
    approval_id: str = "K7QX2MPD",
    facts: Sequence[Fact] | None = None,
    *,
    client: str = "Claude Desktop 1.4",
    seconds: float = 590.0,
    asked: float | None = None,
    **more: Any,
) -> Pending:
    """A write that waits for so many more seconds."""
    now = time.time() if asked is None else asked
    return Pending(
        id=approval_id,
        binding=f"binding of {approval_id}",
        digests=(),
        operation="AddCustomAudienceUser",
        principal="local",
        client=client,
        facts=tuple(facts_of() if facts is None else facts),
        asked=now,
        expires=now + seconds,
        seen_write=0,
        entry={},
        channel="page",
        **more,
    )


@dataclass
class FakeDesk:
    """A desk without a store.

    Attributes:
        writes: all that it has.
        decisions: each decision that arrived, whether it counted or not.
        broken: whether its store fails.
    """

    writes: list[Pending] = field(default_factory=list[Pending])
    decisions: list[tuple[str, Decision, Channel, str]] = field(
        default_factory=list[tuple[str, Decision, Channel, str]]
    )
    broken: bool = False
    clock: Callable[[], float] = time.time
    answered: anyio.Event = field(default_factory=anyio.Event)

    async def asked(self) -> None:
        """Wait until the next time that somebody asks what waits, whether the store fails or not."""
        self.answered = anyio.Event()
        await self.answered.wait()

    async def pending(self, principal: str | None = None) -> list[Pending]:
        self.answered.set()
        self._check()
        return [each for each in self.writes if each.is_live(self.clock()) and principal in (None, each.principal)]

    async def decide(
        self, approval_id: str, decision: Decision, channel: Channel, by: str = "", principal: str | None = None
    ) -> Pending:
        self._check()
        self.decisions.append((approval_id, decision, channel, by))
        write = next((each for each in await self.pending(principal) if each.id == approval_id), None)
        if write is None:
            raise not_waiting()
        if write.state != "waiting":
            return write
        state = "approved" if decision == "approve" else "declined"
        return self.change(approval_id, lambda each: each.decide(state, channel, by, self.clock()))

    def change(self, approval_id: str, how: Callable[[Pending], Pending]) -> Pending:
        self.writes = [how(each) if each.id == approval_id else each for each in self.writes]
        return self[approval_id]

    def finish(self, approval_id: str, outcome: str | None = "sent") -> None:
        """The write was sent, with this outcome; None while it is being sent."""
        ended = None if outcome is None else {"outcome": outcome}
        self.change(approval_id, lambda each: replace(each, state="spent", outcome=ended))

    def __getitem__(self, approval_id: str) -> Pending:
        return next(each for each in self.writes if each.id == approval_id)

    def _check(self) -> None:
        if self.broken:
            raise StoreError("The store cannot be read.")


@dataclass
class RunningPage:
    """A page in a thread of its own.

    Attributes:
        urls: each address that a browser was asked to open.
    """

    portal: BlockingPortal
    page: ApprovalPage
    urls: list[str]

    def show(self) -> str:
        """Show the page, and return an address that opens it, even if somebody is looking at it already."""
        self.portal.call(self.page.show)
        server = self.page._server  # noqa: SLF001
        assert server is not None
        if not server._keys.has_fresh_address:  # noqa: SLF001
            self.portal.call(server.open, self.page._open_browser)  # noqa: SLF001
        return self.urls[-1]


@contextmanager
def running_page(desk: FakeDesk, **options: Any) -> Generator[RunningPage]:
    """The page over `desk`, on a real port. `options` go to `ApprovalPage`."""
    urls: list[str] = []

    async def remember(url: str) -> bool:
        urls.append(url)
        return True

    page = ApprovalPage(
        desk, person=PERSON, command="cams-mcp approve", **{"open_browser": remember, "patience": 0.0} | options
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(page):
        yield RunningPage(portal, page, urls)
