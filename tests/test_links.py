"""What the documentation points to exists: files, headings, code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from generate import APPROVAL_DOC, ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*(ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md")), *DOCS]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
IN_PROJECT = re.compile(r"`((?:cams_mcp|tests|docs|deploy|benchmarks|packaging|\.ci)/[\w./*-]*)`")


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them; of headings with the same text, only the first."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def problem(page: Path, link: str) -> str | None:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return f"{link}: no such file"
    if anchor and anchor not in anchors(target):
        return f"{link}: no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    links = [link for link in LINK.findall(prose(page)) if not re.match(r"[a-z]+:", link)]

    assert [found for link in links if (found := problem(page, link))] == []


def test_a_broken_link_is_found() -> None:
    page = ROOT / "docs" / "options.md"

    assert problem(page, "missing.md") == "missing.md: no such file"
    assert problem(page, "approval.md#missing") == "approval.md#missing: no such heading"
    assert problem(page, "approval.md#how-writes-are-approved") is None
    assert problem(page, "#credentials") is None


def test_the_readme_links_every_document() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall(prose(ROOT / "README.md"))}

    assert {f"docs/{page.name}" for page in DOCS} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    paths = IN_PROJECT.findall(page.read_text(encoding="utf-8"))

    assert [path for path in paths if not any(ROOT.glob(path.rstrip("/")))] == []


def test_the_code_that_keeps_a_promise_exists() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "cams_mcp").rglob("*.py"))
    named = re.findall(r"`([A-Z][A-Za-z]+)\.(\w+)`", APPROVAL_DOC.read_text(encoding="utf-8"))

    assert len(named) > 2
    for owner, member in named:
        assert re.search(rf"^class {owner}\b", sources, re.MULTILINE), owner
        assert re.search(rf"^    (async )?def {member}\b", sources, re.MULTILINE), member
