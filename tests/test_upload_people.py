"""Rows of cells as people: what is normalised how, what is refused why, which columns are taken."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cams_mcp.errors import FileRefused
from cams_mcp.upload.people import (
    BAD_EMAIL,
    BAD_PHONE,
    NO_COUNTRY,
    NOTHING,
    TOO_LONG,
    Columns,
    Normaliser,
    Person,
    find_columns,
)
from cams_mcp.upload.spool import encode_person

BOTH = Columns(email=0, phone=1, width=2, header=True)
quick = settings(deadline=None)


def person_of(email: str = "", phone: str = "", region: str | None = None) -> Person | str:
    """The same by the quick way, where that has an answer."""
    normaliser = Normaliser(BOTH, region)
    person = normaliser.person([email, phone])
    usual = normaliser.fast_path()([email, phone])
    assert usual is None or usual == person
    return person


@pytest.mark.parametrize(
    ("cell", "email"),
    [
        ("jane@example.com", "jane@example.com"),
        ("  Jane@Example.COM \t", "jane@example.com"),
        ("\u00a0jane@example.com\u3000", "jane@example.com"),
        ("jane+list@example.com", "jane+list@example.com"),
        ("o'neil@example.com", "o'neil@example.com"),
        ("JOSÉ@EXAMPLE.com", "josé@example.com"),
        ("张三@例子.example.com", "张三@例子.example.com"),
        ("a@b.c.d.e.f.example.com", "a@b.c.d.e.f.example.com"),
        ("j%40@example.com", "j%40@example.com"),
        ('j"q\\@example.com', 'j"q\\@example.com'),
    ],
)
def test_an_email_is_trimmed_and_in_lower_case(cell: str, email: str) -> None:
    assert person_of(cell) == Person(email, "", 0)


@pytest.mark.parametrize(
    "cell",
    [
        "jane",
        "jane@",
        "@example.com",
        "jane@example",
        "jane@@example.com",
        "jane@example.com.",
        "jane doe@example.com",
        "Jane <jane@example.com>",
        "jane@example.com, joe@example.com",
        "jane@example.com;joe@example.com",
        "n/a",
        "-",
        "jane\u0000@example.com",
        "j\u0000a\u0000@\u0000e\u0000.\u0000c\u0000o",
        "jane\u200b@example.com",
        "\ufeffjane@example.com",
        "jane\u202e@example.com",
        "jane\x1b[31m@example.com",
        "jane\ud800@example.com",
        "j" * 300 + "@example.com",
    ],
)
def test_what_is_no_email_is_refused(cell: str) -> None:
    assert person_of(cell) == BAD_EMAIL
    assert person_of(cell, "+12025550123") == BAD_EMAIL


@pytest.mark.parametrize(
    ("cell", "region", "phone", "country"),
    [
        ("+12025550123", None, "12025550123", 1),
        ("+1 (202) 555-0123", None, "12025550123", 1),
        ("+1.202.555.0123", None, "12025550123", 1),
        ("+1/202/5550123", None, "12025550123", 1),
        ("+1\u00a0202\u20115550123", None, "12025550123", 1),
        (" '+12025550123", None, "12025550123", 1),
        ("\u202a+12025550123\u202c", None, "12025550123", 1),
        ("0012025550123", None, "12025550123", 1),
        ("00 49 (0)30 123456", None, "4930123456", 49),
        ("+49 (0) 30 123456", None, "4930123456", 49),
        ("+86 138 0000 0000", None, "8613800000000", 86),
        ("13800000000", "CN", "8613800000000", 86),
        ("138-0000-0000", "cn", "8613800000000", 86),
        ("8613800000000", "CN", "8613800000000", 86),
        ("+8613800000000", "US", "8613800000000", 86),
        ("(202) 555-0123", "US", "12025550123", 1),
        ("2025550123.0", "US", "12025550123", 1),
        ("+12025550123.0", None, "12025550123", 1),
        ("030 123456", "DE", "4930123456", 49),
        ("030123456.0", "DE", "4930123456", 49),
        ("06 1234 5678", "IT", "390612345678", 39),
        ("91234567", "SG", "6591234567", 65),
        ("+800 1234 5678", None, "80012345678", 800),
    ],
)
def test_a_phone_becomes_digits_with_country_code(cell: str, region: str | None, phone: str, country: int) -> None:
    assert person_of("", cell, region) == Person("", phone, country)


@pytest.mark.parametrize("cell", ["2025550123", "13800000000", "030 123456", "12025550123", "5550123", "1"])
def test_a_phone_without_country_code_needs_a_region(cell: str) -> None:
    assert person_of("", cell) == NO_COUNTRY


@pytest.mark.parametrize("region", [None, "US", "CN", "DE"])
@pytest.mark.parametrize(
    "cell",
    [
        "1.38E+10",
        "1.38001E+10",
        "1,38E+10",
        "1E10",
        "phone",
        "+",
        "++12025550123",
        "+1202555012",
        "+120255501234",
        "+999999999999",
        "+0012025550123",
        "+049 151 12345678",
        "000491511234567",
        "+12",
        "+1202+5550123",
        "+12025550123 x5",
        "+12025550123,+12025550124",
        "+12025550123\u0000",
        "+1202555012\uff13",
        "+1202555012²",
        "12" * 20,
        "+49" + "1" * 15,
        "#REF!",
        "n/a",
        "+86 138",
    ],
)
def test_what_is_no_phone_is_refused_in_any_region(cell: str, region: str | None) -> None:
    assert person_of("", cell, region) in (BAD_PHONE, NO_COUNTRY if region is None else BAD_PHONE)
    assert person_of("jane@example.com", cell, region) == person_of("", cell, region)


@pytest.mark.parametrize(("cell", "region"), [("5550123", "US"), ("12345", "CN"), ("110", "CN"), ("911", "US")])
def test_a_number_that_works_only_locally_is_refused(cell: str, region: str) -> None:
    assert person_of("", cell, region) == BAD_PHONE


@pytest.mark.parametrize("cells", [[], [""], ["", ""], [" ", "\t"], ["", "-"], ["", "'"], ["", "", "", ""]])
def test_a_row_without_email_and_phone_is_nobody(cells: list[str]) -> None:
    assert Normaliser(BOTH).person(cells) == NOTHING


def test_a_short_row_counts_and_a_long_one_does_not() -> None:
    normaliser = Normaliser(BOTH)
    assert normaliser.person(["a@example.com"]) == Person("a@example.com", "", 0)
    assert normaliser.person(["a@example.com", "", "", " "]) == Person("a@example.com", "", 0)
    assert normaliser.person(["a@example.com", "", "x"]) == TOO_LONG
    assert normaliser.fast_path()(["a@example.com", "+12025550123", "x"]) is None


@pytest.mark.parametrize("region", ["", "XX", "China", "001", "C"])
def test_an_unknown_region_is_said(region: str) -> None:
    if region:
        with pytest.raises(FileRefused, match="default_region"):
            Normaliser(BOTH, region)
    else:
        assert Normaliser(BOTH, region).person(["", "2025550123"]) == NO_COUNTRY


# Columns


@pytest.mark.parametrize(
    ("first", "email", "phone", "header"),
    [
        (["email", "phone"], 0, 1, True),
        (["Phone Number", "E-Mail"], 1, 0, True),
        (["id", "EMAIL ADDRESS", "x", "Mobile_Phone"], 1, 3, True),
        (["姓名", "邮箱", "手机号"], 1, 2, True),
        (["电子邮箱 ", " 联系电话"], 0, 1, True),
        (["电子邮件"], 0, None, True),
        (["WhatsApp"], None, 0, True),
        (["jane@example.com", "+12025550123"], 0, 1, False),
        (["1", "Jane", "(202) 555-0123", " jane@example.com "], 3, 2, False),
        (["jane@example.com"], 0, None, False),
        (["+12025550123"], None, 0, False),
    ],
)
def test_columns_are_found_by_usual_names_or_by_a_first_row_of_data(
    first: list[str], email: int | None, phone: int | None, header: bool
) -> None:
    assert find_columns(first) == Columns(email, phone, len(first), header)


@pytest.mark.parametrize(
    ("first", "given", "expected"),
    [
        (["Kontakt", "Nummer"], {"email": "kontakt"}, (0, None, True)),
        (["Kontakt", "Nummer"], {"email": " KONTAKT ", "phone": "Nummer"}, (0, 1, True)),
        (["Kontakt", "Nummer"], {"email": "1", "phone": "2"}, (0, 1, True)),
        (["a@example.com", "+12025550123"], {"email": "1", "phone": "2"}, (0, 1, False)),
        (["a@example.com", "b@example.com"], {"email": "2"}, (1, None, False)),
        (["", "b@example.com"], {"email": "1"}, (0, None, False)),
        (["email", "e-mail"], {"email": "2"}, (1, None, True)),
        (["email", "e-mail"], {"email": "e-mail"}, (1, None, True)),
        (["email", "phone", "mobile"], {"phone": "mobile"}, (0, 2, True)),
    ],
)
def test_columns_can_be_named_or_numbered(first: list[str], given: dict[str, str], expected: Any) -> None:
    found = find_columns(first, **given)
    assert (found.email, found.phone, found.header) == expected


@pytest.mark.parametrize(
    ("first", "given", "words"),
    [
        (["email", "e-mail"], {}, "more than one column matches: set email_column"),
        (["phone", "mobile"], {}, "more than one column matches: set phone_column"),
        (["phone", "phone"], {"phone": "phone"}, "more than one column"),
        (["email"], {"email": "mail"}, "no column matches email_column"),
        (["email"], {"email": "0"}, "no column matches email_column"),
        (["email"], {"email": "2"}, "no column matches email_column"),
        (["email"], {"phone": "7"}, "no column matches phone_column"),
        (["name", "city"], {}, "no e-mail or phone column"),
        ([""], {}, "no e-mail or phone column"),
    ],
)
def test_columns_that_are_missing_or_ambiguous_are_said(first: list[str], given: dict[str, str], words: str) -> None:
    with pytest.raises(FileRefused, match=words):
        find_columns(first, **given)


# Properties

CELLS = st.one_of(
    st.text(max_size=30),
    st.text("ab.@+ <>,\t\u0000\u200bÀİß", max_size=25).map(lambda text: f"{text}x@example.com"),
    st.emails(),
)
PHONES = st.one_of(
    st.text("0123456789+()-. E'", max_size=20),
    st.from_regex(r"(\+|00)[1-9][0-9]{6,15}", fullmatch=True),
    st.integers(0, 10**16).map(str),
)


@quick
@given(CELLS, PHONES, st.sampled_from([None, "CN", "US", "DE", "IT", "BR", "GB"]))
def test_normalising_twice_changes_nothing(email: str, phone: str, region: str | None) -> None:
    person = person_of(email, phone, region)
    if not isinstance(person, str):
        again = f"+{person.phone}" if person.phone else ""
        assert person_of(person.email, again, region) == person
        assert not person.phone or 7 <= len(person.phone) <= 15


@quick
@given(CELLS, PHONES)
def test_an_encoded_person_decodes_to_the_same_json(email: str, phone: str) -> None:
    person = person_of(email, phone, "US")
    if isinstance(person, str):
        return
    encoded = encode_person(person)
    decoded = json.loads(unquote_to_bytes(encoded))
    assert decoded == {
        **({"Email": person.email} if person.email else {}),
        **({"Phone": person.phone} if person.phone else {}),
    }
    assert not set(encoded.decode("ascii")) & set('{}[]",:&=+ @\n')
