"""Check a file: read every row once, prepare its people for sending, and summarise the results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from cams_mcp.errors import FileRefused
from cams_mcp.redaction import mask_email, mask_phone, printable
from cams_mcp.upload.people import Normaliser, Person, find_columns
from cams_mcp.upload.spool import Batches, Spool
from cams_mcp.upload.tables import Table, open_table

MAX_LINES_SHOWN = 20
MAX_NAME_LENGTH = 60
ROWS_PER_REPORT = 20_000
SAMPLES = 2


@dataclass(frozen=True, slots=True)
class HowToRead:
    """The caller's options for reading a file of people."""

    email_column: str | None = None
    phone_column: str | None = None
    default_region: str | None = None
    refuse_invalid: bool = False


@dataclass(slots=True)
class Checked:
    """The contents of a file. Use it as a context manager: it owns temporary files.

    Attributes:
        sha256, suppression_sha256: digests of the file and of the suppression file, if any.
        columns: the columns used, by header or by number from 1.
        places: the exact column numbers, as text.
        invalid: number of invalid rows, by reason.
        invalid_lines: the first line numbers of such rows, by reason.
        countries: number of phones, by calling code.
        sample: masked.
    """

    spool: Spool
    form: str
    encoding: str
    sha256: str
    suppression_sha256: str
    columns: Mapping[str, str]
    places: str
    rows: int = 0
    emails: int = 0
    phones: int = 0
    invalid: Counter[str] = field(default_factory=Counter[str])
    invalid_lines: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    countries: Counter[int] = field(default_factory=Counter[int])
    sample: list[str] = field(default_factory=list[str])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.spool.close()

    def add_invalid(self, line: int, reason: str) -> None:
        """Count an invalid row."""
        self.invalid[reason] += 1
        lines = self.invalid_lines.setdefault(reason, [])
        if len(lines) < MAX_LINES_SHOWN:
            lines.append(line)

    def calls(self, max_users: int, max_bytes: int) -> int:
        """How many calls are needed to send the people."""
        return sum(1 for _ in Batches(self.spool.people(), max_users, max_bytes))

    def summary(self) -> dict[str, Any]:
        """A summary for an assistant or a person. E-mails and phones appear only masked."""
        return {
            "format": self.form,
            "encoding": self.encoding,
            "columns": dict(self.columns),
            "rows": self.rows,
            "valid": self.rows - self.invalid.total(),
            "invalid": [
                {"reason": reason, "rows": rows, "first_lines": self.invalid_lines[reason]}
                for reason, rows in self.invalid.most_common()
            ],
            "duplicates": self.spool.duplicates,
            "suppressed": self.spool.suppressed,
            "people": self.spool.kept,
            "phones_by_country_code": {f"+{code}": number for code, number in self.countries.most_common()},
            "sample": self.sample,
        }


Look = Callable[[int], None]
"""Called periodically with the number of rows read so far. May raise an exception to stop the check."""


def check_file(
    name: str,
    file: BinaryIO,
    how: HowToRead,
    suppression: tuple[str, BinaryIO] | None = None,
    directory: Path | None = None,
    look: Look | None = None,
    on_invalid: Callable[[int, str], None] | None = None,
) -> Checked:
    """Read a file once, row by row.

    Args:
        name: the file's name; its extension determines the format.
        suppression: name and contents of a file of people who opted out. Anyone whose e-mail or phone appears in it is
            left out.
        directory: for temporary files.
        look: called periodically with the number of rows read so far.
        on_invalid: called with the line and the reason for each invalid row.

    Raises:
        FileRefused: the file is not a table of people, or has an invalid row and `how.refuse_invalid` is set.
    """
    spool = Spool(directory)
    try:
        suppression_sha256 = _read_suppression(spool, *suppression, how, look) if suppression else ""
        table = open_table(name, file)
        columns = find_columns(table.first, how.email_column, how.phone_column)
        named = {"email": columns.email, "phone": columns.phone}
        shown = {
            what: printable(table.first[place], MAX_NAME_LENGTH) if columns.header else str(place + 1)
            for what, place in named.items()
            if place is not None
        }
        checked = Checked(spool, table.form, table.encoding, table.sha256, suppression_sha256, shown, repr(named))
        _read_people(checked, table, Normaliser(columns, how.default_region), look, on_invalid, header=columns.header)
        if how.refuse_invalid and checked.invalid:
            raise _invalid_rows(checked)  # noqa: TRY301 - the temporary files are closed below
        spool.finish()
    except BaseException:
        spool.close()
        raise
    return checked


def _invalid_rows(checked: Checked) -> FileRefused:
    line, reason = min((lines[0], reason) for reason, lines in checked.invalid_lines.items())
    return FileRefused(
        f"{checked.invalid.total():,} rows are invalid, the first at line {line}: {reason}",
        hint="Fix these rows, or set on_invalid to skip to leave them out.",
    )


def _read_suppression(spool: Spool, name: str, file: BinaryIO, how: HowToRead, look: Look | None) -> str:
    table = open_table(name, file)
    columns = find_columns(table.first)
    normaliser = Normaliser(columns, how.default_region)
    for number, (line, cells) in enumerate(table.rows):
        if look is not None and number % ROWS_PER_REPORT == 0:
            look(0)
        if number == 0 and columns.header:
            continue
        person = normaliser.person(cells)
        if isinstance(person, str):
            # Otherwise a person who opted out would be sent because their row is unreadable.
            raise FileRefused(f"line {line} of the suppression file is invalid: {person}", hint="Fix that row.")
        spool.suppress(person)
    return table.sha256


def _read_people(
    checked: Checked,
    table: Table,
    normaliser: Normaliser,
    look: Look | None,
    on_invalid: Callable[[int, str], None] | None,
    *,
    header: bool,
) -> None:
    rows = iter(table.rows)
    if header:
        next(rows)
    spool, countries, fast_path, add_simple = (
        checked.spool,
        checked.countries,
        normaliser.fast_path(),
        checked.spool.add_simple,
    )
    number = emails = phones = fast_rows = 0
    fast_countries: dict[int, int] = defaultdict(int)
    for line, cells in rows:
        number += 1
        if look is not None and number % ROWS_PER_REPORT == 0:
            look(number)
        simple = fast_path(cells)
        if simple is not None and spool.added >= SAMPLES:
            email, phone, country = simple
            fast_rows += 1
            fast_countries[country] += 1
            add_simple(email, phone)
            continue
        person = normaliser.person(cells)
        if isinstance(person, str):
            checked.add_invalid(line, person)
            if on_invalid is not None:
                on_invalid(line, person)
            continue
        if person.email:
            emails += 1
        if person.phone:
            phones += 1
            countries[person.country] += 1
        if spool.added < SAMPLES:
            checked.sample += _masked(person)
        spool.add(person)
    countries.update(fast_countries)
    checked.rows, checked.emails, checked.phones = number, emails + fast_rows, phones + fast_rows


def _masked(person: Person) -> list[str]:
    email = [mask_email(person.email)] if person.email else []
    return [*email, *([mask_phone(f"+{person.phone}")] if person.phone else [])]
