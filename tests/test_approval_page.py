"""The approval page as an application: which requests it takes, and which attacks it refuses."""

from __future__ import annotations

import html
import json
import re
import string
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import httpx
import pytest
from support_page import PERSON, REPETITION, FakeDesk, a_write, facts_of, file_facts

from cams_mcp.approval import page_requests
from cams_mcp.approval.page_app import PageApp
from cams_mcp.approval.page_keys import ARM_SECONDS, Keys
from cams_mcp.approval.page_view import MOST_FINISHED
from cams_mcp.approval.view import as_shown
from cams_mcp.approval.words import PAGE

HOST = "127.0.0.1:4711"
ORIGIN = f"http://{HOST}"
NAVIGATION = {"sec-fetch-dest": "document", "sec-fetch-mode": "navigate", "sec-fetch-site": "none"}
SUBMISSION = {**NAVIGATION, "sec-fetch-site": "same-origin", "origin": ORIGIN}
BY_SCRIPT = {"sec-fetch-dest": "empty", "sec-fetch-mode": "cors", "sec-fetch-site": "same-origin"}
BOTH = pytest.mark.parametrize("language", ["en", "zh"])


class Clock:
    """Seconds that go on only when told to."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Browser:
    """A browser at the page."""

    site: Site
    client: httpx.AsyncClient
    document: str = ""

    async def open(self, address: str | None = None) -> httpx.Response:
        """Open an address, as the person's browser does, and follow it to the page."""
        if address is None:
            address = self.site.keys.new_address()
        response = await self.client.get(f"/{address}", headers=NAVIGATION)
        return await self.load() if response.status_code == 303 else response

    async def load(self, query: str = "", **headers: str) -> httpx.Response:
        response = await self.client.get(f"{self.site.home}{query}", headers=NAVIGATION | headers)
        self.document = response.text
        return response

    async def state(self, query: str = "?visible=1", **headers: str) -> httpx.Response:
        return await self.client.get(f"{self.site.home}state{query}", headers=BY_SCRIPT | headers)

    def token(self, approval_id: str) -> str:
        """The token in the form of a write."""
        found = re.search(
            rf'name="id" value="{approval_id}"><input type="hidden" name="token" value="(.+?)"', self.document
        )
        assert found
        return html.unescape(found[1])

    async def post(self, **more: Any) -> httpx.Response:
        request: dict[str, Any] = {"headers": SUBMISSION} | more
        return await self.client.post(f"{self.site.home}decide", **request)

    async def decide(self, decision: str = "approve", approval_id: str = "K7QX2MPD", **more: Any) -> httpx.Response:
        """Press a button of the page as it was loaded."""
        form = {"id": approval_id, "token": self.token(approval_id), "decision": decision}
        return await self.post(**{"data": form} | more)

    async def decide_in_time(self, decision: str = "approve", approval_id: str = "K7QX2MPD") -> httpx.Response:
        self.site.clock.now += ARM_SECONDS
        return await self.decide(decision, approval_id)

    def notice(self) -> str:
        """What the page says about the last decision."""
        return html.unescape(re.findall(r'<p id="note"[^>]*>(.*?)</p>', self.document)[0])


class Site:
    """The application over a desk in memory, and a clock that stands still."""

    def __init__(self, desk: FakeDesk, **options: Any) -> None:
        self.clock = Clock()
        self.desk = desk
        desk.clock = self.clock
        self.keys = Keys(self.clock)
        self.home = f"/{self.keys.segment}/"
        given = {"view": as_shown, "person": PERSON, "principal": "local", "clock": self.clock, "now": self.clock}
        # There is no connection here whose other end has a user; test_approval_page_server.py has.
        given |= {"command": "cams-mcp approve", "is_own_user": bool}
        self.app = PageApp(HOST, self.keys, desk, **given | options)

    @asynccontextmanager
    async def browser(self, **options: Any) -> AsyncGenerator[Browser]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, **options) as client:
            yield Browser(self, client)

    def waiting(self, approval_id: str = "K7QX2MPD", *arguments: Any, **more: Any) -> None:
        self.desk.writes.append(a_write(approval_id, *arguments, asked=self.clock(), **more))


@pytest.fixture
def site() -> Site:
    """A page on which one write waits."""
    made = Site(FakeDesk(), language="en")
    made.waiting()
    return made


@pytest.fixture
async def browser(site: Site) -> AsyncGenerator[Browser]:
    """A browser that has just loaded the page."""
    async with site.browser() as opened:
        assert (await opened.open()).status_code == 200
        yield opened


# The address, and the cookie for which it is exchanged.


async def test_the_address_leads_to_the_page_and_leaves_a_cookie_that_no_other_server_gets(site: Site) -> None:
    async with site.browser() as browser:
        entered = await browser.client.get(f"/{site.keys.new_address()}", headers=NAVIGATION)

        assert (entered.status_code, entered.headers["location"]) == (303, site.home)
        pattern = rf"{site.keys.cookie}=[\w-]{{40,}}; Path={site.home}; HttpOnly; SameSite=Strict"
        assert re.fullmatch(pattern, entered.headers["set-cookie"])
        page = await browser.load()
    assert page.status_code == 200
    assert "VIP-Q1-1" in page.text


async def test_an_address_works_once(site: Site, browser: Browser) -> None:
    address = site.keys.new_address()
    await browser.open(address)
    async with site.browser() as other:
        again = await other.open(address)

        assert again.status_code == 410
        assert "already been used" in again.text
        assert "set-cookie" not in again.headers
        assert (await other.load()).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-purpose": "prefetch"},
        {"sec-purpose": "prefetch;prerender"},
        {"purpose": "prefetch"},
        {"x-moz": "prefetch"},
        {"x-purpose": "preview"},
        {"sec-fetch-dest": "iframe"},
        {"sec-fetch-dest": "image", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-dest": "empty", "sec-fetch-mode": "cors"},
    ],
    ids=str,
)
async def test_only_a_person_who_opens_the_address_uses_it_up(site: Site, headers: dict[str, str]) -> None:
    address = site.keys.new_address()
    async with site.browser() as other:
        refused = await other.client.get(f"/{address}", headers=NAVIGATION | headers)
        assert refused.status_code == 403
        assert "set-cookie" not in refused.headers

        assert (await other.open(address)).status_code == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
async def test_no_other_method_uses_the_address_up(site: Site, method: str) -> None:
    address = site.keys.new_address()
    async with site.browser() as other:
        refused = await other.client.request(method, f"/{address}", headers=NAVIGATION)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")

        assert (await other.open(address)).status_code == 200


async def test_browsers_that_send_no_fetch_metadata_can_open_the_page(site: Site) -> None:
    async with site.browser() as old:
        entered = await old.client.get(f"/{site.keys.new_address()}", follow_redirects=True)
        assert entered.status_code == 200
        old.document = entered.text
        site.clock.now += ARM_SECONDS
        await old.decide(headers={"origin": ORIGIN})
    assert site.desk["K7QX2MPD"].state == "approved"


async def test_a_new_address_ends_one_that_nobody_used(site: Site) -> None:
    first = site.keys.new_address()
    second = site.keys.new_address()
    async with site.browser() as browser:
        assert (await browser.open(first)).status_code == 410
        assert (await browser.open(second)).status_code == 200


@pytest.mark.parametrize("path", ["", "guess", "favicon.ico", "assets/../page.css", "assets/page.py", "..%2f"])
async def test_other_addresses_lead_nowhere(site: Site, path: str) -> None:
    site.keys.new_address()
    async with site.browser() as browser:
        nothing = await browser.client.get(f"/{path}", headers=NAVIGATION)

    assert nothing.status_code == 404
    assert "There is nothing here" in nothing.text


async def test_without_the_cookie_the_page_shows_nothing(site: Site, browser: Browser) -> None:
    async with site.browser() as stranger:
        stranger.client.headers["cookie"] = (
            f"{site.keys.cookie}=guess; other={next(iter(browser.client.cookies.values()))}"
        )
        for response in (await stranger.load(), await stranger.state(), await stranger.post(data={"id": "K7QX2MPD"})):
            assert response.status_code == 403
            assert "VIP-Q1-1" not in response.text
            assert "cams-mcp approve" in response.text


async def test_the_cookie_of_another_run_opens_nothing(site: Site, browser: Browser) -> None:
    cookie = next(iter(browser.client.cookies.values()))
    other = Site(site.desk)
    async with other.browser() as elsewhere:
        elsewhere.client.headers["cookie"] = f"{other.keys.cookie}={cookie}; {site.keys.cookie}={cookie}"

        assert (await elsewhere.load()).status_code == 403
    assert other.keys.cookie != site.keys.cookie
    assert other.home != site.home


async def test_a_cookie_of_the_same_name_from_another_server_does_not_hide_ours(site: Site, browser: Browser) -> None:
    ours = next(iter(browser.client.cookies.values()))
    browser.client.cookies.clear()
    browser.client.headers["cookie"] = f"{site.keys.cookie}={ours}; {site.keys.cookie}=theirs"

    assert (await browser.load()).status_code == 200


# Where requests come from.


@pytest.mark.parametrize(
    "host",
    ["attacker.example.com:4711", "localhost:4711", "127.0.0.1", "127.0.0.1:4712", "[::1]:4711", "127.0.0.1:4711."],
)
async def test_a_name_of_another_site_that_leads_here_is_refused(site: Site, browser: Browser, host: str) -> None:
    address = site.keys.new_address()
    token = browser.token("K7QX2MPD")
    site.clock.now += ARM_SECONDS
    # The cookie is in the header because this client, like a browser, would not send it to another host.
    cookie = "; ".join(f"{name}={value}" for name, value in browser.client.cookies.items())
    rebound = {"host": host, "cookie": cookie}
    form = {"id": "K7QX2MPD", "token": token, "decision": "approve"}

    for response in (
        await browser.client.get(f"/{address}", headers=NAVIGATION | rebound),
        await browser.client.get(site.home, headers=NAVIGATION | rebound),
        await browser.client.get("/assets/page.js", headers=rebound),
        await browser.post(data=form, headers=SUBMISSION | rebound | {"origin": f"http://{host}"}),
        await browser.post(data=form, headers=SUBMISSION | rebound),
    ):
        assert response.status_code == 421
    assert site.desk.decisions == []
    assert site.keys.standing(address) == "fresh"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "null"},
        {"origin": "https://attacker.example.com"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1"},
        {"origin": "https://127.0.0.1:4711"},
        {"origin": "http://localhost:4711"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
async def test_a_form_of_another_page_decides_nothing(site: Site, browser: Browser, headers: dict[str, str]) -> None:
    site.clock.now += ARM_SECONDS

    refused = await browser.decide(headers=SUBMISSION | headers)

    assert refused.status_code == 403
    assert site.desk.decisions == []


async def test_a_form_without_an_origin_decides_nothing(site: Site, browser: Browser) -> None:
    site.clock.now += ARM_SECONDS

    refused = await browser.decide(headers=NAVIGATION | {"sec-fetch-site": "same-origin"})

    assert refused.status_code == 403
    assert site.desk.decisions == []


@pytest.mark.parametrize("headers", [{"origin": "http://127.0.0.1:3000"}, {"sec-fetch-site": "same-site"}], ids=str)
async def test_no_other_page_can_read_the_state(browser: Browser, headers: dict[str, str]) -> None:
    refused = await browser.state(**headers)

    assert refused.status_code == 403
    assert "VIP-Q1-1" not in refused.text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-dest": "iframe"},
        {"sec-fetch-dest": "embed"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-mode": "cors"},
    ],
    ids=str,
)
async def test_no_other_page_can_embed_the_page_or_link_to_it(browser: Browser, headers: dict[str, str]) -> None:
    refused = await browser.load(**headers)

    assert refused.status_code == 403
    assert "VIP-Q1-1" not in refused.text


async def test_every_response_forbids_framing_caching_and_everything_from_elsewhere(
    site: Site, browser: Browser
) -> None:
    wrong_host = {"host": "attacker.example.com"}
    for response in (
        await browser.load(),
        await browser.state(),
        await browser.decide(),
        await browser.client.get(f"/{site.keys.new_address()}", headers=NAVIGATION),
        await browser.client.get("/assets/page.css"),
        await browser.client.get("/nothing"),
        await browser.client.put(site.home),
        await browser.client.get("/", headers=wrong_host),
    ):
        headers = response.headers
        policy = dict(each.strip().partition(" ")[::2] for each in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "", "GET"),
        ("HEAD", "", "GET"),
        ("OPTIONS", "", "GET"),
        ("DELETE", "state", "GET"),
        ("GET", "decide", "POST"),
        ("PUT", "decide", "POST"),
        ("OPTIONS", "decide", "POST"),
    ],
)
async def test_other_methods_do_nothing(site: Site, browser: Browser, method: str, path: str, allowed: str) -> None:
    refused = await browser.client.request(method, f"{site.home}{path}", headers=SUBMISSION)

    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


async def test_the_page_loads_nothing_that_would_need_another_policy(site: Site, browser: Browser) -> None:
    site.waiting("R4WPN8HT", file_facts(REPETITION))
    page = (await browser.load()).text

    assert not re.search(r"<[^>]*\s(style|on\w+)=", page)
    assert {address for address in re.findall(r'(?:src|href|action)="([^"]*)"', page) if "//" in address} == set()
    for name in re.findall(r'"(/assets/[^"]*)"', page):
        asset = await browser.client.get(name)
        assert asset.status_code == 200
        assert asset.headers["content-type"].startswith(("text/css", "text/javascript", "image/svg+xml"))
        assert "http" not in asset.text.replace("http://www.w3.org/2000/svg", "")


# Deciding.


@pytest.mark.parametrize(("decision", "state"), [("approve", "approved"), ("decline", "declined")])
async def test_a_button_decides_and_leads_back_to_the_page(
    site: Site, browser: Browser, decision: str, state: str
) -> None:
    response = await browser.decide_in_time(decision)

    assert (response.status_code, response.headers["location"]) == (303, f"{site.home}#write-K7QX2MPD")
    assert site.desk["K7QX2MPD"].state == state
    assert site.desk.decisions == [("K7QX2MPD", decision, "page", PERSON)]
    await browser.load()
    assert f'data-state="{state}"' in browser.document
    assert f"{state.capitalize()} on the approval page by {PERSON}" in browser.document


async def test_a_button_pressed_within_a_second_decides_nothing_and_the_page_says_why(
    site: Site, browser: Browser
) -> None:
    site.clock.now += ARM_SECONDS - 0.01
    response = await browser.decide()

    assert response.status_code == 303
    assert site.desk.decisions == []
    await browser.load(response.headers["location"].removeprefix(site.home).partition("#")[0])
    assert "less than a second" in browser.notice()

    await browser.decide_in_time()
    assert site.desk["K7QX2MPD"].state == "approved"


async def test_a_question_that_appears_later_has_its_own_second(site: Site, browser: Browser) -> None:
    site.clock.now += 60
    site.waiting("R4WPN8HT")
    view = (await browser.state()).json()["writes"][1]
    form = {"id": view["id"], "token": view["token"], "decision": "approve"}

    early = await browser.post(data=form)
    assert "note=early" in early.headers["location"]
    assert site.desk.decisions == []

    site.clock.now += ARM_SECONDS
    await browser.post(data=form)
    assert site.desk["R4WPN8HT"].state == "approved"


async def test_a_token_decides_only_the_write_that_it_was_shown_with(site: Site) -> None:
    site.waiting("R4WPN8HT")
    async with site.browser() as browser:
        await browser.open()
        site.clock.now += ARM_SECONDS
        form = {"id": "R4WPN8HT", "token": browser.token("K7QX2MPD"), "decision": "approve"}
        refused = await browser.post(data=form)

        assert refused.headers["location"] == f"{site.home}?note=stale"
        assert site.desk.decisions == []
        await browser.load("?note=stale")
        assert "Nothing was decided" in browser.notice()


async def test_a_token_is_worth_nothing_in_another_session(site: Site, browser: Browser) -> None:
    async with site.browser() as other:
        await other.open()
        site.clock.now += ARM_SECONDS
        form = {"id": "K7QX2MPD", "token": browser.token("K7QX2MPD"), "decision": "approve"}
        refused = await other.post(data=form)

    assert refused.headers["location"] == f"{site.home}?note=stale"
    assert site.desk.decisions == []


@pytest.mark.parametrize("change", ["earlier", "no mac", "no moment", "empty", "surrogate", "long"])
async def test_a_token_that_was_tampered_with_is_worth_nothing(site: Site, browser: Browser, change: str) -> None:
    moment, _, mac = browser.token("K7QX2MPD").rpartition(".")
    token = {
        "earlier": f"{float(moment) - 10:.3f}.{mac}",
        "no mac": f"{moment}.",
        "no moment": mac,
        "empty": "",
        "surrogate": f"{moment}.\ud800".encode("utf-8", "surrogatepass"),
        "long": f"{moment}.{mac * 20}",
    }[change]

    refused = await browser.post(data={"id": "K7QX2MPD", "token": token, "decision": "approve"})

    assert refused.headers["location"] == f"{site.home}?note=stale"
    assert site.desk.decisions == []


async def test_of_two_clicks_the_first_counts(site: Site, browser: Browser) -> None:
    await browser.decide_in_time("decline")
    again = await browser.decide("approve")

    assert again.headers["location"] == f"{site.home}#write-K7QX2MPD"
    assert site.desk["K7QX2MPD"].state == "declined"
    await browser.load()
    assert "Declined on the approval page" in browser.document


async def test_reloading_after_a_decision_decides_nothing_more(site: Site, browser: Browser) -> None:
    response = await browser.decide_in_time()
    for _ in range(3):
        await browser.load(response.headers["location"].removeprefix(site.home).partition("#")[0])

    assert len(site.desk.decisions) == 1


async def test_looking_changes_nothing(site: Site, browser: Browser) -> None:
    before = list(site.desk.writes)
    for query in ("", "?decision=approve&id=K7QX2MPD", f"?token={browser.token('K7QX2MPD')}&decision=approve"):
        await browser.load(query)
        await browser.state(query)

    assert site.desk.writes == before
    assert site.desk.decisions == []


async def test_after_expiry_nothing_can_be_decided(site: Site, browser: Browser) -> None:
    site.clock.now += 700
    response = await browser.decide()

    assert response.headers["location"] == f"{site.home}?note=expired"
    assert site.desk["K7QX2MPD"].state == "waiting"
    await browser.load("?note=expired")
    assert "expired" in browser.notice()
    assert "Nothing more to decide" in browser.document


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"decision=approve&id=K7QX2MPD&token=" + b"x" * page_requests.LONGEST_BODY, 413),
        (b"", 400),
        (b"decision=approve&id=K7QX2MPD", 400),
        (b"decision=maybe&id=K7QX2MPD&token=x", 400),
        (b"decision=decline&decision=approve&id=K7QX2MPD", 400),
        (b"decision=decline&decision=approve&id=K7QX2MPD&token=x", 400),
        (b"decision=approve&id=K7QX2MPD&token=\xff", 400),
        (b"&&&=&", 400),
    ],
    ids=["too long", "empty", "no token", "no decision", "two decisions", "a fourth field", "not ASCII", "no fields"],
)
async def test_a_malformed_form_decides_nothing(site: Site, browser: Browser, body: bytes, status: int) -> None:
    headers = SUBMISSION | {"content-type": "application/x-www-form-urlencoded"}
    refused = await browser.post(content=body, headers=headers)

    assert refused.status_code == status
    assert "Nothing was decided" in refused.text
    assert site.desk.decisions == []


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data; boundary=x", ""])
async def test_only_a_form_decides(site: Site, browser: Browser, kind: str) -> None:
    site.clock.now += ARM_SECONDS
    refused = await browser.decide(headers=SUBMISSION | {"content-type": kind})

    assert refused.status_code == 415
    assert site.desk.decisions == []


async def test_a_body_that_never_ends_is_given_up(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_requests, "BODY_SECONDS", 0.01)

    async def endless() -> AsyncIterator[bytes]:
        yield b"decision="
        await anyio.sleep_forever()

    headers = SUBMISSION | {"content-type": "application/x-www-form-urlencoded"}
    refused = await browser.post(content=endless(), headers=headers)

    assert refused.status_code == 413


async def test_a_store_that_cannot_be_read_is_reported(site: Site, browser: Browser) -> None:
    site.desk.broken = True

    assert (await browser.state()).status_code == 503
    failed = await browser.load()
    assert failed.status_code == 503
    assert "cannot read its store" in failed.text


async def test_a_decision_that_cannot_be_recorded_is_reported(site: Site, browser: Browser) -> None:
    site.desk.broken = True
    response = await browser.decide_in_time()
    site.desk.broken = False

    assert response.headers["location"] == f"{site.home}?note=store#write-K7QX2MPD"
    await browser.load("?note=store")
    assert "may not have been recorded" in browser.notice()
    assert 'data-state="waiting"' in browser.document


# What it shows.


@BOTH
async def test_the_page_shows_all_that_a_person_must_know(language: str) -> None:
    site = Site(FakeDesk(), language=language)
    site.waiting("R4WPN8HT", file_facts(REPETITION))
    shown = as_shown(site.desk["R4WPN8HT"], language, site.clock())
    async with site.browser() as browser:
        page = html.unescape((await browser.open()).text.replace("<strong>", "").replace("</strong>", ""))

    body = page.partition("</header>")[2]
    for text in (shown["question"], *shown["place"], *shown["consequences"], *shown["samples"], shown["next"]):
        assert f">{text}<" in body
    assert f">{shown['requester']} {PAGE[language]['id'].format(id='R4WPN8HT')}<" in body
    for warning in shown["warnings"]:
        assert f"{PAGE[language]['warning']}<span>{warning}<" in body
    for bar in shown["bars"]:
        assert re.search(rf">{re.escape(bar['label'])}</th><td class=\"number\">{bar['number']:,}</td>", body)
    assert "48,210" in body
    assert PERSON in body
    assert {'value="approve"', 'value="decline"'} <= set(re.findall(r'value="\w+"', body))


async def test_text_from_outside_stays_text(site: Site, browser: Browser) -> None:
    hostile = '"><img src=x onerror=alert(1)><script>alert(2)</script>\u202egnp.exe'
    site.waiting("R4WPN8HT", facts_of(3, hostile), client=f"Client {hostile}")
    page = (await browser.load()).text

    assert len(re.findall("<script", page)) == 1
    assert "<img" not in page
    assert "\u202e" not in page
    assert "&lt;img src=x" in page


async def test_requests_keep_their_order_and_new_ones_come_last(site: Site, browser: Browser) -> None:
    site.waiting("R4WPN8HT")
    await browser.load()
    await browser.decide_in_time("decline")
    site.waiting("AAAAAAAA")
    await browser.load()

    shown = re.findall(r'id="write-(\w+)"', browser.document)
    assert shown == ["K7QX2MPD", "R4WPN8HT", "AAAAAAAA"]
    assert [each["id"] for each in (await browser.state()).json()["writes"]] == shown


async def test_the_page_does_not_grow_with_what_is_over(site: Site, browser: Browser) -> None:
    for number in range(1000):
        site.waiting(f"{number:08}")
        site.desk.finish(f"{number:08}")
    await browser.load()

    shown = re.findall(r'id="write-(\w+)"', browser.document)
    assert len(shown) == MOST_FINISHED + 1
    assert shown[0] == "K7QX2MPD"
    assert shown[-1] == "00000999"


async def test_only_this_principals_requests_are_shown(site: Site, browser: Browser) -> None:
    site.waiting("R4WPN8HT")
    site.desk.change("R4WPN8HT", lambda write: replace(write, principal="alice"))

    assert "R4WPN8HT" not in (await browser.load()).text
    # Not even with a token for it, which the page never gives out.
    session = site.keys.session("; ".join(f"{name}={value}" for name, value in browser.client.cookies.items()))
    assert session is not None
    form = {"id": "R4WPN8HT", "token": site.keys.token(session, "R4WPN8HT"), "decision": "approve"}
    site.clock.now += ARM_SECONDS
    assert (await browser.post(data=form)).headers["location"] == f"{site.home}?note=expired"
    assert site.desk["R4WPN8HT"].state == "waiting"


@pytest.mark.parametrize("note", ["", "nothing", "<b>", "early%00", "note"])
async def test_an_address_cannot_make_the_page_say_anything(browser: Browser, note: str) -> None:
    await browser.load(f"?note={note}")

    assert browser.notice() == ""


async def test_a_page_that_waits_for_a_decision_never_reloads_by_itself(site: Site, browser: Browser) -> None:
    refreshes = 'http-equiv="refresh"'
    assert refreshes not in browser.document

    await browser.decide_in_time()
    assert refreshes in (await browser.load()).text
    site.desk.finish("K7QX2MPD", None)
    assert refreshes in (await browser.load()).text

    site.desk.finish("K7QX2MPD")
    assert refreshes not in (await browser.load()).text


@pytest.mark.parametrize(
    ("language", "header", "expected"),
    [
        ("auto", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("auto", "en-US,en;q=0.9,zh;q=0.8", "en"),
        ("auto", "de", "en"),
        ("auto", "", "en"),
        ("en", "zh-CN", "en"),
        ("zh", "en-US", "zh"),
    ],
)
async def test_the_page_speaks_the_language_of_the_browser(
    language: str, header: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cams_mcp.approval.page_app.system_language", lambda: "en")
    site = Site(FakeDesk(), language=language)
    site.waiting()
    async with site.browser(headers={"accept-language": header}) as browser:
        page = await browser.open()
        nothing = await browser.client.get("/nothing")
        state = (await browser.state()).json()

    assert PAGE[expected]["heading_one"] in page.text
    assert PAGE[expected]["error_missing"] in nothing.text
    assert state["heading"] == PAGE[expected]["heading_one"]


async def test_the_page_falls_back_on_the_language_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cams_mcp.approval.page_app.system_language", lambda: "zh")
    site = Site(FakeDesk(), language="auto")
    async with site.browser(headers={"accept-language": "de"}) as browser:
        assert PAGE["zh"]["heading_none"] in (await browser.open()).text


def test_both_languages_say_the_same_things_with_the_same_values() -> None:
    def values(words: dict[str, str]) -> dict[str, set[str]]:
        return {key: {name for _, name, _, _ in string.Formatter().parse(text) if name} for key, text in words.items()}

    assert values(PAGE["en"]) == values(PAGE["zh"])


# Whether somebody is looking.


async def test_a_page_that_is_open_and_visible_is_watched(site: Site, browser: Browser) -> None:
    assert site.app.is_watched
    site.clock.now += 3
    assert not site.app.is_watched

    await browser.state("?visible=0")
    assert not site.app.is_watched
    await browser.state("?visible=1")
    assert site.app.is_watched


async def test_a_stranger_cannot_make_the_server_believe_that_somebody_is_looking(site: Site, browser: Browser) -> None:
    site.clock.now += 3
    async with site.browser() as stranger:
        await stranger.state()
        await stranger.load()
    await browser.state(origin="http://127.0.0.1:3000")

    assert not site.app.is_watched


async def test_the_state_is_what_the_page_shows(browser: Browser) -> None:
    state = (await browser.state()).json()
    found = re.search(r'data-page="(.*?)"', browser.document)
    assert found
    shown = json.loads(html.unescape(found[1]))

    assert state == shown | {"writes": [shown["writes"][0] | {"token": state["writes"][0]["token"]}]}
