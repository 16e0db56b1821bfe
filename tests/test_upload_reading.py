"""Files of people in all their forms: the people that are read are the people that were written."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cams_mcp.errors import FileRefused
from cams_mcp.upload.checks import Checked, HowToRead, check_file
from cams_mcp.upload.people import BAD_EMAIL, NO_COUNTRY, NOTHING, TOO_LONG

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom", "gb18030"]
HEADERS = [("email", "phone"), ("E-Mail Address", "Mobile Phone"), ("邮箱", "手机号"), None]
quick = settings(deadline=None, max_examples=60)

Who = tuple[str, str]
"""E-mail and phone."""


def check(data: bytes, name: str = "people.csv", **how: Any) -> Checked:
    return check_file(name, io.BytesIO(data), HowToRead(**how))


def read(data: bytes, name: str = "people.csv", **how: Any) -> list[Who]:
    """The people that would be sent, in order."""
    with check(data, name, **how) as checked:
        found = [json.loads(unquote_to_bytes(person)) for person in checked.spool.people()]
    return [(person.get("Email", ""), person.get("Phone", "")) for person in found]


def refusal(data: bytes, name: str = "people.csv", **how: Any) -> str:
    with pytest.raises(FileRefused) as refused:
        check(data, name, **how)
    return str(refused.value)


def facts(data: bytes, name: str = "people.csv", **how: Any) -> dict[str, Any]:
    with check(data, name, **how) as checked:
        return checked.summary()


def encoded(text: str, encoding: str) -> bytes:
    match encoding:
        case "utf-16-le-bom":
            return b"\xff\xfe" + text.encode("utf-16-le")
        case "utf-16-be-bom":
            return b"\xfe\xff" + text.encode("utf-16-be")
        case _:
            return text.encode(encoding)


def written(
    rows: Sequence[Sequence[str]], delimiter: str, line_end: str = "\r\n", quoting: int = csv.QUOTE_MINIMAL
) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerows(rows)
    return text.getvalue()


EMAILS = st.from_regex(r"[a-z0-9._+'~-]{1,12}@[a-z0-9]{1,8}\.example\.com", fullmatch=True)
PHONES = st.integers(0, 9_999_999).map("1202{:07}".format)
PEOPLE = st.lists(
    st.one_of(st.tuples(EMAILS, PHONES), st.tuples(EMAILS, st.just("")), st.tuples(st.just(""), PHONES)),
    min_size=1,
    max_size=12,
    unique=True,
)
OTHER = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
"""What stands in the other cells: quotation marks, delimiters, line ends, any script."""


@quick
@given(st.data())
def test_people_survive_any_csv(data: st.DataObject) -> None:
    """Whatever the delimiter, the line ends, the quotation, the header, the encoding and the other columns."""
    people = data.draw(PEOPLE)
    header = data.draw(st.sampled_from(HEADERS))
    delimiter = data.draw(st.sampled_from(",;\t|"))
    if header is None and not (people[0][0] and people[0][1]):
        people = [("first@example.com", "12025550123"), *people]
    plus = [(email, f"+{phone}" if phone else "") for email, phone in people]
    others = [data.draw(st.tuples(OTHER, OTHER)) for _ in people]
    rows = [[before, email, phone, after] for (before, after), (email, phone) in zip(others, plus, strict=True)]
    if header is None:
        rows[0][0] = rows[0][3] = "x"  # what is found by looking must stand out
    else:
        rows.insert(0, ["name", *header, "note"])
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    text = written(rows, delimiter, data.draw(st.sampled_from(["\n", "\r\n", "\r"])), quoting)
    encoding = data.draw(st.sampled_from(ENCODINGS))

    expected = list(dict.fromkeys(people))
    assert read(encoded(text, encoding)) == expected


@quick
@given(PEOPLE, st.sampled_from(HEADERS[:3]), st.data())
def test_people_survive_json_lines(people: list[Who], header: Who, data: st.DataObject) -> None:
    lines = []
    for email, phone in people:
        members: dict[str, Any] = {"note": data.draw(OTHER), header[0]: email or None, header[1]: phone and f"+{phone}"}
        if not email and data.draw(st.booleans()):
            del members[header[0]]
        lines.append(json.dumps(members, ensure_ascii=data.draw(st.booleans())))
        lines += [""] * data.draw(st.integers(0, 1))
    text = "\n".join(lines)

    assert read(text.encode(), "people.jsonl") == people
    assert read(text.encode("utf-16"), "people.NDJSON") == people


@settings(deadline=None, max_examples=20)
@given(PEOPLE, st.sampled_from(HEADERS[:3]), st.booleans())
def test_people_survive_a_spreadsheet(people: list[Who], header: Who, as_numbers: bool) -> None:
    book = openpyxl.Workbook()
    book.active.append(["name", *header])
    for email, phone in people:
        # Spreadsheets make numbers of phones: their country code stays, their plus does not.
        book.active.append(["x", email or None, (int(phone) if as_numbers else f"+{phone}") if phone else None])
    file = io.BytesIO()
    book.save(file)

    assert read(file.getvalue(), "People.XLSX", default_region="US") == people


@quick
@given(st.binary(max_size=300), st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.xlsx", "a", "a.txt"]))
def test_any_bytes_are_read_or_refused(data: bytes, name: str) -> None:
    try:
        check(data, name).spool.close()
    except FileRefused as refused:
        assert str(refused).startswith("Nothing was sent: ")  # noqa: PT017 - either way is right


@quick
@given(st.text("ab@.,;\n\r\"'\t |+12", max_size=60))
def test_any_text_under_a_header_is_read_or_refused_and_rows_add_up(text: str) -> None:
    try:
        summary = facts(f"email,phone\n{text}".encode())
    except FileRefused:
        return
    assert summary["valid"] + sum(each["rows"] for each in summary["invalid"]) == summary["rows"]
    assert summary["people"] + summary["duplicates"] == summary["valid"]


# Form and encoding


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_encoding_is_found(encoding: str) -> None:
    text = "姓名,邮箱,手机号\r\n张三,zhang@example.com,+8613800000000\r\n"
    summary = facts(encoded(text, encoding))
    assert summary["columns"] == {"email": "邮箱", "phone": "手机号"}
    assert summary["people"] == 1
    assert summary["encoding"] == {"utf-8": "utf-8-sig", "gb18030": "gb18030", "utf-8-sig": "utf-8-sig"}.get(
        encoding, "utf-16"
    )


def test_a_letter_across_two_blocks_does_not_hide_the_encoding() -> None:
    line = "a@example.com,上海\n"
    text = "email,city\n" + "x,\n" + line * 60_000
    assert facts(text.encode())["encoding"] == "utf-8-sig"


@pytest.mark.parametrize(
    "data",
    [
        "email\na@example.com\n".encode("utf-16-le"),
        "email\na@example.com\n".encode("utf-16-be"),
        "email\na@example.com\n".encode("utf-32"),
        b"email\na@example.com\0\n",
        b"email\0\na@example.com\n",
        b"email\n" + b"a@example.com\n" * 100_000 + b"\0\n",
        "email\na@example.com\0\n".encode("utf-16"),
    ],
    ids=["le", "be", "32", "end", "header", "late", "utf-16"],
)
def test_null_characters_are_refused_or_make_a_row_invalid(data: bytes) -> None:
    try:
        summary = facts(data)
    except FileRefused as refused:
        assert "NUL" in str(refused) or "not text" in str(refused)  # noqa: PT017 - either way is right
    else:
        assert summary["people"] == 0


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\xff\xff\xff", b"email\n\x81", b"\xff\xfeemail\n"])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    assert refusal(data)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.xlsx", "a"])
@pytest.mark.parametrize("data", [b"", b"\n\n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(name: str, data: bytes) -> None:
    assert refusal(data, name)


@pytest.mark.parametrize("name", ["a.xls", "a.ods", "a.numbers", "a.zip", "a.csv.gz"])
def test_a_form_that_is_not_supported_is_said(name: str) -> None:
    assert "CSV, TSV, JSON Lines or XLSX" in refusal(b"email\na@example.com\n", name)


def test_a_workbook_that_is_none_is_refused() -> None:
    for data in (b"email\na@example.com\n", b"PK\x03\x04" + b"\0" * 100):
        assert "workbook" in refusal(data, "a.xlsx")


def test_the_digest_is_of_the_bytes() -> None:
    data = b"\xef\xbb\xbfemail\r\na@example.com\r\n"
    with check(data) as checked:
        assert checked.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("email,note\na@example.com,x;y;z\n", "csv"),
        ("note;email\n1,2;a@example.com\n", "csv"),
        ("email\tphone\na@example.com\t\n", "tsv"),
        ('"a,b,c,d"|email\nx|a@example.com\n', "csv"),
    ],
)
def test_the_delimiter_is_the_most_frequent_outside_of_quotation_marks(text: str, form: str) -> None:
    summary = facts(text.encode())
    assert (summary["format"], summary["people"]) == (form, 1)


# Rows


@pytest.mark.parametrize(
    ("text", "rows", "people"),
    [
        ("email", 0, 0),
        ("email\n", 0, 0),
        ("email\r\n\r\n\r\n", 0, 0),
        ("email\na@example.com", 1, 1),
        ("a@example.com", 1, 1),
        ("a@example.com\n", 1, 1),
        ("\n\n a@example.com \n\n", 1, 1),
        ("+12025550123", 1, 1),
        ("email\na@example.com\nA@EXAMPLE.COM \na@example.com", 3, 1),
    ],
)
def test_no_row_and_one_row(text: str, rows: int, people: int) -> None:
    summary = facts(text.encode())
    assert (summary["rows"], summary["people"]) == (rows, people)


def test_invalid_rows_are_told_by_reason_with_the_lines_they_begin_at() -> None:
    text = (
        "name,email,phone\n"  # 1
        "x,a@example.com,\n"  # 2
        '"two\nlines",nobody,\n'  # 3 and 4
        "\n"  # 5
        "x,,\n"  # 6
        '"\n\n\n",b@example.com,+12025550123,"",too long\n'  # 7 to 10
        "x\n"  # 11
        "x,c@example.com,5550123\r\n"  # 12
        "x,nobody,"  # 13
    )
    heard: list[tuple[int, str]] = []
    how = HowToRead()
    with check_file("a.csv", io.BytesIO(text.encode()), how, on_invalid=lambda *row: heard.append(row)) as checked:
        summary = checked.summary()

    assert heard == [(3, BAD_EMAIL), (6, NOTHING), (7, TOO_LONG), (11, NOTHING), (12, NO_COUNTRY), (13, BAD_EMAIL)]
    assert {each["reason"]: each["first_lines"] for each in summary["invalid"]} == {
        BAD_EMAIL: [3, 13],
        NOTHING: [6, 11],
        TOO_LONG: [7],
        NO_COUNTRY: [12],
    }
    assert (summary["rows"], summary["valid"]) == (7, 1)


def test_the_lines_of_json_lines_and_of_sheets_are_right(tmp_path: Path) -> None:
    lines = '{"email": "a@example.com"}\n\n{"email": "nobody"}\n'
    assert facts(lines.encode(), "a.jsonl")["invalid"][0]["first_lines"] == [3]
    book = openpyxl.Workbook()
    for row in (["email"], ["a@example.com"], [None], ["nobody"]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert facts((tmp_path / "a.xlsx").read_bytes(), "a.xlsx")["invalid"][0]["first_lines"] == [4]


def test_only_the_first_lines_of_a_reason_are_kept() -> None:
    (invalid,) = facts(b"email\n" + b"nobody\n" * 1000)["invalid"]
    assert invalid == {"reason": BAD_EMAIL, "rows": 1000, "first_lines": list(range(2, 22))}


def test_an_invalid_row_refuses_the_file_if_the_caller_says_so() -> None:
    text = b"email\na@example.com\nnobody\n\nx@\n"
    assert "2 rows are invalid, the first at line 3: the e-mail address is invalid" in refusal(
        text, refuse_invalid=True
    )
    assert "nobody" not in refusal(text, refuse_invalid=True)


@pytest.mark.parametrize(
    "text",
    [
        'email\n"a@example.com\nb@example.com\n',
        'email\n"a@example.com"x\n',
        'email,note\na@example.com,"never closed\n' + "b@example.com,x\n" * 20_000,
        'email,note\na@example.com,"x\n"y",z\n',
    ],
    ids=["end", "after", "long", "next"],
)
def test_a_quotation_mark_that_is_not_closed_never_swallows_people(text: str) -> None:
    assert "at line 2 is not valid CSV" in refusal(text.encode())


def test_a_huge_cell_is_refused() -> None:
    for cell in ("x" * 70_000, '"' + "x\n" * 40_000 + '"'):
        assert "at line 2 is not valid CSV" in refusal(f"email,note\na@example.com,{cell}\n".encode())


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_file_of_one_endless_line_is_refused_before_it_is_read_into_memory(name: str) -> None:
    assert "longer than" in refusal(b"email\n" + b"a" * 5_000_000, name)


@pytest.mark.parametrize("line", ["[1]", '"x"', "{", "nobody", "1", "{}{}", "[" * 100_000, "1" * 10_000])
def test_a_line_that_is_no_json_object_is_told(line: str) -> None:
    assert "line 2 is not a JSON object" in refusal(f'{{"email": "a@example.com"}}\n{line}\n'.encode(), "a.jsonl")


@pytest.mark.parametrize("value", [True, [], ["b@example.com"], {"email": "b@example.com"}, None, 1.5, 1e999])
def test_a_value_that_is_no_text_is_nobody(value: Any) -> None:
    text = '{"email": "a@example.com"}\n' + json.dumps({"email": value})
    assert read(text.encode(), "a.jsonl") == [("a@example.com", "")]


def test_members_that_only_later_objects_have_are_found() -> None:
    text = '{"email": "a@example.com"}\n{"note": "x", "phone": "+12025550123"}\n'
    assert read(text.encode(), "a.jsonl") == [("a@example.com", ""), ("", "12025550123")]


@pytest.mark.parametrize(
    ("text", "how", "people"),
    [
        ("Kontakt;x\nA@example.com;1\n", {"email_column": "kontakt"}, [("a@example.com", "")]),
        ("Kontakt;x\nA@example.com;1\n", {"email_column": "1"}, [("a@example.com", "")]),
        ("email,e-mail\na@example.com,b@example.com\n", {"email_column": "2"}, [("b@example.com", "")]),
        (
            "phone,mobile\n+12025550123,+12025550124\n",
            {"phone_column": "mobile"},
            [("", "12025550124")],
        ),
    ],
)
def test_columns_named_by_option_are_taken(text: str, how: dict[str, str], people: list[Who]) -> None:
    assert read(text.encode(), **how) == people


def test_ambiguous_columns_are_refused() -> None:
    assert "set phone_column" in refusal(b"phone,mobile\n+12025550123,+12025550124\n")


# What is told


def test_what_is_told_holds_no_address_and_no_control_character() -> None:
    header = "E-Mail\u202e\x1b[\n Address"
    text = written([[header], ["Jane.Roe@example.com"], ["jane@"], ["jane.roe@example.com"]], ",")
    summary = facts(text.encode())
    shown = json.dumps(summary, ensure_ascii=False)
    assert "roe" not in shown.lower()
    assert summary["sample"] == ["j***@example.com"] * 2
    assert summary["columns"]["email"].isprintable()


def test_a_header_with_half_a_letter_can_be_told() -> None:
    summary = facts(b'{"email\\ud800": "a@example.com"}', "a.jsonl")
    assert summary["columns"]["email"].encode()


def test_countries_are_counted_by_calling_code() -> None:
    phones = ["+12025550123", "+12025550124", "+8613800000000", "+4930123456"]
    summary = facts("\n".join(["phone", *phones]).encode())
    assert summary["phones_by_country_code"] == {"+1": 2, "+86": 1, "+49": 1}


# Suppression


def suppressed(people: bytes, opted_out: bytes, name: str = "out.csv", **how: Any) -> Checked:
    return check_file("a.csv", io.BytesIO(people), HowToRead(**how), (name, io.BytesIO(opted_out)))


def test_whoever_opted_out_by_email_or_phone_is_left_out() -> None:
    people = b"email,phone\na@example.com,+12025550123\nb@example.com,+12025550124\nc@example.com,\n,+12025550125\n"
    people += b"A@EXAMPLE.COM,\nd@example.com,\n"
    with suppressed(people, b"phone,email\n,a@example.com\n+1 202 555-0124,\n+12025550125,\n") as checked:
        summary = checked.summary()
    assert (summary["suppressed"], summary["people"], summary["duplicates"]) == (4, 2, 0)


@pytest.mark.parametrize("opted_out", [b"email\nnobody\n", b"phone\n5550123\n", b"", b"name\nx\n", b"email\n,\n"])
def test_a_suppression_file_that_is_not_clear_refuses_all(opted_out: bytes) -> None:
    with pytest.raises(FileRefused):
        suppressed(b"email\na@example.com\n", opted_out)


def test_a_suppression_file_may_have_another_form() -> None:
    with suppressed(b"email\na@example.com\n", b'{"email": "a@example.com"}', "out.jsonl") as checked:
        assert checked.spool.kept == 0


def test_a_file_may_be_left_when_its_reader_says_stop() -> None:
    class Stop(Exception):
        pass

    def look(rows: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        check_file("a.csv", io.BytesIO(b"email\n" + b"a@example.com\n" * 30_000), HowToRead(), look=look)
