"""Read CSV, TSV, JSON Lines and XLSX files row by row.

The encoding (UTF-8, UTF-16 with a byte order mark, GB18030) and the delimiter are detected.
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
"""The line where a row starts, counted from 1, and its cells."""

BLOCK_BYTES = 1 << 20
DELIMITERS = ",;\t|"
MAX_CELL_LENGTH = 64 * 1024
MAX_MEMBERS = 1_000
_JSON_NAMES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file, not yet read. `first` is the first row, which `rows` yields again."""

    form: str
    encoding: str
    sha256: str
    first: Sequence[str]
    rows: Iterator[Row]


def open_table(name: str, file: BinaryIO) -> Table:
    """Detect a file's format and prepare to read it.

    Raises:
        FileRefused: the file is empty, invalid, or in an unsupported format. Reading rows may also raise this.
    """
    lower = name.lower()
    if lower.endswith(".xlsx"):
        sha256, _ = _hash_and_encoding(file, is_text=False)
        return _make_table("xlsx", "", sha256, _xlsx_rows(file))
    if lower.endswith((".xls", ".ods", ".numbers", ".zip", ".gz")):
        raise FileRefused("this file format is not supported", hint="Save it as CSV, TSV, JSON Lines or XLSX.")
    sha256, encoding = _hash_and_encoding(file)
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    try:
        if lower.endswith(_JSON_NAMES):
            return _make_table("jsonl", encoding, sha256, _json_rows(text), text)
        delimiter = _detect_delimiter(text, "\t" if lower.endswith(".tsv") else ",")
        form = "tsv" if delimiter == "\t" else "csv"
        return _make_table(form, encoding, sha256, _csv_rows(text, delimiter), text)
    except BaseException:
        _detach(text)
        raise


def _detach(text: io.TextIOWrapper | None) -> None:
    """Release the file without closing it: the code that opened it closes it."""
    if text is not None:
        with suppress(ValueError):  # already closed or detached
            text.detach()


def _make_table(
    form: str, encoding: str, sha256: str, rows: Iterator[Row], text: io.TextIOWrapper | None = None
) -> Table:
    first = next(rows, None)
    if first is None:
        raise FileRefused("the file has no rows")

    def all_rows() -> Iterator[Row]:
        try:
            yield first
            yield from rows
        finally:
            _detach(text)

    return Table(form, encoding, sha256, first[1], all_rows())


def _hash_and_encoding(file: BinaryIO, *, is_text: bool = True) -> tuple[str, str]:
    """The SHA-256 of the whole file, and its encoding if it is text.

    Raises:
        FileRefused: the file is not lines of text.
    """
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    head = file.read(BLOCK_BYTES)
    is_utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    is_utf8, block = is_text and not is_utf16, head
    while block:
        digest.update(block)
        if is_text and len(block) == BLOCK_BYTES and b"\n" not in block and b"\r" not in block:
            # Readers hold a whole row in memory, so bound the length of a line.
            raise FileRefused(
                f"the file has a line longer than {BLOCK_BYTES:,} bytes",
                hint="Check that the file is a table with one row per line.",
            )
        if is_text and not is_utf16 and b"\0" in block:
            # UTF-16 without a byte order mark decodes as UTF-8 with a NUL next to every ASCII letter.
            raise FileRefused(
                "the file contains NUL bytes, so it is not text in UTF-8 or GB18030", hint="Save it as UTF-8."
            )
        if is_utf8:
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                is_utf8 = False
        block = file.read(BLOCK_BYTES)
    if is_utf8:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            is_utf8 = False
    file.seek(0)
    encoding = "utf-16" if is_utf16 else "utf-8-sig" if is_utf8 else "gb18030"
    return digest.hexdigest(), encoding


def _detect_delimiter(text: io.TextIOWrapper, usual: str) -> str:
    """The most frequent delimiter in the first non-empty line, outside quotation marks."""
    try:
        line = text.readline(MAX_CELL_LENGTH)
        while line and not line.strip():
            line = text.readline(MAX_CELL_LENGTH)
    except UnicodeError:
        raise _not_text() from None
    text.seek(0)
    bare = re.sub(r'"[^"]*("|$)', "", line)
    return max(DELIMITERS, key=lambda each: (bare.count(each), each == usual))


def _not_text() -> FileRefused:
    return FileRefused("the file is not text in UTF-8, UTF-16 or GB18030", hint="Save it as UTF-8.")


def _csv_rows(text: io.TextIOWrapper, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(MAX_CELL_LENGTH)
    # Strict mode, so that an unclosed quotation mark cannot swallow rows.
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error:
        raise FileRefused(
            f"the row at line {line} is not valid CSV (a quotation mark is misplaced or never closed)",
            hint="Fix that row. Write quotation marks inside cells twice.",
        ) from None
    except UnicodeError:
        raise _not_text() from None


def _json_rows(text: io.TextIOWrapper) -> Iterator[Row]:
    """Read JSON Lines. The first row holds the member names of all objects, the other rows hold their values."""
    names: dict[str, None] = {}
    for _, members in _json_objects(text):
        if not names.keys() >= members.keys():
            names |= dict.fromkeys(members)
        if len(names) > MAX_MEMBERS:
            raise FileRefused(f"the objects have more than {MAX_MEMBERS:,} different member names")
    if not names:
        return
    yield 0, list(names)
    text.seek(0)
    for line, members in _json_objects(text):
        yield line, [_cell_text(members.get(name)) for name in names]


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
                raise FileRefused(f"line {line} is not a JSON object", hint="Write one object per line.")
            yield line, cast("dict[str, Any]", value)
    except UnicodeError:
        raise _not_text() from None


def _xlsx_rows(file: BinaryIO) -> Iterator[Row]:
    """Read the first sheet. It is decompressed in memory, because the format stores text apart from the cells."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise FileRefused(
            "XLSX files require the extra 'xlsx'", hint="Install cams-mcp[xlsx], or save the file as CSV."
        ) from None
    try:
        sheet = CalamineWorkbook.from_filelike(file).get_sheet_by_index(0)
        for line, cells in enumerate(sheet.iter_rows(), start=1):
            texts = [_cell_text(cell) for cell in cells]
            if any(texts):
                yield line, texts
    except CalamineError:
        raise FileRefused("the workbook cannot be read (it is corrupt or password-protected)") from None


def _cell_text(value: Any) -> str:
    """A cell as text. Whole numbers lose their fraction, because spreadsheets store phones as floats."""
    if value is None or isinstance(value, bool | list | dict):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
