"""Imports point one way, libraries stay where they belong, and no file has two subjects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cams_mcp

ROOT = Path(cams_mcp.__file__).parent
MOST_LINES = 300

LAYERS: list[set[str]] = [
    {"__init__", "errors", "redaction", "confirmation", "access"},
    {"fields"},
    {"endpoint", "patience", "telemetry", "models", "logs", "fairness", "auth", "documents", "verdicts", "envelope"},
    {"store", "threads", "policy", "operations", "credentials"},
    {"arguments", "schemas", "budget", "reading", "signing", "answers"},
    {"exchange"},
    {"client"},
    {"guard", "sandbox"},
    {"upload"},
    {"tools"},
    {"prompts", "resources"},
    {"guidance"},
    {"server", "settings", "catalog"},
    {"stdio", "http"},
    {"cli"},
    {"__main__"},
]
"""The parts of the package. Each imports only itself and what stands in the rows above it."""

LIBRARIES: dict[str, set[str]] = {
    "mcp": {"tools", "guidance", "server", "guard", "stdio", "http", "auth", "catalog", "cli.demo"},
    "mcp_types": {
        "tools",
        "prompts",
        "resources",
        "guidance",
        "server",
        "guard",
        "envelope",
        "stdio",
        "http",
        "catalog",
        "cli.demo",
    },
    "httpx": {"signing", "exchange", "client", "sandbox.transports", "cli.remote_checks", "auth.keys"},
    "starlette": {"http"},
    "uvicorn": {"http"},
    "jwt": {"auth"},
    "redis": {"store.redis_database"},
    "cryptography": {"auth.keys"},
    "click": {"cli"},
    "alibabacloud_credentials": {"credentials"},
    "phonenumbers": {"upload.people"},
    "python_calamine": {"upload.reading"},
    "rich": {"cli.upload"},
}
"""Which modules may import a library; a package stands for all of its modules."""

# By their names inside the package: "client", "cli.demo", "sandbox" for sandbox/__init__.py.
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
EACH_MODULE = pytest.mark.parametrize("module", MODULES)


def imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import statement, those inside functions too, but not those for type checkers only."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    inner = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        inner = iter(node.orelse)
    for child in inner:
        yield from imports(child)


def imported(source: str) -> set[str]:
    """The full names of what a module imports; of `from a import b`, both a and a.b."""
    names: set[str] = set()
    for node in imports(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        else:
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def parts_imported(source: str) -> set[str]:
    """The parts of this package that a module imports."""
    own = {name.removeprefix("cams_mcp.") for name in imported(source) if name.startswith("cams_mcp.")}
    parts = {name.partition(".")[0] for name in own}
    # `from cams_mcp import __version__` is an import of the package itself.
    return {part if part in {known.partition(".")[0] for known in MODULES} else "__init__" for part in parts}


def row_of(part: str) -> int:
    rows = [number for number, row in enumerate(LAYERS) if part in row]
    assert len(rows) == 1, f"{part} has no place in LAYERS, or more than one"
    return rows[0]


@EACH_MODULE
def test_imports_point_one_way(module: str) -> None:
    part = module.partition(".")[0]

    parts = parts_imported(MODULES[module].read_text(encoding="utf-8")) - {part}

    assert [other for other in sorted(parts) if row_of(other) >= row_of(part)] == []


def test_every_part_in_the_layers_exists() -> None:
    assert {part for row in LAYERS for part in row} <= {module.partition(".")[0] for module in MODULES}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {
        module
        for module, path in MODULES.items()
        if library in {name.partition(".")[0] for name in imported(path.read_text(encoding="utf-8"))}
    }

    assert users
    allowed = LIBRARIES[library]
    assert {module for module in users if module not in allowed and module.partition(".")[0] not in allowed} == set()


@EACH_MODULE
def test_no_file_is_so_long_that_it_has_two_subjects(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_imports_in_functions_count_and_those_for_type_checkers_do_not() -> None:
    source = """
from typing import TYPE_CHECKING
import cams_mcp.errors as e
from cams_mcp import __version__, models
if TYPE_CHECKING:
    from cams_mcp.cli import main
else:
    from cams_mcp.store import Store
def f():
    with g():
        from cams_mcp.sandbox.faults import Fault
"""
    assert parts_imported(source) == {"errors", "__init__", "models", "store", "sandbox"}
