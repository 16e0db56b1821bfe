"""The approval page in a real Chromium."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support_chromium import chromium, low_contrast, overflows, take_screenshot
from support_page import PERSON, REPETITION, FakeDesk, RunningPage, a_write, facts_of, file_facts, running_page

from cams_mcp.approval.words import PAGE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["chromium"]

pytestmark = pytest.mark.slow

ID = "K7QX2MPD"
OTHER = "R4WPN8HT"
EN = PAGE["en"]


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk([a_write(ID)])


@pytest.fixture
def running(desk: FakeDesk) -> Generator[RunningPage]:
    with running_page(desk) as page:
        yield page


@contextmanager
def window(chromium: Browser, *, expects: str = r"$^", **options: Any) -> Generator[BrowserContext]:
    """A window of its own, with its own cookies. Errors in its console fail the test, unless it `expects` them."""
    errors: list[str] = []
    context = chromium.new_context(**{"locale": "en-US"} | options)
    context.on("weberror", lambda error: errors.append(str(error.error)))
    context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    context.set_default_timeout(15_000)
    try:
        yield context
    finally:
        context.close()
    known = f"Failed to load resource|{expects}"
    assert [error for error in errors if not re.search(known, error)] == []


@pytest.fixture
def page(chromium: Browser, running: RunningPage) -> Generator[Page]:
    """A tab with the page, loaded."""
    with window(chromium) as context:
        tab = context.new_page()
        tab.goto(running.show())
        yield tab


def button(page: Page, decision: str, approval_id: str = ID) -> Any:
    return page.locator(f"#write-{approval_id}").get_by_role("button", name=EN[decision])


def state(page: Page, expected: str, approval_id: str = ID) -> None:
    """Wait until a write is shown in this state."""
    page.locator(f'#write-{approval_id}[data-state="{expected}"]').wait_for()


def until(page: Page, condition: str) -> None:
    """Wait for a condition in JavaScript. Playwright's own way to do this needs eval, which the page forbids."""
    page.evaluate(
        f"() => new Promise((done) => {{ const look = () => ({condition}) ? done() : setTimeout(look, 20); look(); }})"
    )


def wait_until_armed(page: Page) -> None:
    """Wait until no button is in its first second any more."""
    page.locator('#requests[data-armed="true"]').wait_for()
    until(page, "document.getAnimations().every((each) => each.animationName === 'turn')")


@contextmanager
def page_of(chromium: Browser, running: RunningPage, **options: Any) -> Generator[Page]:
    """A tab with the page, in a window of its own."""
    with window(chromium, **options) as context:
        tab = context.new_page()
        tab.goto(running.show())
        yield tab


THEMES = pytest.mark.parametrize("theme", ["light", "dark"])


# How it looks.


@THEMES
@pytest.mark.parametrize("width", [320, 1200])
def test_the_page_is_pictured(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theme: Any, width: int
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    asked = 1_790_000_000.0
    desk = FakeDesk([a_write(ID, file_facts(REPETITION), asked=asked)], clock=lambda: asked + 53)
    size = {"width": width, "height": 700}
    with (
        running_page(desk, clock=desk.clock) as running,
        window(chromium, color_scheme=theme, viewport=size) as context,
    ):
        tab = context.new_page()
        # Time stands still, so that the picture is always the same.
        tab.clock.install(time=asked)
        tab.clock.pause_at(asked + 1)
        tab.goto(running.show())
        tab.get_by_text("08:57 left").wait_for()
        background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(14, 17, 22)") == (theme == "dark")
        assert overflows(tab) == []
        tab.evaluate("document.getElementById('requests').dataset.armed = 'true'")
        picture = take_screenshot(tab, f"approval-page-{theme}-{width}.png", tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_nothing_sticks_out_of_the_narrowest_page(
    chromium: Browser, running: RunningPage, desk: FakeDesk, locale: str, *, scripts: bool
) -> None:
    desk.writes = [
        a_write("AAAAAAAA", facts_of(10_000, "W" * 200, REPETITION), client="M" * 300),
        a_write("BBBBBBBB", facts_of(999_999, "\u4f60\u597d" * 100, tokens=None)),
        a_write("CCCCCCCC", file_facts(REPETITION)),
        a_write("DDDDDDDD", (), client=""),
        a_write("EEEEEEEE"),
    ]
    desk.writes[3] = replace(desk.writes[3], operation="OfALaterVersion", facts=facts_of(3, "i" * 300))
    desk.finish("EEEEEEEE", "unknown")
    options = {"locale": locale, "viewport": {"width": 320, "height": 600}, "java_script_enabled": scripts}
    with page_of(chromium, running, **options) as tab:
        assert tab.locator("article").count() == 5
        # With scripts disabled, the page's own are: this one still runs.
        assert overflows(tab) == []


@THEMES
def test_all_text_has_enough_contrast(chromium: Browser, running: RunningPage, desk: FakeDesk, theme: Any) -> None:
    desk.writes = [a_write(ID, facts_of(150, "A", REPETITION), seconds=40)]
    for number, outcome in enumerate(["sent", "refused", "unknown", None]):
        desk.writes.append(a_write(f"{number:08}"))
        desk.finish(f"{number:08}", outcome)
    desk.writes.append(a_write("DDDDDDDD"))
    desk.change("DDDDDDDD", lambda write: write.decide("declined", "page", PERSON, time.time()))
    with page_of(chromium, running, color_scheme=theme) as tab:
        wait_until_armed(tab)
        assert low_contrast(tab, at_least=50) == []


def test_a_page_that_is_asked_to_move_less_does(chromium: Browser, running: RunningPage, desk: FakeDesk) -> None:
    desk.finish(ID, None)
    turning = "getComputedStyle(document.querySelector('.badge'), '::before').animationName"
    with page_of(chromium, running) as tab:
        assert tab.evaluate(turning) == "turn"
    with page_of(chromium, running, reduced_motion="reduce") as tab:
        assert tab.evaluate(turning) == "none"


def test_screen_readers_find_their_way(page: Page, desk: FakeDesk) -> None:
    question = 'Add 150 people to the Meta custom audience "VIP-Q1-1"?'
    card = page.get_by_role("main").get_by_role("region", name=EN["requests"]).get_by_role("article", name=question)
    assert card.get_by_role("heading", name=question).count() == 1
    people = card.get_by_role("table", name=EN["contents"]).get_by_role("row", name=re.compile("With phone.*100"))
    assert people.count() == 1
    assert card.get_by_role("timer").inner_text().endswith("left")
    assert (
        button(page, "approve").evaluate(
            "(each) => document.getElementById(each.getAttribute('aria-describedby')).innerText"
        )
        == question
    )
    assert page.evaluate("document.documentElement.lang") == "en"
    # What changes by itself is announced: outcomes, new questions, and the last minute, but not every second.
    assert card.get_by_role("status").count() == 1
    assert page.locator("#news").get_attribute("role") == "status"
    assert page.locator("[aria-live]").count() == 0


def test_the_page_speaks_chinese_to_a_chinese_browser(chromium: Browser, running: RunningPage) -> None:
    with page_of(chromium, running, locale="zh-CN") as tab:
        assert tab.get_by_role("heading", level=1).inner_text() == PAGE["zh"]["heading_one"]
        assert tab.get_by_role("button", name="\u6279\u51c6", exact=True).count() == 1
        assert tab.evaluate("document.documentElement.lang") == "zh-Hans"
        tab.get_by_text("\u5269\u4f59 0").wait_for()


# Deciding.


def test_the_keyboard_approves_and_nothing_has_the_focus_before(page: Page, desk: FakeDesk) -> None:
    assert page.evaluate("document.activeElement === document.body")
    names: list[str] = []
    while EN["approve"] not in names:
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.innerText"))
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
    assert names == [EN["skip"], EN["decline"], EN["approve"]]

    wait_until_armed(page)
    page.keyboard.press("Enter")
    state(page, "approved")
    assert desk.decisions == [(ID, "approve", "page", PERSON)]


def test_a_click_declines(page: Page, desk: FakeDesk) -> None:
    button(page, "decline").click()
    state(page, "declined")

    assert page.get_by_text(f"Declined on the approval page by {PERSON}").is_visible()
    assert not button(page, "approve").is_visible()
    assert page.get_by_role("heading", level=1).inner_text() == EN["heading_none"]
    assert desk.decisions == [(ID, "decline", "page", PERSON)]


def test_the_outcome_appears_by_itself(page: Page, desk: FakeDesk) -> None:
    button(page, "approve").click()
    state(page, "approved")
    page.evaluate("window.isSamePage = true")
    assert page.get_by_role("heading", level=1).inner_text() == EN["heading_busy"]

    desk.finish(ID, None)
    state(page, "sending")
    desk.finish(ID)
    state(page, "sent")
    assert page.get_by_role("status").filter(has_text="CAMS accepted it").is_visible()
    assert page.title() == EN["title_none"]
    assert page.evaluate("window.isSamePage")


def test_a_double_click_decides_once(page: Page, desk: FakeDesk) -> None:
    wait_until_armed(page)
    button(page, "approve").dblclick()
    state(page, "approved")

    assert [decision for _, decision, _, _ in desk.decisions] == ["approve"]


def test_back_and_reload_decide_nothing_more(page: Page, desk: FakeDesk) -> None:
    button(page, "approve").click()
    state(page, "approved")
    page.reload()
    state(page, "approved")
    page.go_back()
    page.go_forward()
    state(page, "approved")
    page.reload()

    state(page, "approved")
    assert not button(page, "decline").is_visible()
    assert len(desk.decisions) == 1


@pytest.mark.parametrize("decision", ["approve", "decline"])
def test_the_form_works_without_scripts(chromium: Browser, running: RunningPage, desk: FakeDesk, decision: str) -> None:
    with page_of(chromium, running, java_script_enabled=False) as tab:
        assert tab.get_by_text("Expires at").is_visible()
        assert not tab.get_by_role("timer").is_visible()
        button(tab, decision).click()
        state(tab, {"approve": "approved", "decline": "declined"}[decision])
        if decision == "approve":
            # The page looks again by itself while it waits for the outcome, and for nothing else.
            desk.finish(ID)
            state(tab, "sent")
    assert len(desk.decisions) == 1


def test_without_scripts_a_hasty_decision_is_refused_with_a_reason(
    chromium: Browser, running: RunningPage, desk: FakeDesk
) -> None:
    with page_of(chromium, running, java_script_enabled=False) as tab:
        for _ in range(3):
            tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        tab.get_by_text(EN["note_early"]).wait_for()
        assert desk.decisions == []

        button(tab, "approve").click()
        state(tab, "approved")


def test_a_tab_that_was_replaced_decides_nothing_until_it_is_read_again(
    chromium: Browser, running: RunningPage, desk: FakeDesk
) -> None:
    with window(chromium) as context:
        old = context.new_page()
        old.goto(running.show())
        wait_until_armed(old)
        new = context.new_page()
        new.goto(running.show())

        button(old, "approve").click()
        old.get_by_text(EN["note_stale"]).wait_for()
        assert desk.decisions == []
        assert "note" not in old.url
        button(old, "approve").click()
        state(old, "approved")
        state(new, "approved")


# What happens under the pointer.


CLICK_AT_ONCE = """([change, button]) => {
  window.clicked = 0;
  new MutationObserver((changes, observer) => {
    if (!document.querySelector(change)) return;
    observer.disconnect();
    window.clicked += 1;
    document.querySelector(button).click();
  }).observe(document.getElementById("requests"), { attributes: true, childList: true, subtree: true });
}"""
"""Press a button in the very moment in which something changes, which no pointer can."""


def test_a_request_that_has_just_appeared_cannot_be_approved_by_accident(page: Page, desk: FakeDesk) -> None:
    wait_until_armed(page)
    page.evaluate(CLICK_AT_ONCE, [f"#write-{OTHER}", f"#write-{OTHER} .approve"])
    desk.writes.append(a_write(OTHER, facts_of(9_000, "Everybody")))
    until(page, "window.clicked")

    assert desk.decisions == []
    assert page.locator("#news").inner_text() == EN["new"]
    assert [each.get_attribute("id") for each in page.locator("article").all()] == [f"write-{ID}", f"write-{OTHER}"]
    button(page, "approve", OTHER).click()
    state(page, "approved", OTHER)
    assert desk.decisions == [(OTHER, "approve", "page", PERSON)]


def test_buttons_that_have_just_moved_cannot_be_pressed_by_accident(
    chromium: Browser, running: RunningPage, desk: FakeDesk
) -> None:
    desk.writes.append(a_write(OTHER))
    with page_of(chromium, running) as tab:
        wait_until_armed(tab)
        tab.evaluate(CLICK_AT_ONCE, [f'#write-{ID}[data-state="sent"]', f"#write-{OTHER} .approve"])
        desk.finish(ID)
        until(tab, "window.clicked")
        assert desk.decisions == []

        button(tab, "approve", OTHER).click()
        state(tab, "approved", OTHER)


def test_a_button_does_nothing_in_the_first_second_and_the_page_says_why(page: Page, desk: FakeDesk) -> None:
    approve = button(page, "approve")
    assert approve.evaluate("(each) => getComputedStyle(each).pointerEvents") == "none"
    approve.evaluate("(each) => each.click()")
    page.get_by_text(EN["note_early"]).wait_for()

    wait_until_armed(page)
    assert approve.evaluate("(each) => getComputedStyle(each).pointerEvents") == "auto"
    assert desk.decisions == []


def test_a_request_that_expires_cannot_be_approved_any_more(page: Page, desk: FakeDesk) -> None:
    desk.change(ID, lambda write: replace(write, expires=time.time()))
    state(page, "expired")

    assert page.get_by_text(EN["expired_outcome"]).is_visible()
    assert not button(page, "approve").is_visible()


def test_the_last_minute_is_announced(page: Page, desk: FakeDesk) -> None:
    desk.change(ID, lambda write: replace(write, expires=time.time() + 30))
    page.locator("#news", has_text=EN["last_minute"]).wait_for(state="attached")

    assert re.fullmatch("00:[0-3][0-9] left", page.get_by_role("timer").inner_text())


# What comes from outside.


def test_a_name_with_markup_runs_nothing(chromium: Browser, running: RunningPage, desk: FakeDesk) -> None:
    hostile = "<img src=x onerror=window.ran=1>"
    desk.writes = [a_write(ID, facts_of(3, hostile), client=hostile)]
    with page_of(chromium, running) as tab:
        desk.writes.append(a_write(OTHER, facts_of(3, hostile, REPETITION), client=hostile))
        tab.locator(f"#write-{OTHER}").wait_for()

        assert tab.get_by_role("heading", name=hostile).count() == 2
        assert tab.locator("img").count() == 0
        assert tab.evaluate("window.ran") is None


def test_the_policy_forbids_scripts_to_write_markup(chromium: Browser, running: RunningPage) -> None:
    refused = (
        "() => { try { document.body.innerHTML = '<b>'; return 'written'; } catch (error) { return error.name; } }"
    )

    with page_of(chromium, running, expects="TrustedHTML") as tab:
        assert tab.evaluate(refused) == "TypeError"


def test_a_request_that_appears_later_is_drawn_as_if_it_had_been_there(
    chromium: Browser, running: RunningPage, desk: FakeDesk
) -> None:
    drawn = """() => [...document.querySelectorAll("article")].map((card) => {
      const isToken = (value) => /^[0-9.]+[0-9a-f]{64}$/.test(value);
      const described = (each) => [
        each.localName,
        [...each.attributes].map(({ name, value }) => [name, isToken(value) ? "token" : value]).sort(),
        each.dataset.slot === "left" ? [] : [...each.childNodes].map((node) => node.data ?? described(node)),
      ];
      return described(card);
    })"""
    with page_of(chromium, running) as tab:
        desk.writes.append(a_write(OTHER, file_facts(REPETITION)))
        desk.writes.append(a_write("AAAAAAAA", facts_of(90, "A", tokens=None)))
        desk.writes.append(a_write("BBBBBBBB", facts_of(1, "B")))
        tab.locator("#write-BBBBBBBB").wait_for()
        desk.finish("BBBBBBBB", "refused")
        state(tab, "refused", "BBBBBBBB")
        by_script = tab.evaluate(drawn)
        tab.reload()
        by_server = tab.evaluate(drawn)

    assert len(by_server) == 4
    assert by_script == by_server


ELSEWHERE = "http://127.0.0.1:3000"


def test_no_other_page_can_frame_it_or_decide_through_it(
    chromium: Browser, running: RunningPage, desk: FakeDesk
) -> None:
    with page_of(chromium, running, expects="blocked by CORS policy|frame-ancestors") as tab:
        wait_until_armed(tab)
        token = tab.locator('[name="token"]').first.get_attribute("value")
        address = running.show()
        # Another program on 127.0.0.1, to which browsers send the same cookies. It even knows all secrets.
        hidden = f'<input name="id" value="{ID}"><input name="token" value="{token}">'
        win = '<button name="decision" value="approve">Win</button>'
        form = f'<form method="post" action="{tab.url}decide">{hidden}{win}</form>'
        frames = f'<iframe src="{tab.url}"></iframe><iframe src="{address}"></iframe>'
        tab.context.route(f"{ELSEWHERE}/", lambda route: route.fulfill(body=frames + form, content_type="text/html"))
        other = tab.context.new_page()
        other.goto(f"{ELSEWHERE}/")
        assert len(other.frames) == 3
        assert not [frame for frame in other.frames if frame.get_by_text("VIP-Q1-1").count()]

        read = "(url) => fetch(url, { credentials: 'include' }).then((found) => found.text(), () => 'refused')"
        assert other.evaluate(read, f"{tab.url}state") == "refused"
        other.get_by_role("button", name="Win").click()
        other.get_by_text(EN["error_foreign"]).wait_for()
        assert desk.decisions == []

        other.goto(address)
        assert other.get_by_text("VIP-Q1-1").is_visible()


# The end.


def test_when_the_server_is_gone_the_page_says_where_to_decide(chromium: Browser, desk: FakeDesk) -> None:
    with window(chromium) as context:
        with running_page(desk) as running:
            tab = context.new_page()
            tab.goto(running.show())
            assert running.page.is_watched
        tab.get_by_text(EN["gone"]).wait_for()

        assert tab.get_by_text("cams-mcp approve").is_visible()
        button(tab, "approve").dispatch_event("click")
        assert tab.get_by_text(EN["gone"]).is_visible()
    assert desk.decisions == []


def test_when_all_is_done_the_page_ends_calmly(chromium: Browser, desk: FakeDesk) -> None:
    with window(chromium) as context:
        with running_page(desk, linger=2.0) as running:
            tab = context.new_page()
            tab.goto(running.show())
            button(tab, "decline").click()
            state(tab, "declined")
            tab.get_by_text(EN["finished"]).wait_for()
        assert not tab.get_by_text("cams-mcp approve").is_visible()


def test_a_store_that_fails_for_a_moment_is_reported(page: Page, desk: FakeDesk) -> None:
    desk.broken = True
    page.get_by_text(EN["store"]).wait_for()
    desk.broken = False
    page.get_by_text(EN["store"]).wait_for(state="hidden")

    button(page, "approve").click()
    state(page, "approved")


def test_a_page_before_the_persons_eyes_is_not_opened_again(page: Page, running: RunningPage) -> None:
    assert running.page.is_watched
    assert running.portal.call(running.page.show)

    assert len(running.urls) == 1
