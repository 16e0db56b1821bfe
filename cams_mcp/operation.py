"""`Operation`: one declaration of an operation of CAMS, from which its tool, guard, documentation and tests follow."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from cams_mcp.models import Listing, Request, Response, Result

RequestT = TypeVar("RequestT", bound=Request)
ResponseT = TypeVar("ResponseT", bound=Response)
ResultT = TypeVar("ResultT", bound=Result)


@dataclass(frozen=True, slots=True)
class Pages:
    """How an operation takes the page to list: two arguments, or an object that holds them.

    Attributes:
        size: name of the argument with the number of rows.
        index: name of the argument with the page number, from 1.
        inside: name of the object argument that holds both, if there is one.
    """

    size: str
    index: str
    inside: str | None = None

    def arguments(self, size: int, index: int) -> dict[str, Any]:
        """The arguments of a tool call for one page."""
        page = {self.size: size, self.index: index}
        return {self.inside: page} if self.inside else page

    def window(self, request: Request) -> tuple[int, int]:
        """The (size, index) that a request asks for."""
        holder = getattr(request, self.inside) if self.inside else request
        return getattr(holder, self.size), getattr(holder, self.index)


PAGE_OBJECT = Pages("size", "index", inside="page")
PAGE_ARGUMENTS = Pages("page_size", "page_index")


@dataclass(frozen=True, kw_only=True, eq=False)
class Tool(Generic[RequestT, ResultT]):
    """A tool: an operation, or several of them behind one set of arguments.

    Attributes:
        name: as clients call it.
        title: shown in a client's list of tools.
        request: the model of its arguments.
        response: the model of its result.
        effect: what it changes; None if it only reads.
        pages: how its list is paged; None if the result is complete.
    """

    name: str = ""
    title: str
    request: type[RequestT]
    response: type[ResultT]
    effect: Effect | None = None
    pages: Pages | None = None

    @property
    def writes(self) -> bool:
        return self.effect is not None

    def __post_init__(self) -> None:
        if (self.pages is not None) != issubclass(self.response, Listing):
            raise TypeError(f"{self.name} must declare `pages` exactly if its response is a Listing.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation(Tool[RequestT, ResponseT]):
    """An operation of CAMS.

    A write goes through the guard, and is not sent again when its outcome is unknown.

    Attributes:
        action: its name in CAMS, e.g. "ListInstance". The tool has the same name in snake_case.
        example: arguments that work against the sandbox, for tests, the demo and the documentation.
        resource: the RAM resource to allow; "*" where the documentation names none.
    """

    action: str
    example: Mapping[str, Any]
    resource: str = "*"

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", snake_case(self.action))
        super().__post_init__()

    @property
    def ram_action(self) -> str:
        """The action to allow in a RAM policy."""
        return f"cams:{self.action}"


AnyTool = Tool[Any, Any]
AnyOperation = Operation[Any, Any]


def snake_case(action: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", action).lower()


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Where to see whether a write of unknown outcome was applied.

    Attributes:
        operation: lists what is written to, one row each.
        element: of the row; a write changes it.
        note: what else to know, as a clause, e.g. how long it takes.
    """

    operation: AnyOperation
    element: str
    note: str = ""

    def arguments(self, write: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments to look it up, given those of the write."""
        return {name: value for name, value in write.items() if name in self.operation.request.model_fields}

    def find(self, rows: Iterable[Mapping[str, Any]], argument: str, target_id: str) -> Any:
        """The element in the row whose `argument` is `target_id`; None if no row is."""
        return next((row.get(self.element) for row in rows if row.get(argument) == target_id), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What a write changes, in the words of those who approve, limit and audit it.

    Attributes:
        tick: the label of the box that a person ticks to approve it.
        unit: what it writes, in the singular; limits count them, and `Writable.counts` has them in the plural.
        target: what it writes to.
        target_argument: the argument that identifies the target. Limits per day count by it.
        evidence: where to see whether it was applied.
        look_ups: the operations that its question looks up.
    """

    tick: str
    unit: str
    target: str
    target_argument: str
    evidence: Evidence
    look_ups: tuple[AnyOperation, ...] = ()

    @property
    def units(self) -> str:
        return f"{self.unit}s"

    @property
    def how_to_check(self) -> str:
        """What to do about a write that may have been applied, as a clause."""
        note = f"; {self.evidence.note}" if self.evidence.note else ""
        shown = f"{self.evidence.element} of the {self.target} ({self.evidence.operation.name})"
        return f"compare {shown} with its value before the call{note}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the person who approves a write must know. Each item is one line of text, quoted and bounded where it
    repeats text from outside.

    Attributes:
        question: what is about to happen, as a question.
        warnings: what looks wrong or unusual.
        details: the target by name and id, counts, masked samples.
        consequences: what cannot be undone.
    """

    question: str
    warnings: tuple[str, ...] = field(default=())
    details: tuple[str, ...] = field(default=())
    consequences: tuple[str, ...] = field(default=())


def render(facts: Facts) -> str:
    """The facts as text, one line each."""
    warnings = (f"Careful: {warning}" for warning in facts.warnings)
    return "\n".join([facts.question, *warnings, *facts.details, *facts.consequences])


class Writable(Protocol):
    """One write as the guard sees it: the arguments of an operation that writes, or an upload."""

    def target(self) -> dict[str, str]:
        """The ids of what is written to, by argument, for the audit trail. Includes `Effect.target_argument`."""
        ...

    def counts(self) -> dict[str, int]:
        """How many `Effect.units`, and other counts for the audit trail."""
        ...

    def contents(self) -> int:
        """A digest of what is written, equal for lists with the same items; 0 for nothing."""
        ...

    def part_of(self) -> int:
        """The digest of the whole list that these contents are the rest of; 0 if they are all of it."""
        ...

    def parameters(self) -> dict[str, str]:
        """What an approval is bound to."""
        ...

    async def facts(self, look_up: LookUp, /) -> Facts:
        """What the person who approves it must know.

        Raises:
            NotConfirmed: the look-ups show that the write cannot work.
        """
        ...


class LookUp(Protocol):
    """Runs an operation that reads."""

    def __call__(self, operation: Operation[RequestT, ResponseT], request: RequestT, /) -> Awaitable[ResponseT]: ...
