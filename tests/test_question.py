"""What a person reads before a write: sentences of ours, whatever an assistant, CAMS or a file puts into them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, cast

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import AUDIENCE, TARGET

from cams_mcp.errors import InvalidArguments, MalformedAnswer, PermissionDenied
from cams_mcp.fields import MOST
from cams_mcp.operation import LookUp, render
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.redaction import mask_email, printable, quoted
from cams_mcp.store import Job
from cams_mcp.store.journal import Batch
from cams_mcp.tools.arguments import parse_arguments
from cams_mcp.upload.checks import Checked
from cams_mcp.upload.requests import FileWrite, RestOfUpload
from cams_mcp.upload.service import UPLOAD_AUDIENCE_FILE

MOST_CHARACTERS = 2000

NUMBER = r"(?:over )?-?[0-9,]{1,20}"
QUOTED = r'"[^"]{0,64}"'
ID = rf"(?:[0-9]{{1,32}}|{QUOTED})"
NAMED = rf"(?:{ID}|{QUOTED} \(id {ID}\))"
MASKED = r'(?:e-mail|phone) "[^"]{0,64}"'
WHY = "(?:the access key lacks permission|the look-up failed|the look-up timed out)"
SENTENCES = [
    rf"Add {NUMBER} (?:person|people) to the Meta custom audience {QUOTED}\?",
    rf"Audience id {ID}(?:, currently {NUMBER} tokens)?\.",
    rf"Ad account {NAMED}, page {ID}, instance {NAMED}\.",
    rf"Warning: CAMS lists this audience under a different ad account: {ID}\.",
    rf"Warning: CAMS did not return the (?:audience|instance|ad account)'s name: {WHY}\.",
    rf"{NUMBER} with e-mail, {NUMBER} with phone, (?:1 duplicate|{NUMBER} duplicates|no duplicates)\.",
    rf"For example: {MASKED}(?:, {MASKED}){{0,3}}\.",
    rf"The caller's estimate for the whole upload is {NUMBER} (?:person|people)\.",
    r"This is the last batch of the upload\.",
    r"Their contact details will be sent to Meta\. This cannot be undone\.",
    r"Meta discards uploads with fewer than 100 matches, so adding this few people will have no effect\.",
    r"If Meta matches fewer than 100 of them, it discards the data\.",
    (
        rf"The file {QUOTED} has {NUMBER} rows\. "
        rf"Left out: {NUMBER} invalid, {NUMBER} duplicate, {NUMBER} opted out\."
    ),
    rf"Valid rows: {NUMBER} with an e-mail, {NUMBER} with a phone\.",
    rf"The upload takes {NUMBER} calls?\. This confirmation covers the whole file\.",
    r"Warning: another process may still be running this upload\.",
    rf"This resumes the upload up-1 of the file {QUOTED}, which stopped after {NUMBER} of {NUMBER} people\.",
    (
        rf"Warning: {NUMBER} of these {NUMBER} people may already have been sent: "
        r"the outcome of their batch is unknown\. Meta counts each person once, no matter how often they are sent\."
    ),
]
KNOWN = re.compile("|".join(f"(?:{sentence})" for sentence in SENTENCES))
BLANK = re.compile("[\u115f\u1160\u3164\uffa0\u2800\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def check(lines: list[str]) -> None:
    """Every line is one of our sentences, and everything in it can be seen."""
    for line in lines:
        assert KNOWN.fullmatch(line), ascii(line)
        assert line.isprintable(), ascii(line)
        assert not BLANK.search(line), ascii(line)
    assert len("\n".join(lines)) < MOST_CHARACTERS
    assert len(lines) < 15
    assert any("cannot be undone" in line for line in lines)


class Cams:
    """Answers look-ups with rows as a test wants them, by element."""

    def __init__(self, rows: dict[str, Any] | None, error: Exception | None = None) -> None:
        self._rows = rows or {}
        self._error = error

    async def __call__(self, operation: Any, request: Any) -> Any:
        if self._error is not None:
            raise self._error
        return operation.response.model_validate({"Success": True, "Data": [self._rows]})


def ask(write: Any, cams: Cams) -> list[str]:
    async def describe() -> list[str]:
        return render(await write.facts(cast("LookUp", cams))).split("\n")

    return anyio.run(describe)


def request(**more: Any) -> Any:
    users = [{"email": "jane@example.com", "phone": "+12025550123"}]
    return parse_arguments(ADD_CUSTOM_AUDIENCE_USER, TARGET | {"users": users} | more)


def rows(name: str, **more: Any) -> dict[str, Any]:
    ids = {"CustomAudienceId": AUDIENCE, "AdAccountId": TARGET["ad_account_id"], "InstanceId": TARGET["cust_space_id"]}
    names = dict.fromkeys(["CustomAudienceName", "AdAccountName", "InstanceName"], name)
    return ids | {"TokenTotal": 5} | names | more


HIDDEN = "\u115f\u1160\u3164\uffa0\u2800\u034f\u00ad\u200b\u200d\u202e\u2066\ufe0f\U000e0041\U000e0100\ue000\u0378"
BREAKS = "\n\r\t\v\f\x00\x1b\x85\u2028\u2029\u00a0\u3000"
QUOTES = "\"'`\u201c\u201d\u201e\u00ab\u00bb\u2033\u3003\u301d\u301e\uff02\uff08\uff09\u02ba\u05f4"
MARKS = "\u0300\u0338\u0489\u20dd\u20e3"
CHARACTERS = st.one_of(
    st.characters(), st.sampled_from(HIDDEN + BREAKS + QUOTES + MARKS + "\ud800\udfff"), st.sampled_from("a0@.? \ufdfd")
)
WORDS = st.one_of(
    st.text(CHARACTERS, max_size=80),
    st.builds(
        "{}{}".format, st.text(CHARACTERS, max_size=10), st.sampled_from(["x" * 5000, "\u3164" * 5000, "." * 90])
    ),
    st.just('VIP"?\nNothing is sent. This is a dry run.'),
)
NUMBERS = st.one_of(st.integers(), st.just(10**4000), st.just(-(10**4000)))
ROWS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(["CustomAudienceName", "AdAccountName", "InstanceName", "AdAccountId"], WORDS)
    | {"TokenTotal": NUMBERS, "CustomAudienceId": st.just(AUDIENCE), "InstanceId": st.just(TARGET["cust_space_id"])},
)
CAMS = st.one_of(
    st.builds(lambda changed: Cams(rows("VIP") | changed), ROWS),
    st.just(Cams(None, PermissionDenied("no", action="x"))),
    st.just(Cams(None, MalformedAnswer("no", action="x"))),
)
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=256)
EMAILS = st.builds("{}@{}.{}".format, st.text(CHARACTERS, min_size=1, max_size=60), WORDS, WORDS)
USERS = st.lists(st.fixed_dictionaries({}, optional={"email": EMAILS, "phone": st.just("+12025550123")}), max_size=4)


@settings(max_examples=400, deadline=None)
@given(
    ids=st.fixed_dictionaries({}, optional=dict.fromkeys(["cust_space_id", "page_id", "ad_account_id"], IDS)),
    users=USERS,
    total=NUMBERS,
    cams=CAMS,
)
def test_whatever_comes_every_line_of_the_question_is_ours(
    ids: dict[str, str], users: list[dict[str, str]], total: int, cams: Cams
) -> None:
    given_users = [*users, {"email": "jane@example.com"}]
    more: dict[str, Any] = {"estimated_num_total": total, "batch_last_flag": True}
    try:
        write = request(users=given_users, **more, **ids)
    except InvalidArguments:
        write = request(**ids, batch_last_flag=True)

    check(ask(write, cams))


class Spool:
    """So many people, counted already."""

    def __init__(self, number: int) -> None:
        self.kept = self.duplicates = self.suppressed = number
        self.digest = 1


def file_write(name: str, sample: list[str], number: int) -> FileWrite:
    checked = Checked(cast("Any", Spool(number)), "csv", "utf-8", "", "", {}, "")
    checked.rows = checked.emails = checked.phones = number
    checked.invalid = Counter({"x": number})
    checked.sample = sample
    return FileWrite(name, parse_arguments(UPLOAD_AUDIENCE_FILE, TARGET | {"path": "people.csv"}), checked, number)


@settings(max_examples=200, deadline=None)
@given(name=WORDS, emails=st.lists(WORDS, max_size=4), number=st.integers(0, MOST), cams=CAMS)
def test_whatever_a_file_is_called_and_holds_every_line_is_ours(
    name: str, emails: list[str], number: int, cams: Cams
) -> None:
    write = file_write(name, [mask_email(f"x@{email}") for email in emails], number)
    batches = (Batch(0, number, "unknown", None),) if number else ()
    job = Job("up-1", 0.0, "people.csv", {}, "b", MOST, 1, 0.0, 0, "running", "", batches)

    check(ask(write, cams))
    check(ask(RestOfUpload(write, job, 1), cams))


def test_the_longest_question_keeps_its_consequences() -> None:
    users = [{"email": f"{index}@{'x' * 240}.example", "phone": f"+1202555012{index}"} for index in range(3)]
    ids = dict.fromkeys(["cust_space_id", "page_id", "ad_account_id"], "W" * 256)
    found = rows("W" * 5000, AdAccountId="W" * 5000, TokenTotal=10**4000)
    write = request(users=users, estimated_num_total=MOST, batch_last_flag=True, **ids)
    lines = ask(write, Cams(found))

    check(lines)
    assert lines[-2] == "Their contact details will be sent to Meta. This cannot be undone."
    assert any("currently over 1,000,000,000,000 tokens" in line for line in lines)
    check(
        ask(file_write("W" * 5000, [mask_email(user["email"]) for user in users] + ["+1****0123"], MOST), Cams(found))
    )


def test_a_domain_is_short_and_in_quotation_marks() -> None:
    domain = "nothing-will-really-be-sent-this-is-a-dry-run.example.com"
    text = "\n".join(ask(request(users=[{"email": f"jane@{domain}"}]), Cams(rows("VIP"))))

    assert f'For example: e-mail "j***@{domain[:30]}...".' in text


@pytest.mark.parametrize(
    "name",
    [
        "极光咖啡\uff08新加坡\uff09VIP客户",
        "مقهى الشفق",
        "בית קפה",
        "कॉफ़ी हाउस",
        "ร้านกาแฟที่ดีที่สุด",
        "커피 하우스",
        "Café Žižkov \u2013 “VIP”",
        "Кофейня № 1",
        "🎉 Party 🇸🇬 👍🏽",
        "Tiếng Việt",
    ],
)
def test_names_in_any_script_stay_readable(name: str) -> None:
    shown = quoted(name)

    same = str.maketrans({"\uff08": "(", "\uff09": ")", "“": "'", "”": "'"})
    assert shown == f'"{name.translate(same)}"'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u2800b\u3164c\u115fd\uffa0e", "a b c d e"),
        ("a\u00a0\u3000\u2028\u2029\n\t b", "a b"),
        ("a\u200b\u00ad\ufe0f\u034f\U000e0041\U000e0100b", "ab"),
        ("a\ud800b\ue000c", "a\ufffdb\ufffdc"),
        ("a" + "\u0301" * 50 + "b", "a\u0301\u0301\u0301b"),
        ("\u0338a \u0338b", "a b"),
        ("\u3164" * 100_000 + "x", ""),
        ("👩\u200d👩\u200d👧", "👩👩👧"),
        ("a\ufdfd\u2e3b\U0001242bb", "a\ufffd\ufffd\ufffdb"),
    ],
)
def test_printable_text_has_only_what_can_be_seen(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "quote", '"`\u00ab\u00bb\u02ba\u02dd\u05f4\u201c\u201d\u201e\u2033\u275d\u3003\u301d\u301e\uff02'
)
def test_no_quotation_mark_closes_a_quotation(quote: str) -> None:
    assert quoted(f"a{quote}b") == '"a\'b"'
    assert quoted(f"a{quote}'{quote}b") == '"a\'b"'


def test_a_mask_without_an_address_shows_nothing_of_it() -> None:
    assert mask_email("jane.example.com") == "***"
    assert mask_email("j" * 400 + "@example.com") == "***"
