from __future__ import annotations

import re
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cams_mcp.redaction import LONGEST_QUOTE, identifier, mask_email, mask_phone, scrub

LOCALS = st.from_regex(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}", fullmatch=True)
EMAILS = st.builds("{}@{}".format, LOCALS, st.sampled_from(["example.com", "mail.example.com", "EXAMPLE.COM"]))
SEPARATORS = st.sampled_from(["", "", " ", "-", ".", " (", ") ", " - ", "\u2011", "\u200b", "\u00a0", "/", ")-"])
WORDS = st.text(alphabet="abc XYZ,;:\"'()<>[]{}=&\n\t@+-.漢字", max_size=40)


@st.composite
def phones(draw: st.DrawFn) -> str:
    digits = draw(st.text(alphabet="0123456789", min_size=7, max_size=15))
    return draw(st.sampled_from(["", "+", "+ ", "00"])) + "".join(digit + draw(SEPARATORS) for digit in digits)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(WORDS, EMAILS, phones()), max_size=6).map("".join))
def test_no_address_and_no_long_number_is_left(text: str) -> None:
    left = scrub(text)

    assert not re.search(r"@[a-z.]*example\.com", left, re.IGNORECASE)
    assert not re.search(r"\d{7}", re.sub(r"[\s().+/\-\u2011]", "", left))


@settings(deadline=None, max_examples=300)
@given(st.one_of(EMAILS, phones()), WORDS, WORDS)
def test_an_address_between_words_is_replaced_whole(address: str, before: str, after: str) -> None:
    left = scrub(f"{before} {address} {after}")

    assert address.strip() not in left
    assert "***" in left


@pytest.mark.parametrize(
    "text",
    [
        "Users=%5B%7B%22Email%22%3A%22someone%40example.com%22%7D%5D",
        "someone%2540example.com",
        '{"Email":"someone\\u0040example.com"}',
        "someone&#64;example.com",
        "someone&#064example.com",
        "someone&#x40;example.com",
        "someone&#X0040;example.com",
        "someone&commat;example.com",
        "someone&amp;#64;example.com",
        "someone&amp;amp;commat;example.com",
        "someone\\x40example.com",
        "someone\ufe6bexample.com",
        "someone\uff20example.com",
        "someone\u200b@example.com",
        "someone@\u200bexample.com",
        "some\u00adone@example.com",
        "mailto:someone@example.com?subject=x",
        "<someone@example.com>",
        "someone\n@example.com",
    ],
)
def test_an_address_in_another_spelling_is_replaced_too(text: str) -> None:
    left = scrub(text)

    assert "***" in left
    assert "example.com" not in left


@pytest.mark.parametrize(
    "text",
    [
        *("+1 (202) 555-0123", "+1 202 555 01 23", "(20) 2555 - 0123", "202/555/0123", "1-202-555-0123"),
        *("%2B12025550123", "1,202,555,012", "120_2555_0123", "120\u00b72555\u00b70123", "120\u30fb2555\u30fb0123"),
        *("120\u22122555\u22120123", "120\uff0c2555\uff0c0123", "120%2C2555%2C0123", "120%5f2555%5f0123"),
    ],
)
def test_a_number_as_people_write_it_is_replaced(text: str) -> None:
    assert not re.search(r"\d{3}", scrub(text))
    assert "***" in scrub(f"The number {text} is wrong.")


def test_a_cut_does_not_lay_half_an_address_bare() -> None:
    for length in range(3_900, 4_200):
        filling = "x@y " * (length // 4) + " " * (length % 4)
        left = scrub(filling + "someone@example.com +1 202 555 0123 1, 202, 555, 0123 1_ 202_ 555_ 0123 more")

        assert "someone" not in left
        assert "202" not in left


def test_words_of_the_service_stay_readable() -> None:
    said = "Request was denied due to user flow control (limit 100 in 60 s, code 4294)."

    assert scrub(said) == said


def test_a_quote_is_one_line_of_bounded_length_without_unseen_characters() -> None:
    left = scrub("one\r\ntwo\x1b[31m\u202ethree\u2028four\x00" + " word" * 1_000)

    assert left.startswith("one two")
    assert left.isprintable()
    assert len(left) <= LONGEST_QUOTE + 3


@pytest.mark.parametrize("piece", ["a", "1", "a@", "(", " ", "1 ", "%40", "a."])
def test_a_hostile_message_of_megabytes_is_scrubbed(piece: str) -> None:
    assert len(scrub(piece * 2_000_000)) <= LONGEST_QUOTE + 3


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("jane@example.com", "j***@example.com"),
        (" jane@example.com ", "j***@example.com"),
        ("j@example.com", "j***@example.com"),
        ('"a@b"@example.com', '"***@example.com'),
        ("\u202ejane@example\u200b.com", "j***@example.com"),
    ],
)
def test_a_masked_email_shows_one_letter_and_the_domain(address: str, masked: str) -> None:
    assert mask_email(address) == masked


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+8613800000000", "+86138****0000"),
        ("+86 138-0000-0000", "+86138****0000"),
        ("+12025550123", "+120****0123"),
        ("2025550123", "202****23"),
        ("5550123", "5****23"),
    ],
)
def test_a_masked_phone_shows_its_ends(number: str, masked: str) -> None:
    assert mask_phone(number) == masked


@settings(deadline=None)
@given(st.from_regex(r"\+?[0-9]{7,15}", fullmatch=True))
def test_a_masked_phone_hides_at_least_four_digits(number: str) -> None:
    shown = mask_phone(number).replace("****", "")

    assert len(number) - len(shown) >= 4


@settings(deadline=None)
@given(LOCALS)
def test_a_masked_email_hides_all_but_the_first_letter(local: str) -> None:
    assert mask_email(f"{local}@example.com") == f"{local[0]}***@example.com"


@settings(deadline=None)
@given(EMAILS)
def test_an_encoded_address_is_replaced(address: str) -> None:
    assert "example.com" not in scrub(quote(address, safe="")).lower()


@settings(deadline=None)
@given(st.uuids())
def test_every_uuid_is_an_identifier(uuid: UUID) -> None:
    for text in (str(uuid), str(uuid).upper(), uuid.hex):
        assert identifier(text) == (text if re.search("[a-zA-Z]", text) else None)


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=70) | EMAILS | phones() | st.from_regex(r"[A-Za-z0-9._:*-]{1,70}", fullmatch=True))
def test_an_identifier_is_short_plain_and_no_address_or_number(text: str) -> None:
    left = identifier(text)

    if left is not None:
        assert left == text
        assert re.fullmatch(r"[A-Za-z0-9._:*-]{1,64}", left)
        assert scrub(left) == left or re.search("[a-zA-Z]", left)
        assert not re.fullmatch(r"[0-9._:*-]{7,}", left) or len(re.sub(r"\D", "", left)) < 7
