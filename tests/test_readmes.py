"""The two READMEs say the same."""

from __future__ import annotations

import re

from generate import CHINESE, CHINESE_README, README

ENGLISH_TEXT, CHINESE_TEXT = (path.read_text(encoding="utf-8") for path in (README, CHINESE_README))
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
FROM_CODE = re.compile(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", re.DOTALL)


def words(text: str) -> str:
    """What was written by hand, without code blocks and generated parts."""
    return FROM_CODE.sub("", FENCED.sub("", text))


def test_they_have_the_same_headings_in_number_and_level() -> None:
    levels = [re.findall(r"^(#+) ", words(text), re.MULTILINE) for text in (ENGLISH_TEXT, CHINESE_TEXT)]

    assert len(levels[0]) > 5
    assert levels[0] == levels[1]


def test_they_have_the_same_code_blocks() -> None:
    assert FENCED.findall(ENGLISH_TEXT)
    assert FENCED.findall(CHINESE_TEXT) == FENCED.findall(ENGLISH_TEXT)


def test_they_name_the_same_commands_options_and_files_in_each_section() -> None:
    sections = [re.split(r"^#+ .*$", words(text), flags=re.MULTILINE) for text in (ENGLISH_TEXT, CHINESE_TEXT)]

    for ours, theirs in zip(*sections, strict=True):
        named = [set(re.findall(r"`([^`\n]+)`", section)) for section in (ours, theirs)]
        assert named[0] == named[1]
        links = [re.findall(r"\]\(([^)]+)\)", section) for section in (ours, theirs)]
        each_other = {"README.md", "README.zh-CN.md"}
        assert sorted({*links[0]} - each_other) == sorted({*links[1]} - each_other)


def test_they_have_the_same_rows_in_tables_written_by_hand() -> None:
    rows = [len(re.findall(r"^\|", words(text), re.MULTILINE)) for text in (ENGLISH_TEXT, CHINESE_TEXT)]

    assert rows[0] == rows[1] > 2


def test_the_headings_of_generated_tables_are_chinese() -> None:
    heads = re.findall(r"^(\|.*)\n\| --- ", CHINESE_TEXT, re.MULTILINE)

    assert heads
    assert [head for head in heads if head.isascii()] == []
    assert [word for word in CHINESE.values() if word not in CHINESE_TEXT] == []


def test_the_chinese_readme_is_chinese() -> None:
    paragraphs = [part for part in re.split(r"\n\n+", words(CHINESE_TEXT)) if len(part) > 30]

    assert [part for part in paragraphs if not re.search("[\u4e00-\u9fff]", part)] == []
