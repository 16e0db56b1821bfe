"""The card in the chat, as far as Python makes it: keys, proofs, the view's one file, its words and its tools."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cams_mcp.approval import card
from cams_mcp.approval.card_words import FOR_MODEL, WORDS

SECRET = b"a secret of the store"
KEY = card.card_key(SECRET, "local")
SCRIPT = Path(card.__file__).with_name("card.js").read_text(encoding="utf-8")
STYLE = Path(card.__file__).with_name("card.html").read_text(encoding="utf-8")


def test_every_store_and_every_principal_has_a_key_of_its_own_that_does_not_change() -> None:
    keys = {card.card_key(secret, who) for secret in (SECRET, b"another") for who in ("local", "ada", "", "ada\n")}

    assert len(keys) == 8
    assert card.card_key(SECRET, "ada") in keys
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


def test_a_proof_is_good_for_one_thing_only() -> None:
    parts = [("show", ""), ("show", "A"), ("show", "B"), ("decide", "A", "approve"), ("decide", "A", "decline")]
    parts += [("decide", "B", "approve"), ("decide", "", "approve")]

    assert len({card.proof(KEY, *each) for each in parts}) == len(parts)
    for mine in parts:
        assert [other for other in parts if card.is_proved(card.proof(KEY, *mine), KEY, *other)] == [mine]


def test_a_proof_of_another_key_proves_nothing() -> None:
    for other in (card.card_key(SECRET, "ada"), card.card_key(b"another", "local"), KEY.upper(), ""):
        assert not card.is_proved(card.proof(other, "decide", "A", "approve"), KEY, "decide", "A", "approve")


@pytest.mark.parametrize("given", [None, "", 0, True, [], {}, ["decide"], "\ud800", "a" * 64, "é" * 64, KEY])
def test_whatever_else_is_sent_as_a_proof_is_none(given: object) -> None:
    assert not card.is_proved(given, KEY, "show", "")
    assert not card.is_proved_show({"proof": given}, KEY)
    assert not card.is_proved_decision({"proof": given, "approval_id": "A", "decision": "approve"}, KEY)


def test_the_proofs_of_both_tools_cover_all_that_matters() -> None:
    one, every = card.proof(KEY, "show", "A"), card.proof(KEY, "show", "")
    yes = card.proof(KEY, "decide", "A", "approve")

    assert card.is_proved_show({"approval_id": "A", "proof": one, "language": "zh"}, KEY)
    assert card.is_proved_show({"proof": every}, KEY)
    assert not card.is_proved_show({"proof": one}, KEY)
    assert not card.is_proved_show({"approval_id": "A", "proof": every}, KEY)
    assert card.is_proved_decision({"approval_id": "A", "decision": "approve", "proof": yes}, KEY)
    assert not card.is_proved_decision({"approval_id": "A", "decision": "decline", "proof": yes}, KEY)
    assert not card.is_proved_decision({"approval_id": "B", "decision": "approve", "proof": yes}, KEY)
    assert not card.is_proved_decision({"decision": "approve", "proof": yes}, KEY)
    other = card.proof(KEY, "decide", "A", "perhaps")
    assert not card.is_proved_decision({"approval_id": "A", "decision": "perhaps", "proof": other}, KEY)


def test_the_key_stands_in_the_view_and_nowhere_else() -> None:
    resource = card.card_resource(KEY)
    rest = resource.model_copy(update={"text": ""}).model_dump_json(by_alias=True)
    tools = "".join(tool.model_dump_json(by_alias=True) for tool in card.card_tools())

    assert resource.text.count(KEY) == 1
    assert KEY not in rest + tools + str(card.tool_meta())


def test_the_resource_asks_for_a_border_and_for_no_network() -> None:
    resource = card.card_resource(KEY).model_dump(by_alias=True, mode="json")

    assert (resource["uri"], resource["mimeType"]) == ("ui://cams-mcp/approval", "text/html;profile=mcp-app")
    assert resource["_meta"]["ui"]["prefersBorder"] is True
    assert set(map(tuple, resource["_meta"]["ui"]["csp"].values())) == {()}


def test_both_tools_are_for_the_view_alone_and_say_what_they_do() -> None:
    show, decide = (tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in card.card_tools())

    assert [tool["_meta"] for tool in (show, decide)] == [{"ui": {"visibility": ["app"]}}] * 2
    assert show["annotations"]["readOnlyHint"]
    assert decide["annotations"] == {
        "readOnlyHint": False,
        "destructiveHint": True,
        "idempotentHint": True,
        "openWorldHint": True,
    }
    assert "proof" in show["inputSchema"]["required"]
    assert decide["inputSchema"]["required"] == ["approval_id", "decision", "proof"]


def test_a_tool_that_shows_the_card_is_not_for_the_view() -> None:
    assert card.tool_meta()["ui"] == {"resourceUri": card.URI, "visibility": ["model"]}
    assert card.tool_meta()["ui/resourceUri"] == card.URI


def test_the_view_is_one_file_that_loads_nothing_and_writes_no_html() -> None:
    html = card.card_html(KEY)

    assert not re.search(r"\{\{\w+\}\}", html)
    assert html.count("</script") == 2
    assert re.findall(r"https?:|\ssrc=|@import|url\(|innerHTML|insertAdjacent|document\.write|\beval\b", html) == []
    assert "fetch(" not in html


def test_no_word_can_end_the_script_that_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORDS["en"], "trust", "</script><script>alert(1)</script>")

    assert card.card_html(KEY).count("</script") == 2


def test_the_view_has_no_color_scheme_on_its_root() -> None:
    rules = re.findall(r"([^{}]+)\{[^{}]*color-scheme:", re.sub(r"/\*.*?\*/", "", STYLE, flags=re.DOTALL))

    assert [rule.strip().split("\n")[-1] for rule in rules] == ["main", 'main[data-theme="dark"]']


def test_both_languages_say_the_same_things_with_the_same_gaps() -> None:
    english, chinese = (
        {key: re.findall(r"\{\w+\}", text) for key, text in WORDS[language].items()} for language in WORDS
    )

    assert english == chinese


def test_every_word_is_used_and_every_used_word_exists() -> None:
    states = {"waiting", "approved", "declined", "sending", "sent", "stopped", "refused", "unknown", "expired"}
    used = set(re.findall(r"words\(\)\.(\w+)", SCRIPT)) | states | set(card.DECISIONS)

    assert used == set(WORDS["en"])


def test_the_model_is_told_an_id_a_number_and_sentences_of_our_own() -> None:
    gaps = {name for text in FOR_MODEL.values() for name in re.findall(r"\{(\w+)\}", text)}

    assert gaps == {"id", "count", "n"}
    assert set(FOR_MODEL) == {"approved", "declined", "sent", "stopped", "refused", "unknown", "count"}
