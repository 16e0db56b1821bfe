"""What the sandbox remembers: the made-up account, and what was written to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cams_mcp.sandbox.account import Account, make_account

PERSON = tuple[str | None, str | None]
"""E-mail and phone, as sent."""


@dataclass(slots=True)
class Upload:
    """The batches so far of an unfinished upload. People wait until there are enough of them to count."""

    waiting: set[PERSON] = field(default_factory=set[PERSON])
    counts: bool = False


@dataclass(slots=True)
class State:
    """Attributes:
    account: the rows of every list.
    people: added to an audience, by its id.
    uploads: that are unfinished, by audience id.
    """

    account: Account = field(default_factory=make_account)
    people: dict[str, set[PERSON]] = field(default_factory=dict[str, set[PERSON]])
    uploads: dict[str, Upload] = field(default_factory=dict[str, Upload])
