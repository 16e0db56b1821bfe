"""How an option is declared: one dataclass field with its default, its help and its bounds.

The command line, the tables of the docs and server.json are made from these fields, and so are the settings that the
bundle shows.
Flag and environment variable follow from the field's name: `upload_dirs` is --upload-dir and CAMS_MCP_UPLOAD_DIR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal, get_args, get_origin

Group = Literal["connection", "guard", "state", "tools", "http", "logging"]

GROUPS: dict[Group, str] = {
    "connection": "Connection to CAMS",
    "guard": "Writes",
    "state": "State",
    "tools": "Files and results",
    "http": "Transport and HTTP",
    "logging": "Logging",
}
"""The title of each group, in the order in which they are shown."""

PathKind = Literal["file", "folder", "existing folder"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option.

    Attributes:
        name: the field's name.
        type: the field's type. A `Literal` lists the choices; a tuple can be given several times.
        group: what it belongs to. A server over stdio has no use for the group "http".
        least, most, more_than: bounds of a number.
        path: what a path must be.
        metavar: the form of a value, if its type does not show it.
        secret: never show the value.
    """

    name: str
    type: Any
    default: Any
    group: Group
    help: str
    least: float | None = None
    most: float | None = None
    more_than: float | None = None
    path: PathKind | None = None
    metavar: str | None = None
    secret: bool = False

    @property
    def flag(self) -> str:
        name = self.name.removesuffix("s") if self.repeatable else self.name
        return f"--{name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        return f"CAMS_MCP_{self.flag.removeprefix('--').replace('-', '_').upper()}"

    @property
    def repeatable(self) -> bool:
        return get_origin(self.type) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def description(self) -> str:
        """The help for people at a command line."""
        caution = " Prefer the environment variable: other users can see arguments." if self.secret else ""
        return f"{self.help}{' Repeatable.' if self.repeatable else ''}{caution}"

    @property
    def value_type(self) -> type:
        """The type of one value: of `float | None` and of `tuple[float, ...]` it is float."""
        if self.choices:
            return str
        return get_args(self.type)[0] if get_args(self.type) else self.type


def option(default: Any, help: str, *, group: Group, secret: bool = False, **more: Any) -> Any:  # noqa: A002
    """Declare a field; `more` is as in `Option`. A secret stays out of the dataclass's repr."""
    metadata = {"group": group, "help": help, "secret": secret, **more}
    return field(default=default, repr=not secret, metadata=metadata)


def options_of(settings: type[Any]) -> dict[str, Option]:
    """The options that a dataclass declares, by the names of its fields."""
    return {
        each.name: Option(name=each.name, type=each.type, default=each.default, **each.metadata)
        for each in fields(settings)
    }


Declare = Callable[..., Any]

connection: Declare = partial(option, group="connection")
guard: Declare = partial(option, group="guard")
state: Declare = partial(option, group="state")
tools: Declare = partial(option, group="tools")
http: Declare = partial(option, group="http")
logging: Declare = partial(option, group="logging")
