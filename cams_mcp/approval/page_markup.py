"""HTML made of elements. Everything that is not `Markup` is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = frozenset({"meta", "link", "input"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | bool) -> Markup:
    """An element. `class_` and `data_slot` become `class` and `data-slot`; an attribute that is False is left out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not False}
    start = "".join(
        f" {key}" if value is True else f' {key}="{html.escape(str(value))}"' for key, value in given.items()
    )
    return Markup(f"<{name}{start}>" if name in _VOID else f"<{name}{start}>{joined(children)}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))
