"""The approval page as an ASGI application: which requests it accepts, and what they do.

GET shows and changes nothing; only the POST of a form decides. The page listens on 127.0.0.1, where every other program
and every web page in the person's browser can send it requests, so each request has to prove where it comes from.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote

import anyio
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from cams_mcp.approval.desk import Decision
from cams_mcp.approval.page_html import ASSETS, NOTES, error_html, page_html
from cams_mcp.approval.page_keys import Keys
from cams_mcp.approval.page_requests import comes_from_own_user, is_navigation, read_form
from cams_mcp.approval.page_view import page_view
from cams_mcp.confirmation import Channel
from cams_mcp.errors import NotConfirmed, StoreError
from cams_mcp.facts import Language
from cams_mcp.languages import of_header, system_language
from cams_mcp.store.pending import Pending

WATCHED_SECONDS = 3.0
"""A page that is open and visible asks for the state once a second."""

_ASSET_TYPES = {"page.css": "text/css", "page.js": "text/javascript", "page.svg": "image/svg+xml"}

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Not no-referrer: with that, browsers send "Origin: null" with the form.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

logger = logging.getLogger(__name__)

View = Callable[[Pending, Language, float], dict[str, Any]]


class Desk(Protocol):
    """Where writes wait. `cams_mcp.approval.desk` has it."""

    async def pending(self, principal: str | None = None) -> Sequence[Pending]: ...

    async def decide(
        self, approval_id: str, decision: Decision, channel: Channel, by: str = "", principal: str | None = None
    ) -> Pending: ...


class PageApp:
    """The application of one run of the page.

    Args:
        host: the one Host that it answers to, with the port.
        keys: what it accepts.
        desk: where the writes wait.
        view: what to show of a write.
        person: recorded as who decided.
        command: how to decide on a terminal; empty if no other process can see the store.
        principal: whose writes it shows.
        language: of the page; "auto" takes the browser's, else the system's.
        is_own_user: whether a request comes from a program of this user.
        clock: seconds since 1970.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        host: str,
        keys: Keys,
        desk: Desk,
        *,
        view: View,
        person: str,
        command: str = "",
        principal: str,
        language: Literal["auto", "en", "zh"] = "auto",
        is_own_user: Callable[[Request], bool] = comes_from_own_user,
        clock: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._origin = f"http://{host}"
        self._home = f"/{keys.segment}/"
        self._keys = keys
        self._desk = desk
        self._view = view
        self._person = person
        self._command = command
        self._principal = principal
        self._language: Literal["auto", "en", "zh"] = language
        self._is_own_user = is_own_user
        self._clock = clock
        self._now = now
        self._seen = float("-inf")
        self._pages: dict[str, Callable[[Request, str], Awaitable[Response]]] = {
            self._home: self._show,
            f"{self._home}state": self._state,
            f"{self._home}decide": self._decide,
        }
        self.entered = anyio.Event()

    @property
    def is_watched(self) -> bool:
        """Whether the page was open and visible a moment ago."""
        return self._now() - self._seen < WATCHED_SECONDS

    def expect_entry(self) -> anyio.Event:
        """The event of the next use of an address."""
        self.entered = anyio.Event()
        return self.entered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        allowed = self._is_own_user(request)
        response = await self._answer(request) if allowed else self._error(request, 403, "foreign")
        response.headers.update(_HEADERS)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        if request.headers.getlist("host") != [self._host]:
            # DNS rebinding: the name of another site leads here.
            return self._error(request, 421, "missing")
        if path.startswith(ASSETS) and (name := path.removeprefix(ASSETS)) in _ASSET_TYPES:
            return self._require(request, "GET") or Response(_asset(name), media_type=_ASSET_TYPES[name])
        if (page := self._pages.get(path)) is not None:
            method = "POST" if path.endswith("decide") else "GET"
            return self._require(request, method) or await self._within_session(request, page)
        standing = self._keys.standing(path.removeprefix("/"))
        if standing == "used":
            return self._error(request, 410, "used")
        if standing == "fresh":
            return self._require(request, "GET") or self._enter(request)
        return self._error(request, 404, "missing")

    def _enter(self, request: Request) -> Response:
        """Exchange the address for a cookie, once, and only for a person who opens it."""
        if not is_navigation(request):
            return self._error(request, 403, "foreign")
        cookie = self._keys.enter()
        self._seen = self._now()
        self.entered.set()
        response = RedirectResponse(self._home, 303)
        response.headers["set-cookie"] = f"{self._keys.cookie}={cookie}; Path={self._home}; HttpOnly; SameSite=Strict"
        return response

    async def _within_session(self, request: Request, page: Callable[[Request, str], Awaitable[Response]]) -> Response:
        if request.headers.get("origin", self._origin) != self._origin:
            return self._error(request, 403, "foreign")
        session = self._keys.session(request.headers.get("cookie", ""))
        if session is None:
            return self._error(request, 403, "session")
        try:
            return await page(request, session)
        except StoreError as error:
            logger.warning("the approval page cannot read the store: %s", type(error).__name__)
            return self._error(request, 503, "store")

    async def _show(self, request: Request, session: str) -> Response:
        if not is_navigation(request) or request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return self._error(request, 403, "foreign")
        view = await self._page(request, session)
        self._seen = self._now()
        note = request.query_params.get("note", "")
        return HTMLResponse(page_html(view, self._language_of(request), note, self._command))

    async def _state(self, request: Request, session: str) -> Response:
        if not self._is_own(request):
            return self._error(request, 403, "foreign")
        if request.query_params.get("visible") == "1":
            self._seen = self._now()
        return JSONResponse(await self._page(request, session))

    async def _page(self, request: Request, session: str) -> dict[str, Any]:
        language, now = self._language_of(request), self._clock()
        writes = await self._desk.pending(self._principal)
        shown = [self._view(write, language, now) for write in writes]
        return page_view(shown, language, lambda approval_id: self._keys.token(session, approval_id), self._person)

    async def _decide(self, request: Request, session: str) -> Response:
        if request.headers.getlist("origin") != [self._origin] or not self._is_own(request):
            return self._error(request, 403, "foreign")
        form = await read_form(request)
        if isinstance(form, int):
            return self._error(request, form, "form")
        verdict = self._keys.check(session, form.approval_id, form.token)
        if verdict != "good":
            return self._back(verdict, form.approval_id if verdict == "early" else "")
        try:
            await self._desk.decide(form.approval_id, form.decision, "page", self._person, self._principal)
        except NotConfirmed:
            return self._back("expired")
        except StoreError as error:
            logger.warning("the approval page could not record a decision: %s", type(error).__name__)
            return self._back("store", form.approval_id)
        return self._back("", form.approval_id)

    def _back(self, note: str, approval_id: str = "") -> Response:
        """Show the page again. A reload repeats this GET, not the POST."""
        assert note in ("", *NOTES)
        query = f"?note={note}" if note else ""
        fragment = f"#write-{quote(approval_id, safe='')}" if approval_id else ""
        return RedirectResponse(f"{self._home}{query}{fragment}", 303)

    def _is_own(self, request: Request) -> bool:
        """Whether our own page sent the request, as far as the browser says so."""
        return request.headers.get("sec-fetch-site", "same-origin") == "same-origin"

    def _require(self, request: Request, method: str) -> Response | None:
        if request.method == method:
            return None
        response = self._error(request, 405, "method")
        response.headers["allow"] = method
        return response

    def _error(self, request: Request, status: int, reason: str) -> Response:
        return HTMLResponse(error_html(reason, self._language_of(request), self._command), status)

    def _language_of(self, request: Request) -> Language:
        if self._language == "auto":
            return of_header(request.headers.get("accept-language", "")) or system_language()
        return self._language


@cache
def _asset(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()
