"""Base classes of requests and responses, and the types they share.

A request model reads a tool's arguments and writes wire parameters. A response model reads the wire and writes the
tool's result. Both accept either spelling of a name (`cust_space_id`, `CustSpaceId`). The wire uses PascalCase, and
results use snake_case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import AliasChoices, AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_pascal

from cams_mcp.fields import BOUNDED, NESTED

Outcome = Literal["sent", "refused", "unknown"]
"""How a write ended."""

MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 20


def _either_spelling(name: str) -> AliasChoices:
    return AliasChoices(name, to_pascal(name))


_NAMES = AliasGenerator(validation_alias=_either_spelling, serialization_alias=to_pascal)


def _none_as_empty(value: object) -> object:
    return [] if value is None else value


_WORDS = frozenset({"message", "access_denied_detail"})
_NOTHING = frozenset({"", "OK", "None", "NONE", "none", "NULL", "null", "无", "{}"})
"""What CAMS puts into these elements of a success when it has nothing to report, by its documentation's samples."""

Rows = BeforeValidator(_none_as_empty)
"""Marks a list of rows. CAMS may return null for an empty list."""


class Strict(BaseModel):
    """Arguments. Unknown names are errors, and errors never repeat values, which may be people's addresses."""

    model_config = ConfigDict(
        alias_generator=_NAMES, extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_what_is_left_out(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        given = cast("Mapping[str, Any]", data)
        empty = {name for name, value in given.items() if cls._is_left_out(value)}
        if not empty:
            return given
        left_out = {
            spelling
            for name, field in cls.model_fields.items()
            for spelling in (name, to_pascal(name))
            # Keep an empty string for a required argument, so that it fails validation. Null counts as missing.
            if spelling in empty and (given[spelling] is None or not field.is_required())
        }
        return {name: value for name, value in given.items() if name not in left_out}

    @classmethod
    def _is_left_out(cls, value: object) -> bool:
        """Assistants send null for arguments that they omit."""
        return value is None


class Page(Strict):
    """Paging for operations that take a `Page` object."""

    size: Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE, description="Rows per page."), BOUNDED] = DEFAULT_PAGE_SIZE
    index: Annotated[int, Field(ge=1, description="Page number."), BOUNDED] = 1


PageArgument = Annotated[Page, NESTED, Field(description="Paging.")]


class Request(Strict):
    """The arguments of one operation. Assistants read its docstring as the tool's description."""

    in_body: ClassVar[frozenset[str]] = frozenset()
    """Wire names of the parameters that belong in the form body instead of the query."""

    @classmethod
    def _is_left_out(cls, value: object) -> bool:
        """Some clients fill in every argument, with an empty string for omitted ones."""
        return value is None or (isinstance(value, str) and not value.strip())

    def parameters(self) -> dict[str, str]:
        """By wire name, as text: `true`/`false` (unlike the official SDK), nested values as JSON, no absent values."""
        dumped = self.model_dump(by_alias=True, exclude_none=True)
        return {name: _as_text(value) for name, value in dumped.items()}


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Tolerant(BaseModel):
    """Anything CAMS returns. Unknown elements are dropped, missing and null ones become None, ids may be numbers."""

    model_config = ConfigDict(
        alias_generator=_NAMES, extra="ignore", coerce_numbers_to_str=True, hide_input_in_errors=True, defer_build=True
    )


class Result(Tolerant):
    """What a tool returns."""

    @property
    def ledger_outcome(self) -> Outcome:
        """The outcome of a write that returned this result, for the ledger."""
        return "sent"

    @property
    def units_written(self) -> int | None:
        """How many units a write that returned this result wrote or may have written; None for all of them."""
        return None

    @property
    def tool_status(self) -> str:
        """The status of such a write for an assistant: sent, or stopped before the end."""
        return "sent"

    def to_content(self) -> dict[str, Any]:
        """The structured result of the tool: snake_case, without nulls."""
        return self.model_dump(by_alias=False, exclude_none=True)


class Response(Result):
    """The elements that every response from CAMS has."""

    request_id: Annotated[str | None, Field(description="For support.")] = None
    success: Annotated[bool | None, Field(description="Accepted by CAMS.")] = None
    code: Annotated[str | None, Field(description="OK, or an error code.")] = None
    message: Annotated[str | None, Field(description="CAMS's message.")] = None
    access_denied_detail: Annotated[str | None, Field(description="Why access was denied.")] = None

    @property
    def has_succeeded(self) -> bool:
        """`Success` decides. `Code` decides only if `Success` is absent: documented successes carry other codes."""
        return self.code == "OK" if self.success is None else self.success

    def to_content(self) -> dict[str, Any]:
        """Like `Result.to_content`, without envelope elements that carry no information."""
        result = super().to_content()
        return {name: value for name, value in result.items() if name not in _WORDS or value not in _NOTHING}


class Listing(Response):
    """A page of rows. Subclasses add `data`, the rows."""

    total: Annotated[int | None, Field(description="Rows on all pages.")] = None
    has_more: Annotated[bool, Field(description="More pages follow.")] = False
    next_index: Annotated[int | None, Field(description="Index of the next page.")] = None
    next_size: Annotated[int | None, Field(description="Its size, if it must differ.")] = None
    note: Annotated[str | None, Field(description="How to get omitted rows.")] = None

    def paged(self, size: int, index: int) -> Self:
        """Fill in what a caller needs to continue: whether more rows follow, and at which index.

        Gaps or a limit of the service can make pages shorter than requested. Neither ends the listing early: a short
        page, or rows beyond the expected end, mean that more may follow.
        """
        rows = len(cast("list[object]", getattr(self, "data", [])))
        if self.total is None:
            more = rows == size
        else:
            expected = min(size, max(self.total - (index - 1) * size, 0))
            short = 0 < rows < expected
            more = index * (size if rows <= expected else rows) < self.total or short
        return self.model_copy(update={"has_more": more, "next_index": index + 1 if more else None})


def hoist(data: Mapping[str, Any], element: str) -> dict[str, Any]:
    """Lift the members of the object `data[element]` one level up, keeping the wire's spelling."""
    inner = data.get(element)
    if not isinstance(inner, Mapping):
        return dict(data)
    return {**{key: value for key, value in data.items() if key != element}, **cast("Mapping[str, Any]", inner)}
