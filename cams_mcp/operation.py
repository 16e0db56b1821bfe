"""`Operation`: declares a CAMS operation. Its tool, guard, documentation and tests follow from the declaration."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from cams_mcp.facts import Description, Fact, Language
from cams_mcp.models import Listing, Outcome, Request, Response, Result

RequestT = TypeVar("RequestT", bound=Request)
ResponseT = TypeVar("ResponseT", bound=Response)
ResultT = TypeVar("ResultT", bound=Result)


@dataclass(frozen=True, slots=True)
class Pages:
    """How an operation takes paging arguments: as two arguments, or as an object that holds both.

    Attributes:
        size: name of the argument for the number of rows.
        index: name of the argument for the page number, from 1.
        inside: name of the object argument that holds both, or None.
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


EARLIER = "earlier"
"""The key of the fact, added by the guard, that the same contents went to the same target before."""

RESERVED = frozenset({"status", "approval_id", "preview", "confirmation_token"})
"""What the result of every write contains besides the elements of CAMS."""

PAGE_OBJECT = Pages("size", "index", inside="page")
PAGE_ARGUMENTS = Pages("page_size", "page_index")


@dataclass(frozen=True, kw_only=True, eq=False)
class Tool(Generic[RequestT, ResultT]):
    """A tool: an operation, or several of them behind one set of arguments.

    Attributes:
        name: the name that clients call.
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
            raise TypeError(f"{self.name} must declare `pages` if and only if its response is a Listing.")
        if self.effect is not None and (taken := RESERVED & self.response.model_fields.keys()):
            raise TypeError(f"{self.name} must rename the elements {sorted(taken)} (validation_alias): tools use them.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation(Tool[RequestT, ResponseT]):
    """A CAMS operation.

    A write passes through the guard and is not resent when its outcome is unknown.

    Attributes:
        action: its name in CAMS, e.g. "ListInstance". The tool has the same name in snake_case.
        example: arguments that work against the sandbox, for tests, the demo and the documentation.
        resource: the RAM resource to allow; "*" if the documentation names none.
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
    """Where to check whether a write with an unknown outcome was applied.

    Attributes:
        operation: lists the possible targets, one per row.
        element: the element of the row that a write changes.
        note: further advice, as a clause, e.g. how long the change takes to show.
    """

    operation: AnyOperation
    element: str
    note: str = ""

    def arguments(self, write: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the look-up, taken from those of the write."""
        return {name: value for name, value in write.items() if name in self.operation.request.model_fields}

    def find(self, rows: Iterable[Mapping[str, Any]], argument: str, target_id: str) -> Any:
        """The element in the row whose `argument` is `target_id`; None if there is no such row."""
        return next((row.get(self.element) for row in rows if row.get(argument) == target_id), None)


_WARNING: Mapping[Language, str] = {"en": "Warning: ", "zh": "警告："}


@dataclass(frozen=True, kw_only=True, slots=True)
class Chinese:
    """The words of an effect in Chinese. See `Effect` and `Evidence` for their meaning."""

    target: str
    contents: str = "请求"
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What a write changes, in terms that the people who approve, limit and audit it understand.

    Attributes:
        describe: describes the facts that a `Writable` states, in one language.
        unit: what it writes, in the singular. Limits count units, and `Writable.counts` has them in the plural.
        target: what it writes to.
        target_argument: the argument that identifies the target. Daily limits apply to each target.
        contents: what it sends, in the singular: two writes with the same contents are a repetition.
        chinese: the same words in Chinese.
        evidence: where to check whether it was applied; None if no operation shows it.
        look_ups: the operations that its question calls.
    """

    describe: Callable[[Sequence[Fact], Language], Description]
    unit: str
    target: str
    target_argument: str
    contents: str = "request"
    chinese: Chinese
    evidence: Evidence | None = None
    look_ups: tuple[AnyOperation, ...] = ()

    @property
    def units(self) -> str:
        return f"{self.unit}s"

    def amount(self, number: int) -> str:
        """A number of units, in words."""
        return f"{number:,} {self.unit if number == 1 else self.units}"

    @property
    def how_to_check(self) -> str:
        """How to check whether a write was applied, as a clause."""
        return self.how_to_check_in("en")

    def how_to_check_in(self, language: Language) -> str:
        """How to check whether a write was applied, as a clause in a language."""
        if language == "zh":
            return self._how_to_check_in_chinese()
        if self.evidence is None:
            return f"check the {self.target} in the CAMS console"
        note = f"; {self.evidence.note}" if self.evidence.note else ""
        shown = f"{self.evidence.element} of the {self.target} ({self.evidence.operation.name})"
        return f"compare {shown} with its value before the call{note}"

    def _how_to_check_in_chinese(self) -> str:
        words = self.chinese
        if self.evidence is None:
            return f"请在 CAMS 控制台查看该{words.target}"
        note = f"；{words.note}" if words.note else ""
        shown = f"该{words.target}的 {self.evidence.element}（{self.evidence.operation.name}）"
        return f"请将{shown}与调用前的值进行比较{note}"

    def description(self, facts: Sequence[Fact], language: Language) -> Description:
        """The description of a write. If the same contents were sent before, the first warning says so."""
        described = self.describe([fact for fact in facts if fact.key != EARLIER], language)
        earlier = [self.earlier_in(language, **fact.value) for fact in facts if fact.key == EARLIER]
        return replace(described, warnings=(*earlier, *described.warnings), warning=_WARNING[language])

    def earlier_in(self, language: Language, *, started: float, outcome: Outcome) -> str:
        """A sentence about an earlier write of the same contents to the same target.

        Args:
            language: of the sentence.
            started: when it was sent, seconds since 1970, UTC.
            outcome: how it ended. If that is unknown, the sentence tells how to find out.
        """
        when = dt.datetime.fromtimestamp(started, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        if language == "zh":
            sent = f"相同的{self.chinese.contents}已于 {when} 发送至该{self.chinese.target}"
            unknown = f"{sent}，但不确定是否已在 CAMS 中生效。如需确认，{self.how_to_check_in(language)}。"
            return f"{sent}。" if outcome == "sent" else unknown
        if outcome == "sent":
            return f"the same {self.contents} was already sent to this {self.target} on {when}."
        return (
            f"the same {self.contents} was sent to this {self.target} on {when}, but it is unknown whether CAMS "
            f"applied it. To find out, {self.how_to_check}."
        )


class Writable(Protocol):
    """A write as the guard sees it: the arguments of an operation that writes, or an upload."""

    def target(self) -> dict[str, str]:
        """The ids of the target, by argument, for the audit trail. Includes `Effect.target_argument`."""
        ...

    def counts(self) -> dict[str, int]:
        """The number of `Effect.units`, and other counts for the audit trail."""
        ...

    def contents(self) -> int:
        """A digest of the items to write, equal for lists with the same items; 0 if there are none."""
        ...

    def part_of(self) -> int:
        """The digest of the whole list, if these contents are only the rest of it; otherwise 0."""
        ...

    def parameters(self) -> dict[str, str]:
        """The parameters that an approval is bound to."""
        ...

    async def facts(self, look_up: LookUp, /) -> tuple[Fact, ...]:
        """What the person who approves the write must know, for `Effect.describe`. The store keeps it for some minutes.

        Raises:
            NotConfirmed: the look-ups show that the write cannot work.
        """
        ...


class LookUp(Protocol):
    """Runs a read operation."""

    def __call__(self, operation: Operation[RequestT, ResponseT], request: RequestT, /) -> Awaitable[ResponseT]: ...
