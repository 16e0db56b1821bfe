"""A file checked: every row read once, its people ready to send, and what to tell of it."""

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

SHOWN_LINES = 20
LONGEST_NAME = 60
ROWS_BETWEEN_LOOKS = 20_000
SAMPLES = 2


@dataclass(frozen=True, slots=True)
class HowToRead:
    """How to read a file of people, as its caller says."""

    email_column: str | None = None
    phone_column: str | None = None
    default_region: str | None = None
    refuse_invalid: bool = False


@dataclass(slots=True)
class Checked:
    """What a file holds. Use it as a context manager: it owns temporary files.

    Attributes:
        sha256: of the file, and of the suppression file if there is one.
        columns: the cells that were taken, by name or number from 1.
        places: the same as exact numbers.
        invalid: how many rows were not people, by reason, and the lines of the first of them.
        countries: phones by calling code.
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
        """Count a row that is not a person."""
        self.invalid[reason] += 1
        lines = self.invalid_lines.setdefault(reason, [])
        if len(lines) < SHOWN_LINES:
            lines.append(line)

    def calls(self, most_users: int, most_bytes: int) -> int:
        """How many calls it takes to send them."""
        return sum(1 for _ in Batches(self.spool.people(), most_users, most_bytes))

    def summary(self) -> dict[str, Any]:
        """The facts for an assistant or a person; no addresses but masked ones."""
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
"""Called now and then with the rows read so far; may raise to stop."""


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
        name: of the file; its ending tells its form.
        suppression: a file of people who opted out: whoever has an e-mail or a phone of it is left out.
        directory: for temporary files.
        on_invalid: hears of each row that is not a person.

    Raises:
        FileRefused: not a table of people, or an invalid row where `how` refuses them.
    """
    spool = Spool(directory)
    try:
        suppression_sha256 = _suppress(spool, *suppression, how, look) if suppression else ""
        table = open_table(name, file)
        columns = find_columns(table.first, how.email_column, how.phone_column)
        named = {"email": columns.email, "phone": columns.phone}
        shown = {
            what: _shown(table.first[place]) if columns.header else str(place + 1)
            for what, place in named.items()
            if place is not None
        }
        checked = Checked(spool, table.form, table.encoding, table.sha256, suppression_sha256, shown, repr(named))
        _read(checked, table, Normaliser(columns, how.default_region), look, on_invalid, header=columns.header)
        if how.refuse_invalid and checked.invalid:
            raise _refused(checked)  # noqa: TRY301 - the temporary files are closed below
        spool.finish()
    except BaseException:
        spool.close()
        raise
    return checked


def _shown(header: str) -> str:
    """A column's name, for an assistant: on one line, short, in whole letters."""
    return printable(header, LONGEST_NAME)


def _refused(checked: Checked) -> FileRefused:
    line, reason = min((lines[0], reason) for reason, lines in checked.invalid_lines.items())
    return FileRefused(
        f"{checked.invalid.total():,} rows are not people, the first at line {line}: {reason}",
        hint="Mend them, or call with on_invalid skip to leave such rows out.",
    )


def _suppress(spool: Spool, name: str, file: BinaryIO, how: HowToRead, look: Look | None) -> str:
    table = open_table(name, file)
    columns = find_columns(table.first)
    normaliser = Normaliser(columns, how.default_region)
    for number, (line, cells) in enumerate(table.rows):
        if look is not None and number % ROWS_BETWEEN_LOOKS == 0:
            look(0)
        if number == 0 and columns.header:
            continue
        person = normaliser.person(cells)
        if isinstance(person, str):
            # Somebody who opted out must not be sent because their row could not be read.
            raise FileRefused(f"line {line} of the suppression file: {person}", hint="Mend that row.")
        spool.suppress(person)
    return table.sha256


def _read(
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
    spool, countries, usual, add_usual = checked.spool, checked.countries, normaliser.usual(), checked.spool.add_usual
    number = emails = phones = usual_rows = 0
    of_usual: dict[int, int] = defaultdict(int)
    for line, cells in rows:
        number += 1
        if look is not None and number % ROWS_BETWEEN_LOOKS == 0:
            look(number)
        quick = usual(cells)
        if quick is not None and spool.added >= SAMPLES:
            email, phone, country = quick
            usual_rows += 1
            of_usual[country] += 1
            add_usual(email, phone)
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
    countries.update(of_usual)
    checked.rows, checked.emails, checked.phones = number, emails + usual_rows, phones + usual_rows


def _masked(person: Person) -> list[str]:
    email = [mask_email(person.email)] if person.email else []
    return [*email, *([mask_phone(f"+{person.phone}")] if person.phone else [])]
