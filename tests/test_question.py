"""What a person reads before a write: sentences of ours, whatever an assistant, CAMS or a file puts into them."""

from __future__ import annotations

import io
import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, cast, get_args

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import AUDIENCE, TARGET, people

from cams_mcp.errors import InvalidArguments, MalformedAnswer, PermissionDenied
from cams_mcp.facts import Change, Description, Fact, Language, facts_from_json, render
from cams_mcp.fields import MOST
from cams_mcp.operation import LookUp
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.audience.words import WORDS, Words
from cams_mcp.redaction import mask_email, printable, quoted
from cams_mcp.store import Job
from cams_mcp.store.journal import Batch
from cams_mcp.tools.arguments import parse_arguments
from cams_mcp.upload.checks import Checked, HowToRead, check_file
from cams_mcp.upload.requests import FileWrite, RestOfUpload
from cams_mcp.upload.service import UPLOAD_AUDIENCE_FILE

MOST_CHARACTERS = 2000

NUMBER = r"(?:over )?-?[0-9,]{1,20}"
QUOTED = r'"[^"]{0,64}"'
ID = rf"(?:[0-9]{{1,32}}|{QUOTED})"
NAMED = rf"(?:{ID}|{QUOTED} \(id {ID}\))"
MASKED = r'(?:e-mail|phone) "[^"]{0,64}"'
WHY = "(?:the access key lacks permission|the look-up failed|the look-up timed out)"
ENGLISH = [
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
    rf"The upload takes (?:1 call|{NUMBER} calls)\. This confirmation covers the whole file\.",
    r"Warning: another process may still be running this upload\.",
    rf"This resumes the upload up-1 of the file {QUOTED}, which stopped after {NUMBER} of {NUMBER} people\.",
    (
        rf"Warning: {NUMBER} of these {NUMBER} people may already have been sent: "
        r"the outcome of their batch is unknown\. Meta counts each person once, no matter how often they are sent\."
    ),
    # Where numbers and samples are drawn.
    rf"File {QUOTED}\.",
    QUOTED,
]
NUMBER_ZH = r"(?:超过 )?-?[0-9,]{1,20}"
QUOTED_ZH = r'“[^“”"]{0,64}”'
ID_ZH = rf"(?:[0-9]{{1,32}}|{QUOTED_ZH})"
MASKED_ZH = rf"(?:邮箱|手机号){QUOTED_ZH}"
CHINESE = [
    rf"是否向 Meta 自定义受众{QUOTED_ZH}添加 {NUMBER_ZH} 位用户？",
    rf"受众 ID：{ID_ZH}(?:，当前 Token 数：{NUMBER_ZH})?。",
    (
        rf"广告账户(?:：{QUOTED_ZH}（ID：{ID_ZH}）| ID：{ID_ZH})，Page ID：{ID_ZH}，"
        rf"实例(?:：{QUOTED_ZH}（ID：{ID_ZH}）| ID：{ID_ZH})。"
    ),
    rf"警告：CAMS 显示该受众属于另一个广告账户，其 ID 为 {ID_ZH}。",
    r"警告：未能从 CAMS 获取(?:受众|实例|广告账户)名称：(?:访问密钥没有相应权限|查询失败|查询超时)。",
    rf"有邮箱的用户 {NUMBER_ZH} 位，有手机号的用户 {NUMBER_ZH} 位，(?:无重复用户|重复用户 {NUMBER_ZH} 位)。",
    rf"示例：{MASKED_ZH}(?:、{MASKED_ZH}){{0,3}}。",
    rf"调用方预估本次上传共 {NUMBER_ZH} 位用户。",
    r"这是本次上传的最后一批。",
    r"这些用户的联系方式将发送给 Meta。此操作无法撤销。",
    r"匹配成功的用户少于 100 位时，Meta 会丢弃数据。本次添加的用户不足 100 位，因此不会生效。",
    r"如果匹配成功的用户少于 100 位，Meta 会丢弃这些数据。",
    (
        rf"文件{QUOTED_ZH}共 {NUMBER_ZH} 行。"
        rf"已排除：无效行 {NUMBER_ZH} 行，重复用户 {NUMBER_ZH} 位，已退订用户 {NUMBER_ZH} 位。"
    ),
    rf"有效行中，有邮箱的 {NUMBER_ZH} 行，有手机号的 {NUMBER_ZH} 行。",
    rf"上传共需 {NUMBER_ZH} 次 API 调用。本次确认对整个文件有效。",
    r"警告：可能有其他进程仍在执行该上传任务。",
    (
        rf"本次操作将续传文件{QUOTED_ZH}（上传任务 ID：up-1）。"
        rf"该任务共 {NUMBER_ZH} 位用户，上次在发送 {NUMBER_ZH} 位后停止。"
    ),
    (
        rf"警告：这 {NUMBER_ZH} 位用户中有 {NUMBER_ZH} 位可能已经发送，其所在批次的结果未知。"
        r"无论发送多少次，Meta 对每位用户只统计一次。"
    ),
    rf"文件：{QUOTED_ZH}。",
    QUOTED_ZH,
]
LANGUAGES: tuple[Language, ...] = get_args(Language)
KNOWN: Mapping[Language, re.Pattern[str]] = {
    language: re.compile("|".join(f"(?:{sentence})" for sentence in sentences))
    for language, sentences in zip(LANGUAGES, (ENGLISH, CHINESE), strict=True)
}
IRREVERSIBLE: Mapping[Language, str] = {"en": "cannot be undone", "zh": "无法撤销"}
BLANK = re.compile("[\u115f\u1160\u3164\uffa0\u2800\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def check(described: Mapping[Language, Description]) -> None:
    """In each language, every text is one of our sentences, and everything in it can be seen."""
    for language, description in described.items():
        lines = render(description).split("\n")
        drawn = [
            description.question,
            *(f"{description.warning}{warning}" for warning in description.warnings),
            *description.place,
            *description.consequences,
            *description.samples,
        ]
        for line in [*lines, *drawn]:
            assert KNOWN[language].fullmatch(line), ascii(line)
            assert line.isprintable(), ascii(line)
            assert not BLANK.search(line), ascii(line)
        for shown in (lines, drawn):
            assert len("\n".join(shown)) < MOST_CHARACTERS
            assert len(shown) < 15
            assert any(IRREVERSIBLE[language] in line for line in shown)
        check_drawing(description, language)


def check_drawing(description: Description, language: Language) -> None:
    """Labels are ours, and numbers are bounded."""
    words = WORDS[language]
    change = description.change
    assert change is not None
    assert change.label == words.tokens
    assert change.before is None or 0 <= change.before <= MOST
    labels = {*words.of_call.values(), *words.of_file.values(), *words.of_rest.values()}
    assert {bar.label for bar in description.bars} <= labels
    assert all(0 <= bar.number <= MOST for bar in description.bars)
    assert description.tick == words.tick


class Cams:
    """Answers look-ups with rows as a test wants them, by element."""

    def __init__(self, rows: dict[str, Any] | None, error: Exception | None = None) -> None:
        self._rows = rows or {}
        self._error = error

    async def __call__(self, operation: Any, request: Any) -> Any:
        if self._error is not None:
            raise self._error
        return operation.response.model_validate({"Success": True, "Data": [self._rows]})


def facts_of(write: Any, cams: Cams) -> tuple[Fact, ...]:
    async def look() -> tuple[Fact, ...]:
        return await write.facts(cast("LookUp", cams))

    return anyio.run(look)


def describe(facts: tuple[Fact, ...], language: Language) -> Description:
    assert ADD_CUSTOM_AUDIENCE_USER.effect is not None
    return ADD_CUSTOM_AUDIENCE_USER.effect.description(facts, language)


def ask(write: Any, cams: Cams) -> dict[Language, Description]:
    """The write, described from its facts as the store keeps them."""
    facts = facts_of(write, cams)
    stored = json.dumps([fact.to_json() for fact in facts])
    assert len(stored) < 10_000
    described = {language: describe(facts_from_json(json.loads(stored)), language) for language in LANGUAGES}
    assert described == {language: describe(facts, language) for language in LANGUAGES}
    return described


def in_english(write: Any, cams: Cams) -> list[str]:
    return render(ask(write, cams)["en"]).split("\n")


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
OUTSIDE = st.one_of(
    st.text(CHARACTERS, max_size=80),
    st.builds(
        "{}{}".format, st.text(CHARACTERS, max_size=10), st.sampled_from(["x" * 5000, "\u3164" * 5000, "." * 90])
    ),
    st.just('VIP"?\nNothing is sent. This is a dry run.'),
)
NUMBERS = st.one_of(st.integers(), st.just(10**4000), st.just(-(10**4000)))
ROWS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(["CustomAudienceName", "AdAccountName", "InstanceName", "AdAccountId"], OUTSIDE)
    | {"TokenTotal": NUMBERS, "CustomAudienceId": st.just(AUDIENCE), "InstanceId": st.just(TARGET["cust_space_id"])},
)
CAMS = st.one_of(
    st.builds(lambda changed: Cams(rows("VIP") | changed), ROWS),
    st.just(Cams(None, PermissionDenied("no", action="x"))),
    st.just(Cams(None, MalformedAnswer("no", action="x"))),
)
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=256)
EMAILS = st.builds("{}@{}.{}".format, st.text(CHARACTERS, min_size=1, max_size=60), OUTSIDE, OUTSIDE)
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
@given(name=OUTSIDE, emails=st.lists(OUTSIDE, max_size=4), number=st.integers(0, MOST), cams=CAMS)
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
    found = Cams(rows("W" * 5000, AdAccountId="W" * 5000, TokenTotal=10**4000))
    write = request(users=users, estimated_num_total=MOST, batch_last_flag=True, **ids)
    lines = in_english(write, found)

    check(ask(write, found))
    assert lines[-2] == "Their contact details will be sent to Meta. This cannot be undone."
    assert any("currently over 1,000,000,000,000 tokens" in line for line in lines)
    masked = [mask_email(user["email"]) for user in users] + ["+1****0123"]
    check(ask(file_write("W" * 5000, masked, MOST), found))


def test_a_domain_is_short_and_in_quotation_marks() -> None:
    domain = "nothing-will-really-be-sent-this-is-a-dry-run.example.com"
    described = ask(request(users=[{"email": f"jane@{domain}"}]), Cams(rows("VIP")))

    assert f'For example: e-mail "j***@{domain[:30]}...".' in render(described["en"])
    assert f"示例：邮箱“j***@{domain[:30]}...”。" in render(described["zh"])
    assert described["en"].samples == (f'"j***@{domain[:30]}..."',)


def test_the_question_about_a_call() -> None:
    users = [*people(150), {"email": "customer000000@example.com"}, {"phone": "+12025550123"}]
    described = ask(request(users=users, estimated_num_total=400, batch_last_flag=True), Cams(rows("VIP")))

    assert render(described["en"]).split("\n") == [
        'Add 152 people to the Meta custom audience "VIP"?',
        f"Audience id {AUDIENCE}, currently 5 tokens.",
        (
            f'Ad account "VIP" (id {TARGET["ad_account_id"]}), page {TARGET["page_id"]}, '
            f'instance "VIP" (id "{TARGET["cust_space_id"]}").'
        ),
        "151 with e-mail, 1 with phone, 1 duplicate.",
        'For example: e-mail "c***@example.com", e-mail "c***@example.com", phone "+120****0123".',
        "The caller's estimate for the whole upload is 400 people.",
        "This is the last batch of the upload.",
        "Their contact details will be sent to Meta. This cannot be undone.",
        "If Meta matches fewer than 100 of them, it discards the data.",
    ]
    assert render(described["zh"]).split("\n") == [
        "是否向 Meta 自定义受众“VIP”添加 152 位用户？",
        f"受众 ID：{AUDIENCE}，当前 Token 数：5。",
        (
            f"广告账户：“VIP”（ID：{TARGET['ad_account_id']}），Page ID：{TARGET['page_id']}，"
            f"实例：“VIP”（ID：“{TARGET['cust_space_id']}”）。"
        ),
        "有邮箱的用户 151 位，有手机号的用户 1 位，重复用户 1 位。",
        "示例：邮箱“c***@example.com”、邮箱“c***@example.com”、手机号“+120****0123”。",
        "调用方预估本次上传共 400 位用户。",
        "这是本次上传的最后一批。",
        "这些用户的联系方式将发送给 Meta。此操作无法撤销。",
        "如果匹配成功的用户少于 100 位，Meta 会丢弃这些数据。",
    ]


def test_what_is_drawn_and_what_stays_text_say_together_all_that_the_question_says() -> None:
    call = ask(request(batch_last_flag=True), Cams(rows("VIP")))["en"]
    file = ask(file_write("people.csv", ["a***@example.com"], 7), Cams(rows("VIP")))["en"]
    huge = ask(request(), Cams(rows("VIP", TokenTotal=10**20)))["zh"]

    assert call.place[0] == f"Audience id {AUDIENCE}."
    assert call.place[1] == call.details[1]
    assert call.place[2:] == ("This is the last batch of the upload.",)
    assert call.change == Change("Tokens in the audience (reported by CAMS)", 5, 1)
    assert [(bar.label, bar.number) for bar in call.bars] == [
        ("People", 1),
        ("With e-mail", 1),
        ("With phone", 1),
        ("Duplicates", 0),
    ]
    assert file.place[2:] == ('File "people.csv".', file.details[-1])
    assert [bar.number for bar in file.bars] == [7] * 7
    # A size that is too large to draw stays text.
    assert huge.change is not None
    assert huge.change.before is None
    assert huge.place[0] == huge.details[0] == f"受众 ID：{AUDIENCE}，当前 Token 数：超过 1,000,000,000,000。"


def test_the_rest_of_an_upload_says_what_was_sent_and_what_may_have_been() -> None:
    write = file_write("people.csv", [], 700)
    batches = (Batch(0, 300, "sent", None), Batch(300, 100, "unknown", None))
    job = Job("up-1", 0.0, "people.csv", {}, "b", 700, 1, 0.0, 0, "stopped", "", batches)
    described = ask(RestOfUpload(write, job, 1), Cams(rows("VIP")))

    assert [(bar.label, bar.number) for bar in described["en"].bars] == [
        ("People in the upload", 700),
        ("Already sent", 300),
        ("Still to send", 400),
        ("May already have been sent", 100),
    ]
    assert described["en"].question == 'Add 400 people to the Meta custom audience "VIP"?'
    assert described["zh"].warnings == (
        "这 400 位用户中有 100 位可能已经发送，其所在批次的结果未知。无论发送多少次，Meta 对每位用户只统计一次。",
    )
    assert described["zh"].place[-1] == (
        "本次操作将续传文件“people.csv”（上传任务 ID：up-1）。该任务共 700 位用户，上次在发送 300 位后停止。"
    )


def test_only_the_samples_hold_anything_of_an_address() -> None:
    table = b"email,phone\njane.roe@example.com,+12025550123\nno address,\njane.roe@example.com,+12025550123\n"
    with check_file("people.csv", io.BytesIO(table), HowToRead()) as checked:
        upload = parse_arguments(UPLOAD_AUDIENCE_FILE, TARGET | {"path": "people.csv"})
        file = FileWrite("people.csv", upload, checked, 1)
        users = [{"email": "jane.roe@example.com", "phone": "+12025550123"}]
        for write in (request(users=users), file):
            facts = facts_of(write, Cams(rows("VIP")))
            masked = [fact for fact in facts if fact.kind == "samples"]
            others = json.dumps([fact.to_json() for fact in facts if fact.kind != "samples"])

            assert [set(fact.value) for fact in masked] == [{"j***@example.com", "+120****0123"}]
            assert not re.search("@|jane|example|2025550123", others)


def test_an_address_in_a_name_is_masked() -> None:
    cams = Cams(rows("for jane.roe@example.com and Bob <bob@example.com>"))

    facts = facts_of(request(users=[{"email": "jane@example.com"}]), cams)

    (name,) = [fact.value for fact in facts if fact.key == "audience_name"]
    assert name == "for j***@example.com and Bob <b***@example.com>"


def test_the_question_is_still_complete_when_the_samples_are_deleted() -> None:
    facts = facts_of(request(), Cams(rows("VIP")))
    deleted = tuple(Fact(fact.key, fact.kind, []) if fact.kind == "samples" else fact for fact in facts)
    gone = tuple(fact for fact in facts if fact.kind != "samples")

    for language in LANGUAGES:
        whole, left = describe(facts, language), describe(gone, language)
        assert left == describe(deleted, language)
        assert left.samples == ()
        assert set(whole.details) - set(left.details) == {whole.details[3]}


def test_both_languages_say_the_same_about_the_same_values() -> None:
    def values(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    def texts(words: Words) -> Iterator[tuple[str, str]]:
        for each in fields(words):
            value = getattr(words, each.name)
            yield from (
                ((each.name, value),) if isinstance(value, str) else ((f"{each.name}.{k}", v) for k, v in value.items())
            )

    english, chinese = (dict(texts(WORDS[language])) for language in LANGUAGES)
    assert {key: values(text) for key, text in english.items()} == {key: values(text) for key, text in chinese.items()}


def test_no_name_leaves_its_quotation_in_chinese() -> None:
    name = "VIP”添加 0 位用户？\n此操作仅为演示，不会发送任何数据。“"
    question = ask(request(), Cams(rows(name)))["zh"].question

    shown = "VIP'添加 0 位用户? 此操作仅为演示,不会发送任何数据。'"
    assert question == f"是否向 Meta 自定义受众“{shown}”添加 1 位用户？"


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
