"""What a person must know before they approve a write: typed facts, and their description in one language.

The module of a write states facts (`Writable.facts`) and describes them (`Effect.describe`). The store keeps the facts
while the write waits, and every door renders its question from the same description.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cams_mcp.redaction import printable, quoted

Language = Literal["en", "zh"]

Kind = Literal["id", "name", "number", "samples", "warning", "note"]
"""What a fact's value is.

id: an identifier. name: text from outside, as `printable` returns it. number: a count, or None if unknown. samples: a
list of masked addresses, deleted once the write is decided. warning: a JSON value that tells what looks wrong or
unusual. note: any other JSON value.
"""

LONGEST_LINE = 600
"""Characters of one line of a question."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact. `value` is a JSON value. Text in it may come from outside: it can be stored, but is not quoted yet."""

    key: str
    kind: Kind
    value: Any

    def to_json(self) -> list[Any]:
        return [self.key, self.kind, self.value]


def facts_from_json(stored: Iterable[Sequence[Any]]) -> tuple[Fact, ...]:
    return tuple(Fact(*each) for each in stored)


@dataclass(frozen=True, slots=True)
class Bar:
    """A number to draw as a bar, next to others of the same unit. The first bar of a description is the total."""

    label: str
    number: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", _line(self.label))


@dataclass(frozen=True, slots=True)
class Change:
    """How large the target is and may become.

    Attributes:
        label: what is measured, for example "Members of the group".
        before: its size now; None if unknown.
        added: how much the write adds at most.
    """

    label: str
    before: int | None
    added: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", _line(self.label))


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A write in the words of one language. Quote text from outside, see `quoted_in`.

    Whatever a text repeats, it is one visible line of at most `LONGEST_LINE` characters.

    Attributes:
        question: what is about to happen, as a question.
        warnings: what looks wrong or unusual.
        details: the target by name and id, counts, masked samples: all that a text-only door shows.
        consequences: what cannot be undone.
        tick: the label of the box or button that approves it.
        warning: the word that introduces a warning in text. `Effect.description` sets it.
        place: what doors that draw show besides `change`, `bars` and `samples`, instead of `details`; by default, all
            details.
        samples: masked addresses.
    """

    question: str
    tick: str
    warnings: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()
    warning: str = "Warning: "
    place: tuple[str, ...] = ()
    change: Change | None = None
    bars: tuple[Bar, ...] = ()
    samples: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("question", "tick"):
            object.__setattr__(self, name, _line(getattr(self, name)))
        object.__setattr__(self, "place", self.place or self.details)
        for name in ("warnings", "details", "consequences", "place", "samples"):
            object.__setattr__(self, name, tuple(map(_line, getattr(self, name))))


def _line(text: str) -> str:
    return printable(text, LONGEST_LINE)


def quoted_in(language: Language, text: str) -> str:
    """`quoted` with the quotation marks of a language. The quoted text contains none that could close them."""
    shown = quoted(text)
    return f"“{shown[1:-1]}”" if language == "zh" else shown


def render(description: Description) -> str:
    """The description as text, one item per line."""
    warnings = (f"{description.warning}{warning}" for warning in description.warnings)
    lines = [description.question, *warnings, *description.details, *description.consequences]
    return "\n".join(map(_line, lines))
