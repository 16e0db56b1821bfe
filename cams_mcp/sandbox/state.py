"""The sandbox's state: the made-up account, and everything written to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cams_mcp.sandbox.account import Account, make_account

Contact = tuple[str | None, str | None]
"""E-mail and phone, as sent."""


@dataclass(slots=True)
class Upload:
    """The batches of an unfinished upload so far. People wait until there are enough of them to count."""

    waiting: set[Contact] = field(default_factory=set[Contact])
    counts: bool = False


@dataclass(slots=True)
class State:
    """The account, and what was added to it.

    Attributes:
        account: the rows of every list.
        people: the people added to each audience, by audience id.
        uploads: unfinished uploads, by audience id.
    """

    account: Account = field(default_factory=make_account)
    people: dict[str, set[Contact]] = field(default_factory=dict[str, set[Contact]])
    uploads: dict[str, Upload] = field(default_factory=dict[str, Upload])
