"""The card in the chat, in real Chromium: a host of MCP Apps on one page, and a server made of a dictionary."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
import support_chromium
from support_chromium import overflows, take_screenshot, why_missing

if (why := why_missing()) is not None:
    pytest.skip(why, allow_module_level=True)

from playwright.sync_api import Browser, Locator, Page, expect
from support_mcp_apps import CAPABILITIES, Host, open_card
from support_page import a_write, facts_of

from cams_mcp.approval import card
from cams_mcp.approval.view import as_shown
from cams_mcp.facts import Fact

chromium = support_chromium.chromium

KEY = card.card_key(b"a secret of the store", "local")
HTML = card.card_html(KEY)
NOW = 1_780_000_000.0

_EARLIER = Fact("earlier", "warning", {"started": NOW - 90_000, "outcome": "sent"})
_PENDING = a_write(facts=facts_of(150, "VIP-Q1-1", _EARLIER), client="claude-ai 1.2", asked=NOW - 10)
WRITE: dict[str, Any] = as_shown(_PENDING, "en", NOW)
CHINESE = {key: text for key, text in as_shown(_PENDING, "zh", NOW).items() if key not in ("id", "state", "outcome")}
QUESTION = WRITE["question"]
OUTCOMES = {
    "approved": "Approved in the card.",
    "declined": "Declined in the card. Nothing was sent.",
    "sending": "Approved in the card. The server is sending it.",
    "sent": "Approved in the card. CAMS accepted it.",
    "stopped": "Approved in the card. Sending stopped before the end.",
    "refused": "Approved in the card, but it failed. Nothing was sent.",
    "unknown": "Approved in the card. It may have been applied.",
}


class Server:
    """Holds writes, and checks proofs as the real one does.

    Attributes:
        writes: what waits, and what became of it. Tests change it between calls.
        then: states that an approved write passes through, one per look at it.
        broken: what the host or the server answers instead, by tool.
    """

    def __init__(self, *writes: dict[str, Any]) -> None:
        self.writes = {write["id"]: write for write in writes}
        self.then = ["approved", "sending", "sent"]
        self.broken: dict[str, dict[str, Any]] = {}
        self.decisions: list[tuple[str, str]] = []

    def __call__(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if name in self.broken:
            return self.broken[name]
        wanted = arguments.get("approval_id")
        if name == card.SHOW and card.is_proved_show(arguments, KEY):
            for each in self.writes:
                if self.writes[each]["state"] in self.then[:-1]:
                    self.become(each, self.then[self.then.index(self.writes[each]["state"]) + 1])
        elif name == card.DECIDE and card.is_proved_decision(arguments, KEY):
            self.decisions.append((wanted, arguments["decision"]))
            if self.writes[wanted]["state"] == "waiting":
                self.become(wanted, self.then[0] if arguments["decision"] == "approve" else "declined")
        else:
            return {"isError": True, "content": [{"type": "text", "text": "Not allowed."}]}
        own = CHINESE if arguments.get("language") == "zh" else {}
        shown = [{**write, **own} for write in self.writes.values() if wanted in (None, write["id"])]
        return {"content": [], "structuredContent": {"writes": shown, "now": NOW}}

    def become(self, write: str, state: str) -> None:
        self.writes[write] = {**self.writes[write], "state": state, "outcome": OUTCOMES[state]}


def result_for(write: str = "K7QX2MPD") -> dict[str, Any]:
    """What the tool returned: a write waits."""
    return {"content": [], "structuredContent": {"status": "awaiting_approval", "approval_id": write}}


def error(text: str) -> dict[str, Any]:
    return {"isError": True, "content": [{"type": "text", "text": text}]}


Show = Callable[..., Host]


@pytest.fixture
def page(chromium: Browser) -> Generator[Page]:
    """A page whose clock stands still, so that no test depends on how fast it runs."""
    context = chromium.new_context(viewport={"width": 800, "height": 1200})
    context.set_default_timeout(10_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: message.type in ("error", "warning") and problems.append(message.text))
    page.clock.install(time=NOW)
    page.clock.pause_at(NOW + 1)
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def show(page: Page) -> Show:
    def show(server: Server, result: dict[str, Any] | None = None, **given: Any) -> Host:
        return open_card(page, html=HTML, tool_result=result, call_tool=server, **given)

    return show


def pass_time(host: Host, seconds: float) -> None:
    host.page.clock.run_for(round(seconds * 1000))


def pass_until(host: Host, is_so: Callable[[], bool], most: float = 20) -> None:
    """Lets so much time pass until something is so. Messages between view and host need a moment that is not on the
    clock, which looking at the page gives them."""
    for _ in range(round(most * 10)):
        if is_so():
            return
        pass_time(host, 0.1)
    pytest.fail(f"the card still shows {host.text!r}")


def armed(host: Host, name: str = "Approve") -> Locator:
    """A button, once it acts."""
    button = host.button(name).first
    expect(button).to_be_visible()
    pass_until(host, button.is_enabled)
    return button


def waits_for(host: Host, text: str) -> None:
    pass_until(host, lambda: text in host.text)


def press_at(host: Host, button: Locator) -> None:
    """Presses the mouse where a button is, whether it acts or not."""
    button.click(force=True)


def test_a_person_approves_and_sees_what_became_of_it(show: Show) -> None:
    server = Server(WRITE)
    host = show(server, result_for())

    armed(host).click()
    waits_for(host, "Approved")
    waits_for(host, "The server is sending it.")
    waits_for(host, "CAMS accepted it.")

    assert server.decisions == [("K7QX2MPD", "approve")]
    expect(host.view.get_by_role("button")).to_have_count(0)
    looks = len(host.called(card.SHOW))
    pass_time(host, 60)
    assert len(host.called(card.SHOW)) == looks, "nothing is left to wait for"


def test_a_person_declines(show: Show) -> None:
    server = Server(WRITE)
    host = show(server, result_for())

    armed(host, "Decline").click()
    waits_for(host, "Nothing was sent.")

    assert server.decisions == [("K7QX2MPD", "decline")]
    (told,) = host.told
    assert told == (
        "The person declined the write K7QX2MPD (total: 150). Nothing was sent. "
        "Do not try again unless the person asks for it."
    )


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("sent", "and the server sent it"),
        ("stopped", "stopped before the end"),
        ("refused", "nothing was sent"),
        ("unknown", "uncertain"),
    ],
)
def test_the_model_is_told_the_outcome_once_without_names_or_samples(show: Show, state: str, said: str) -> None:
    server = Server(WRITE)
    server.then = ["approved", "sending", state]
    host = show(server, result_for())

    armed(host).click()
    waits_for(host, OUTCOMES[state])
    pass_time(host, 10)

    (told,) = host.told
    assert said in told
    assert "K7QX2MPD (total: 150)" in told
    assert not any(text in told for text in ("VIP", "example.com", "claude", "Aurora"))


def test_an_approved_write_that_nobody_sends_says_so_to_person_and_model(show: Show) -> None:
    server = Server(WRITE)
    server.then = ["approved"]
    host = show(server, result_for())

    armed(host).click()
    waits_for(host, "If it is not sent soon, ask the assistant")

    pass_until(host, lambda: bool(host.told))
    assert "Make the same call again" in host.told[0]
    server.become("K7QX2MPD", "sent")
    waits_for(host, "CAMS accepted it.")
    pass_until(host, lambda: len(host.told) == 2)


def test_a_host_that_takes_no_context_for_its_model_changes_nothing(show: Show) -> None:
    host = show(Server(WRITE), result_for(), capabilities={"serverTools": {}})
    host.refuse("ui/update-model-context")

    armed(host).click()
    waits_for(host, "CAMS accepted it.")


def test_the_card_shows_what_the_server_says_and_nothing_of_the_models_words(show: Show) -> None:
    arguments = {"custom_audience_id": "EVIL", "note": "Press Approve now", "approval_id": "EVIL"}
    host = show(Server(WRITE), result_for(), tool_input=arguments)
    host.notify("ui/notifications/tool-input-partial", {"arguments": arguments})

    armed(host)

    shown = host.text
    assert not any(text in shown for text in ("EVIL", "Press Approve now"))
    for text in (QUESTION, *WRITE["warnings"], *WRITE["place"], *WRITE["consequences"], *WRITE["samples"]):
        assert text in shown
    for text in (WRITE["requester"], "12,430 now · up to 150 added", "With phone\n100", "9:"):
        assert text in shown
    assert "This card is as trustworthy as the app that shows it." in shown
    assert not any(text in shown for text in WRITE["details"] if text not in WRITE["place"]), "drawn instead"


def test_a_write_without_figures_shows_its_details(show: Show) -> None:
    plain = {**WRITE, "place": [], "change": None, "bars": [], "samples": [], "warnings": []}
    host = show(Server(plain), result_for())

    armed(host)

    assert all(text in host.text for text in WRITE["details"])


def test_an_unknown_size_is_said_and_not_drawn(show: Show) -> None:
    host = show(Server({**WRITE, "change": {"label": "Tokens", "before": None, "added": 150}}), result_for())

    armed(host)

    assert "current size unknown · up to 150 added" in host.text


def test_markup_and_direction_marks_in_names_are_text(show: Show) -> None:
    owned = "document.title='owned'"
    name = f'<img src=x onerror="{owned}"><b>\u202egnp.exe\u2066</script><script>{owned}</script>'
    texts = {key: [name] for key in ("warnings", "place", "consequences", "samples")}
    hostile = {**WRITE, **texts, "question": name, "requester": name, "change": {**WRITE["change"], "label": name}}
    hostile["bars"] = [{"label": name, "number": 3}]
    server = Server(hostile)
    server.then = ["sent"]
    host = show(server, result_for())

    armed(host)
    shown = host.text
    assert shown.count("<img src=x onerror=") == 8
    assert "\u202e" not in shown
    assert "\u2066" not in shown
    host.button("Approve").click()
    waits_for(host, "Sent")

    assert host.view.locator("main img, main script, main b b").count() == 0
    assert host.frame.title() == "cams-mcp"
    assert host.requests == []


def test_two_clicks_are_one_decision(show: Show) -> None:
    server = Server(WRITE)
    host = show(server, result_for())

    button = armed(host)
    box = button.bounding_box()
    assert box is not None
    for _ in range(3):
        host.page.mouse.click(box["x"] + 5, box["y"] + 5, click_count=2)
    waits_for(host, "CAMS accepted it.")

    assert len(host.called(card.DECIDE)) == 1


def test_buttons_do_nothing_while_a_decision_is_on_its_way(show: Show) -> None:
    host = show(Server(WRITE), result_for())
    host.hold(card.DECIDE)

    armed(host).click()
    waits_for(host, "Recording your decision…")
    pass_time(host, 30)
    expect(host.button("Decline")).to_be_disabled()
    press_at(host, host.button("Decline"))
    assert "Recording your decision…" in host.text
    host.release(card.DECIDE)

    waits_for(host, "CAMS accepted it.")
    assert [each["decision"] for each in host.called(card.DECIDE)] == ["approve"]


def test_a_button_acts_one_second_after_it_came_into_view(show: Show) -> None:
    server = Server(WRITE)
    host = show(server, result_for())
    button = host.button("Approve")

    expect(button).to_be_visible()
    press_at(host, button)
    pass_time(host, 0.999)
    expect(button).to_be_disabled()
    press_at(host, button)
    button.focus()
    host.page.keyboard.press("Enter")
    assert host.called(card.DECIDE) == []

    armed(host).click()
    waits_for(host, "CAMS accepted it.")


def test_a_question_that_takes_the_place_of_another_gets_no_click_meant_for_the_first(show: Show) -> None:
    other = {**WRITE, "id": "B2B2B2B2", "question": "Delete everything?"}
    server = Server(WRITE, other)
    host = show(server, result_for())

    armed(host)
    host.notify("ui/notifications/tool-result", result_for("B2B2B2B2"))
    expect(host.view.get_by_role("heading")).to_have_text("Delete everything?")
    press_at(host, host.button("Approve"))
    assert host.called(card.DECIDE) == []

    armed(host).click()
    pass_until(host, lambda: server.decisions == [("B2B2B2B2", "approve")])


def test_a_question_whose_facts_change_is_asked_anew(show: Show) -> None:
    server = Server(WRITE)
    host = show(server, result_for())

    armed(host).focus()
    server.writes["K7QX2MPD"] = {**WRITE, "warnings": ["CAMS lists this audience under a different ad account."]}
    waits_for(host, "different ad account")
    expect(host.button("Approve")).to_be_disabled()
    assert host.frame.evaluate("document.activeElement.textContent") == QUESTION, "a key pressed now decides nothing"

    armed(host)


def test_a_button_below_the_edge_of_the_window_does_not_act(show: Show) -> None:
    host = show(Server(WRITE), result_for())
    armed(host)

    host.page.set_viewport_size({"width": 800, "height": 300})
    pass_until(host, lambda: not host.button("Approve").is_enabled())
    pass_time(host, 5)
    expect(host.button("Approve")).to_be_disabled()
    host.button("Approve").scroll_into_view_if_needed()
    armed(host)


def test_the_keyboard_is_enough(show: Show) -> None:
    server = Server(WRITE)
    host = show(server, result_for())

    armed(host)
    host.page.keyboard.press("Tab")
    assert host.frame.evaluate("document.activeElement.textContent") == "Approve"
    host.page.keyboard.press("Tab")
    assert host.frame.evaluate("document.activeElement.textContent") == "Decline"
    host.page.keyboard.press("Enter")
    waits_for(host, "Nothing was sent.")

    assert server.decisions == [("K7QX2MPD", "decline")]
    assert host.frame.evaluate("document.activeElement.textContent") == QUESTION
    assert "Declined in the card. Nothing was sent." in host.view.get_by_role("status").inner_text()


def test_a_script_in_the_view_cannot_press_its_buttons_as_a_person_does(show: Show) -> None:
    host = show(Server(WRITE), result_for())

    armed(host)
    host.frame.evaluate("document.querySelector('.approve').click()")
    pass_time(host, 2)

    assert host.called(card.DECIDE) == []


@pytest.mark.parametrize("state", ["declined", "sent", "stopped", "refused", "unknown"])
def test_after_a_reload_the_card_asks_first_and_says_what_was_decided(show: Show, state: str) -> None:
    server = Server(WRITE)
    host = show(server, result_for())
    armed(host)
    server.become("K7QX2MPD", state)

    host.reload()
    waits_for(host, OUTCOMES[state])

    assert "This request has already been decided." in host.text
    expect(host.view.get_by_role("button")).to_have_count(0)
    assert host.told == [], "old news"


def test_without_a_result_the_card_shows_all_that_waits(show: Show) -> None:
    other = {**WRITE, "id": "B2B2B2B2", "question": "Delete everything?"}
    server = Server(
        {**WRITE, "id": "D0D0D0D0", "state": "sent", "outcome": "Done before.", "question": "Before?"}, WRITE, other
    )
    host = show(server)

    assert "Loading the request…" in host.text
    pass_time(host, 2)
    assert host.calls == []
    waits_for(host, "2 requests are waiting for your approval")
    assert host.called(card.SHOW)[0] == {"proof": card.proof(KEY, "show", ""), "language": "en"}
    assert "Before?" not in host.text

    button = host.view.get_by_role("article", name="Delete everything?").get_by_role("button", name="Decline")
    host.page.set_viewport_size({"width": 800, "height": 2000})
    pass_until(host, button.is_enabled)
    button.click()
    pass_until(host, lambda: server.decisions == [("B2B2B2B2", "decline")])
    waits_for(host, "Nothing was sent.")
    assert QUESTION in host.text


def test_with_nothing_waiting_the_card_says_so_and_asks_no_more(show: Show) -> None:
    host = show(Server())

    waits_for(host, "Nothing is waiting for your approval.")
    pass_time(host, 60)

    assert len(host.calls) == 1


@pytest.mark.parametrize(
    "result",
    [
        {"content": [], "structuredContent": {"status": "sent", "request_id": "55A08CC7"}},
        {"content": [{"type": "text", "text": '{"status":"sent"}'}]},
        error("Nothing was sent: the daily limit is used up."),
    ],
)
def test_a_result_that_asks_for_nothing_needs_no_approval(show: Show, result: dict[str, Any]) -> None:
    host = show(Server(WRITE), result)

    waits_for(host, "Nothing to approve for this call.")
    pass_time(host, 10)

    assert host.calls == []
    expect(host.view.get_by_role("button")).to_have_count(0)


def test_a_result_whose_structure_the_host_dropped_is_read_from_its_text(show: Show) -> None:
    text = json.dumps(result_for()["structuredContent"])
    server = Server(WRITE)

    def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": json.dumps(server(name, arguments)["structuredContent"])}]}

    host = show(call, {"content": [{"type": "text", "text": text}]})

    armed(host).click()
    waits_for(host, "CAMS accepted it.")
    assert host.called(card.SHOW)[0]["approval_id"] == "K7QX2MPD"


def test_a_cancelled_call_leaves_its_question(show: Show) -> None:
    host = show(Server(WRITE))
    pass_until(host, lambda: any(each.get("method") == "ui/notifications/initialized" for each in host.received))
    assert host.text == "Loading the request…"

    host.notify("ui/notifications/tool-cancelled", {"reason": "user action"})

    waits_for(host, QUESTION)


@pytest.mark.parametrize("bad", ["<b>", "", "A\nB", "x" * 41, None, 7, ["K7QX2MPD"]])
def test_an_id_that_is_none_is_not_asked_about(show: Show, bad: object) -> None:
    host = show(Server(WRITE), {"structuredContent": {"approval_id": bad}})

    waits_for(host, "Nothing to approve for this call.")

    assert host.calls == []


def test_a_decision_at_another_door_appears_in_the_card(show: Show) -> None:
    server = Server(WRITE)
    host = show(server, result_for())

    armed(host)
    server.become("K7QX2MPD", "declined")

    waits_for(host, "Nothing was sent.")
    assert host.called(card.DECIDE) == []
    assert host.told[0].startswith("The person declined")


def test_time_runs_out(show: Show) -> None:
    server = Server(WRITE)
    host = show(server, result_for())

    armed(host)
    server.broken = {card.SHOW: {"refused": "asleep"}}
    pass_time(host, 600)
    waits_for(host, "This request expired.")
    expect(host.button("Approve")).to_have_count(0)
    server.broken, server.writes = {}, {}
    host.button("Try again").click()

    pass_until(host, lambda: "This request expired." in host.text and "Expired" not in host.text)


def test_a_write_that_the_server_does_not_know_has_expired(show: Show) -> None:
    host = show(Server(), result_for())

    waits_for(host, "This request has expired or does not exist.")


def test_teardown_in_mid_call_is_answered_and_ends_all_calls(show: Show) -> None:
    server = Server(WRITE)
    host = show(server, result_for())
    armed(host).click()

    answer = host.request("ui/resource-teardown")
    assert answer["result"] == {}
    calls = len(host.calls)
    pass_time(host, 60)
    assert len(host.calls) == calls
    assert host.request("ui/resource-teardown")["result"] == {}
    assert server.decisions == [("K7QX2MPD", "approve")]

    host.reload()
    waits_for(host, "CAMS accepted it.")
    assert server.decisions == [("K7QX2MPD", "approve")]


def test_after_teardown_the_buttons_do_nothing(show: Show) -> None:
    host = show(Server(WRITE), result_for())
    armed(host)

    host.request("ui/resource-teardown")
    press_at(host, host.button("Approve"))
    pass_time(host, 5)

    expect(host.button("Approve")).to_be_disabled()
    assert host.called(card.DECIDE) == []


def test_the_view_answers_pings_and_refuses_what_it_does_not_know(show: Show) -> None:
    host = show(Server(WRITE), result_for())
    armed(host)

    assert host.request("ping")["result"] == {}
    assert host.request("sampling/createMessage")["error"]["code"] == -32601
    assert host.request("toString")["error"]["code"] == -32601
    host.notify("constructor", {})
    host.notify("ui/notifications/unknown", {})


def test_messages_from_another_frame_are_ignored(show: Show) -> None:
    host = show(Server(WRITE), result_for())
    armed(host)
    before = host.text

    host.intrude({"method": "ui/notifications/tool-result", "params": {"structuredContent": {"status": "sent"}}})
    host.intrude({"id": 7, "method": "ui/resource-teardown", "params": {}})
    host.intrude({"id": 2, "result": {"structuredContent": {"writes": [], "now": NOW}}})

    assert host.request("ping")["result"] == {}
    assert host.text == before
    expect(host.button("Approve")).to_be_enabled()
    assert not any(message.get("id") == 7 and "result" in message for message in host.received)


def test_a_host_without_server_tools_gets_the_command_for_a_terminal(show: Show) -> None:
    host = show(Server(WRITE), result_for(), capabilities={})

    waits_for(host, "This app does not let the card contact the server.")
    assert "cams-mcp approve K7QX2MPD" in host.text
    assert host.calls == []
    expect(host.view.get_by_role("button")).to_have_count(0)


@pytest.mark.parametrize("refusal", [{"refused": "Blocked by policy."}, error("Blocked by policy.")])
def test_a_refused_question_names_the_command_and_can_be_tried_again(show: Show, refusal: dict[str, Any]) -> None:
    server = Server(WRITE)
    server.broken = {card.SHOW: refusal}
    host = show(server, result_for())

    waits_for(host, "The card could not load the request.")
    assert "Reported reason: Blocked by policy." in host.text
    assert "cams-mcp approve K7QX2MPD" in host.text
    server.broken = {}
    host.button("Try again").click()

    armed(host)
    assert "Blocked" not in host.text


@pytest.mark.parametrize("refusal", [{"refused": "Blocked by policy."}, error("Blocked by policy.")])
def test_a_refused_decision_says_so_and_can_be_made_again(show: Show, refusal: dict[str, Any]) -> None:
    server = Server(WRITE)
    server.broken = {card.DECIDE: refusal}
    host = show(server, result_for())

    armed(host).click()
    waits_for(host, "Your decision may not have been recorded.")
    assert "cams-mcp approve K7QX2MPD" in host.text
    assert "Reported reason: Blocked by policy." in host.text
    assert host.told == []
    server.broken = {}

    armed(host).click()
    waits_for(host, "CAMS accepted it.")
    assert "may not have been recorded" not in host.text


def test_a_server_that_never_answers_does_not_leave_the_card_loading(show: Show) -> None:
    host = show(Server(WRITE))
    host.hold(card.SHOW)

    pass_until(host, lambda: "The app did not answer." in host.text, most=40)


def test_the_key_appears_in_no_message_of_the_view(show: Show) -> None:
    server = Server(WRITE)
    server.broken = {card.DECIDE: error("Try again.")}
    host = show(server, result_for())

    armed(host).click()
    waits_for(host, "may not have been recorded")
    server.broken = {}
    armed(host).click()
    waits_for(host, "CAMS accepted it.")
    host.request("ui/resource-teardown")

    sent = json.dumps(host.received)
    assert len(host.received) > 8
    assert KEY not in sent
    assert KEY not in host.frame.content(), "not even in the document, once the view has started"
    proofs = {arguments["proof"] for _, arguments in host.calls}
    assert proofs == {card.proof(KEY, "show", "K7QX2MPD"), card.proof(KEY, "decide", "K7QX2MPD", "approve")}


def test_the_view_starts_as_the_specification_says(show: Show) -> None:
    host = show(Server(WRITE), result_for())
    armed(host)

    first, second = host.received[:2]
    assert first["method"] == "ui/initialize"
    assert first["params"] == {
        "protocolVersion": "2026-01-26",
        "appInfo": {"name": "cams-mcp-approval", "version": "1"},
        "appCapabilities": {"availableDisplayModes": ["inline"]},
    }
    assert second == {"jsonrpc": "2.0", "method": "ui/notifications/initialized", "params": {}}
    height = host.page.evaluate("host.sizes.at(-1).height")
    assert height == pytest.approx(host.frame.evaluate("document.querySelector('main').offsetHeight"), abs=1)


@pytest.mark.parametrize("locale", ["zh-CN", "zh-Hans-SG", "zh"])
def test_the_card_speaks_chinese_where_the_host_does(show: Show, locale: str) -> None:
    server = Server(WRITE)
    host = show(server, result_for(), locale=locale)

    armed(host, "批准")

    assert host.called(card.SHOW)[0]["language"] == "zh"
    assert CHINESE["question"] in host.text
    assert "剩余 9:" in host.text
    assert "警告：" in host.text
    assert host.frame.evaluate("document.documentElement.lang") == "zh-CN"


def test_the_language_of_the_server_wins(show: Show) -> None:
    server = Server(WRITE)

    def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = server(name, {**arguments, "language": "zh"})
        return {"structuredContent": {**answer["structuredContent"], "language": "zh"}}

    host = show(call, result_for())

    armed(host, "批准")


def test_the_card_follows_theme_language_and_colours_of_the_host(show: Show) -> None:
    host = show(Server(WRITE), result_for())
    armed(host)

    variables = {"--color-background-primary": "light-dark(#ffffff, rgb(1, 2, 3))", "display": "none", "--evil": "1"}
    host.notify("ui/notifications/host-context-changed", {"theme": "dark", "styles": {"variables": variables}})
    pass_until(
        host,
        lambda: (
            "rgb(1, 2, 3)" in host.frame.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor")
        ),
    )
    host.notify("ui/notifications/host-context-changed", {"locale": "zh-CN"})
    armed(host, "批准")

    assert host.frame.evaluate("document.querySelector('main').style.length") == 1
    assert host.frame.evaluate("getComputedStyle(document.documentElement).colorScheme") == "normal"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
@pytest.mark.parametrize("locale", ["en", "zh-CN"])
def test_the_card_fits_every_width_in_both_themes(
    show: Show, tmp_path: Path, theme: str, width: int, locale: str
) -> None:
    server = Server({**WRITE, "samples": [*WRITE["samples"], "w" * 120], "place": [*WRITE["place"], "9" * 200]})
    server.broken = {card.DECIDE: error("x" * 400)}
    host = show(server, result_for(), theme=theme, locale=locale, capabilities=CAPABILITIES)
    host.page.set_viewport_size({"width": width, "height": 1500})

    armed(host, "Approve" if locale == "en" else "批准").click()
    pass_until(host, lambda: "cams-mcp approve" in host.text)

    pass_time(host, 0.5)
    assert overflows(host.frame) == []
    assert low_contrast(host) == []
    host.page.screenshot(path=tmp_path / "card.png", full_page=True)


def low_contrast(host: Host) -> list[str]:
    """Texts whose contrast with what is behind them is below 4.5."""
    return host.frame.evaluate(
        """() => {
          const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b].map((each) => each / 255)
            .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
            .reduce((sum, each, at) => sum + each * [0.2126, 0.7152, 0.0722][at], 0);
          const behind = (node) => {
            for (; node; node = node.parentElement) {
              const colour = rgb(getComputedStyle(node).backgroundColor);
              if (colour.length === 3 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
          };
          const texts = [...document.querySelectorAll("main *")]
            .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
          return texts.filter((node) => {
            const [one, other] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
            return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5;
          }).map((node) => node.textContent);
        }"""
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_screenshots_for_the_docs(show: Show, tmp_path: Path, theme: str, width: int) -> None:
    host = show(Server(WRITE), result_for(), theme=theme)
    host.page.set_viewport_size({"width": width, "height": 1100})

    armed(host)
    height = host.page.evaluate("Math.ceil(document.body.getBoundingClientRect().height)")
    host.page.set_viewport_size({"width": width, "height": height})
    armed(host)
    take_screenshot(host.page, f"approval-card-{theme}-{width}.png", tmp_path)


def test_the_views_hmac_is_pythons(page: Page) -> None:
    script = Path(card.__file__).with_name("card.js").read_text(encoding="utf-8")
    code = script[script.index("const primes") : script.index("const proof")]
    page.goto("about:blank")
    keys = [KEY, "", "k", "ключ", secrets.token_hex(32)]
    texts: Iterable[str] = [
        "",
        "a",
        "批准\n决定",
        "\U0001f600é",
        *("x" * length for length in range(40, 140)),
        "y" * 5000,
    ]
    pairs = [[key, text] for key in keys for text in texts]

    made = page.evaluate(f"(pairs) => {{ {code}; return pairs.map(([key, text]) => hmac(key, text)); }}", pairs)

    assert made == [card.proof(key, text) for key, text in pairs]
