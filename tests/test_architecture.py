"""Every module has a room, every room a floor, and imports point down. No file has two subjects."""

from __future__ import annotations

import ast
import functools
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import cams_mcp

ROOT = Path(cams_mcp.__file__).parent
MOST_LINES = 300

GROUND = {
    "__init__",
    "access",
    "confirmation",
    "deadlines",
    "errors",
    "facts",
    "fields",
    "hosts",
    "languages",
    "logs",
    "models",
    "operation",
    "redaction",
    "threads",
}
"""Modules at the top of the package that every room may import. Together they are the room "ground"."""

FLOORS: tuple[set[str], ...] = (
    {"ground"},
    {"settings"},
    {"operations"},
    {"api", "store"},
    {"guard", "sandbox"},
    {"approval", "upload"},
    {"tools"},
    {"server"},
    {"app", "lazy_toolbox"},
    {"http"},
    {"cli"},
    {"__main__"},
)
"""The rooms, from the ground up. A room imports itself and the rooms on lower floors."""

KNOW_NO_OPERATION = {"ground", "api", "store", "guard", "approval", "tools", "server"}
_OF_ONE_WRITE = re.compile(r"\bcustom_audience|AddCustomAudience|\btoken_total|\baudiences?\b(?!=)|\bMeta\b")
_STORED_NAMES = re.compile(r"--allow-audience|audience:ID|\baudience (TEXT|=)|audience, |[\"(']audience")
"""An option, and the columns and keys of records that earlier versions wrote."""

LIBRARIES: dict[str, set[str]] = {
    "mcp": {"server", "http", "cli.demo"},
    "mcp_types": {"approval.card", "tools", "server", "http", "cli.demo"},
    "httpx": {"api", "sandbox.transport", "cli.remote_checks", "http.auth.keys"},
    "starlette": {"approval", "http"},
    "uvicorn": {"approval.page_server", "http"},
    "jwt": {"http.auth"},
    "redis": {"store.redis_database"},
    "cryptography": {"http.auth.keys"},
    "click": {"cli"},
    "alibabacloud_credentials": {"api.credentials"},
    "phonenumbers": {"upload.people"},
    "python_calamine": {"upload.tables"},
    "rich": {"cli.upload"},
}
"""Which rooms or modules may import a library."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
"""By name inside the package: "models", "cli.demo", "sandbox" for sandbox/__init__.py."""

EACH_MODULE = pytest.mark.parametrize("module", MODULES)


@functools.cache
def imported(source: str) -> frozenset[str]:
    """The full names of all imports: in functions and under TYPE_CHECKING too. `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def modules_imported(module: str) -> set[str]:
    """The other modules of this package that a module imports."""
    own = {name.removeprefix("cams_mcp.") for name in imported(source_of(module)) if name.startswith("cams_mcp.")}
    return {name for name in own if name in MODULES} - {module}


def source_of(module: str) -> str:
    return MODULES[module].read_text(encoding="utf-8")


def room_of(module: str) -> str:
    return "ground" if module in GROUND else module.partition(".")[0]


def floor_of(module: str) -> int:
    floors = [number for number, rooms in enumerate(FLOORS) if room_of(module) in rooms]
    assert len(floors) == 1, f"{room_of(module)} has no floor in FLOORS, or more than one"
    return floors[0]


@EACH_MODULE
def test_imports_point_down(module: str) -> None:
    others = {other for other in modules_imported(module) if room_of(other) != room_of(module)}

    assert sorted(other for other in others if floor_of(other) >= floor_of(module)) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    # A package's __init__ imports its own modules to present them; that is not an arrow of the design.
    graph = {
        module: {other for other in modules_imported(module) if not is_face_of(other, module)} for module in MODULES
    }

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def is_face_of(package: str, module: str) -> bool:
    return module.startswith(f"{package}.")


def test_every_room_on_the_floors_exists() -> None:
    assert {room for rooms in FLOORS for room in rooms} == {room_of(module) for module in MODULES}
    assert set(MODULES) >= GROUND - {"__init__"}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {
        module for module in MODULES if library in {name.partition(".")[0] for name in imported(source_of(module))}
    }

    assert users
    allowed = LIBRARIES[library]
    assert {user for user in users if not any(f"{user}.".startswith(f"{place}.") for place in allowed)} == set()


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) in KNOW_NO_OPERATION])
def test_the_core_knows_no_write_by_name(module: str) -> None:
    lines = [line for line in source_of(module).splitlines() if _OF_ONE_WRITE.search(line)]

    assert [line for line in lines if not _STORED_NAMES.search(line)] == []


@EACH_MODULE
def test_no_file_is_so_long_that_it_has_two_subjects(module: str) -> None:
    assert len(source_of(module).splitlines()) <= MOST_LINES


def test_imports_in_functions_and_for_type_checkers_count() -> None:
    source = """
from typing import TYPE_CHECKING
import cams_mcp.errors as e
if TYPE_CHECKING:
    from cams_mcp.cli import main
def f():
    with g():
        from cams_mcp.sandbox.faults import Fault
"""
    assert imported(source) == {
        "typing",
        "typing.TYPE_CHECKING",
        "cams_mcp.errors",
        "cams_mcp.cli",
        "cams_mcp.cli.main",
        "cams_mcp.sandbox.faults",
        "cams_mcp.sandbox.faults.Fault",
    }
