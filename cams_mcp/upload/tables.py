"""A file of rows, whatever its form: CSV, TSV, JSON Lines, XLSX; read row by row.

Found out by looking: encoding (UTF-8, UTF-16 with a mark, GB18030), delimiter, header.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from cams_mcp.errors import FileRefused

Row = tuple[int, Sequence[str]]
"""The line (from 1) a row begins at, and its cells."""

BLOCK = 1 << 20
DELIMITERS = ",;\t|"
LONGEST_CELL = 64 * 1024
MOST_MEMBERS = 1_000
_JSON_NAMES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file, not yet read. `first` is the first row, which `rows` gives again."""

    form: str
    encoding: str
    sha256: str
    first: Sequence[str]
    rows: Iterator[Row]


def open_table(name: str, file: BinaryIO) -> Table:
    """Look at a file and prepare to read it.

    Raises:
        FileRefused: empty, of a form that is not supported, or broken; also while rows are read.
    """
    lower = name.lower()
    if lower.endswith(".xlsx"):
        sha256, _ = _survey(file, is_text=False)
        return _with_first("xlsx", "", sha256, _xlsx_rows(file))
    if lower.endswith((".xls", ".ods", ".numbers", ".zip", ".gz")):
        raise FileRefused("this form of file is not supported", hint="Save it as CSV, TSV, JSON Lines or XLSX.")
    sha256, encoding = _survey(file)
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    try:
        if lower.endswith(_JSON_NAMES):
            return _with_first("jsonl", encoding, sha256, _json_rows(text), text)
        delimiter = _delimiter(text, "\t" if lower.endswith(".tsv") else ",")
        form = "tsv" if delimiter == "\t" else "csv"
        return _with_first(form, encoding, sha256, _csv_rows(text, delimiter), text)
    except BaseException:
        _give_back(text)
        raise


def _give_back(text: io.TextIOWrapper | None) -> None:
    """The file is its opener's to close."""
    if text is not None:
        with suppress(ValueError):  # it is closed or given back already
            text.detach()


def _with_first(
    form: str, encoding: str, sha256: str, rows: Iterator[Row], text: io.TextIOWrapper | None = None
) -> Table:
    first = next(rows, None)
    if first is None:
        raise FileRefused("the file has no rows")

    def again() -> Iterator[Row]:
        try:
            yield first
            yield from rows
        finally:
            _give_back(text)

    return Table(form, encoding, sha256, first[1], again())


def _survey(file: BinaryIO, *, is_text: bool = True) -> tuple[str, str]:
    """The SHA-256 of the whole file, and its encoding if it is a text.

    Raises:
        FileRefused: what cannot be lines of text.
    """
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    head = file.read(BLOCK)
    is_utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    is_utf8, block = is_text and not is_utf16, head
    while block:
        digest.update(block)
        if is_text and len(block) == BLOCK and b"\n" not in block and b"\r" not in block:
            # Rows are read whole.
            raise FileRefused(f"the file has a line longer than {BLOCK:,} bytes", hint="Is it a table with rows?")
        if is_text and not is_utf16 and b"\0" in block:
            # UTF-16 without its mark reads as UTF-8 with a NUL before every letter.
            raise FileRefused("the file has NUL bytes, so it is not text in UTF-8 or GB18030", hint="Save it as UTF-8.")
        if is_utf8:
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                is_utf8 = False
        block = file.read(BLOCK)
    if is_utf8:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            is_utf8 = False
    file.seek(0)
    encoding = "utf-16" if is_utf16 else "utf-8-sig" if is_utf8 else "gb18030"
    return digest.hexdigest(), encoding


def _delimiter(text: io.TextIOWrapper, usual: str) -> str:
    """The delimiter that is most frequent in the first line, outside of quotation marks."""
    try:
        line = text.readline(LONGEST_CELL)
        while line and not line.strip():
            line = text.readline(LONGEST_CELL)
    except UnicodeError:
        raise _not_text() from None
    text.seek(0)
    bare = re.sub(r'"[^"]*("|$)', "", line)
    return max(DELIMITERS, key=lambda each: (bare.count(each), each == usual))


def _not_text() -> FileRefused:
    return FileRefused("the file is not text in UTF-8, UTF-16 or GB18030", hint="Save it as UTF-8.")


def _csv_rows(text: io.TextIOWrapper, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CELL)
    # Strict: a quotation mark that is never closed must not swallow rows.
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error:
        raise FileRefused(
            f"the row at line {line} is not valid CSV (a quotation mark in the wrong place or never closed)",
            hint="Mend that row, or write quotation marks inside of cells twice.",
        ) from None
    except UnicodeError:
        raise _not_text() from None


def _json_rows(text: io.TextIOWrapper) -> Iterator[Row]:
    """JSON Lines: the first row is the names of all members of all objects; the other rows are their values."""
    names: dict[str, None] = {}
    for _, members in _json_objects(text):
        if not names.keys() >= members.keys():
            names |= dict.fromkeys(members)
        if len(names) > MOST_MEMBERS:
            raise FileRefused(f"the objects have more than {MOST_MEMBERS:,} different members")
    if not names:
        return
    yield 0, list(names)
    text.seek(0)
    for line, members in _json_objects(text):
        yield line, [_cell(members.get(name)) for name in names]


def _json_objects(text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        for line, record in enumerate(text, start=1):
            if not record.strip():
                continue
            try:
                value: Any = json.loads(record)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict):
                raise FileRefused(f"line {line} is not a JSON object", hint="Write one object a line.")
            yield line, cast("dict[str, Any]", value)
    except UnicodeError:
        raise _not_text() from None


def _xlsx_rows(file: BinaryIO) -> Iterator[Row]:
    """The rows of the first sheet. The format keeps texts apart from cells, so the sheet is unpacked in memory."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook  # an extra, seldom needed
    except ImportError:
        raise FileRefused(
            "XLSX needs the extra 'xlsx'", hint="Install cams-mcp[xlsx], or save the file as CSV."
        ) from None
    try:
        sheet = CalamineWorkbook.from_filelike(file).get_sheet_by_index(0)
        for line, cells in enumerate(sheet.iter_rows(), start=1):
            texts = [_cell(cell) for cell in cells]
            if any(texts):
                yield line, texts
    except CalamineError:
        raise FileRefused("the workbook cannot be read (broken, or protected by a password)") from None


def _cell(value: Any) -> str:
    """A cell as text; a number that is whole loses its fraction, for spreadsheets keep phones as numbers."""
    if value is None or isinstance(value, bool | list | dict):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
