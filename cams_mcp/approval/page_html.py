"""The HTML of the approval page.

A card has slots (`data-slot`, `data-list`, `data-part`), which `page.js` fills in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cams_mcp.approval.page_markup import Markup, joined, tag
from cams_mcp.approval.page_view import CardView, empty_card
from cams_mcp.approval.words import PAGE
from cams_mcp.facts import Language

ASSETS = "/assets/"
_LANG = {"en": "en", "zh": "zh-Hans"}
_FOR_SCRIPT = (
    *("new", "last_minute", "left", "expired", "expired_outcome"),
    *("gone", "over", "store", "finished", "note_early"),
)
# With the address: a page that was opened with a fragment would only scroll to it.
_REFRESH = "2; url=./"

NOTES = ("early", "stale", "expired", "store")
"""Why a decision did not count, as in the address of the page after it."""


def page_html(page: Mapping[str, Any], language: Language, note: str, command: str = "") -> str:
    """The page.

    Args:
        page: as `page_view` returns it.
        language: of the words.
        note: one of `NOTES`, or "".
        command: how to decide on a terminal; empty if no other process can see the store.
    """
    words = PAGE[language]
    script = {name: words[name] for name in _FOR_SCRIPT}
    refresh = page["busy"] and not page["waiting"]
    head = joined(
        (
            tag("script", src=f"{ASSETS}page.js", defer=True),
            # Without scripts, a page that waits for no input shows the outcome by itself.
            tag("noscript", tag("meta", http_equiv="refresh", content=_REFRESH)) if refresh else Markup(),
        )
    )
    body = (
        tag("a", words["skip"], class_="skip", href="#requests"),
        tag(
            "main",
            tag(
                "header",
                tag("p", _LOGO, tag("span", "cams-mcp"), class_="brand"),
                tag("h1", page["heading"], id="heading"),
                tag("p", page["lead"], id="lead"),
                class_="top",
            ),
            tag(
                "p",
                words[f"note_{note}"] if note in NOTES else "",
                id="note",
                class_="banner",
                role="alert",
                hidden=note not in NOTES,
            ),
            tag(
                "div",
                tag("p", id="connection-text"),
                tag("p", tag("code", command), id="connection-command"),
                id="connection",
                class_="banner",
                role="alert",
                hidden=True,
            ),
            tag(
                "section",
                *(card(write, words) for write in page["writes"]),
                id="requests",
                aria_label=words["requests"],
                tabindex="-1",
            ),
            tag("p", id="news", class_="unseen", role="status"),
            tag(
                "footer",
                tag("p", page["door"], id="door", hidden=not page["waiting"]),
                tag("noscript", tag("p", tag("a", words["reload"], href="./"))),
                class_="bottom",
            ),
            data_words=json.dumps(script, ensure_ascii=False),
            data_page=json.dumps(page, ensure_ascii=False),
        ),
        tag("template", card(empty_card(), words), id="card"),
        tag("template", _row({"label": "", "number": "", "share": "0.0%"}), id="row"),
    )
    return _document(page["title"], language, head, body)


def error_html(reason: str, language: Language, command: str = "") -> str:
    """A page that says why there is none, and what to do. `reason` names texts in `words.py`."""
    words = PAGE[language]
    body = tag(
        "main",
        tag("header", tag("p", _LOGO, tag("span", "cams-mcp"), class_="brand"), class_="top"),
        tag(
            "section",
            tag("h1", words[f"error_{reason}"]),
            tag("p", words[f"error_{reason}_why"]),
            *((tag("p", words["terminal"], class_="soft"), tag("p", tag("code", command))) if command else ()),
            class_="card problem",
        ),
    )
    return _document(words["error_title"], language, Markup(), (body,))


def card(view: CardView, words: Mapping[str, str]) -> Markup:
    """One write."""
    is_waiting = view["state"] == "waiting"
    question = f"question-{view['id']}"
    change = view["change"] or {"label": "", "before": "", "added": "", "share": "0.0%", "share_added": "0.0%"}
    return tag(
        "article",
        tag(
            "div",
            tag("p", view["status"], class_="badge", data_slot="status"),
            tag(
                "p",
                tag("span", class_="left", data_slot="left", role="timer"),
                tag("span", view["until"], class_="until", data_slot="until"),
                class_="clock",
                data_part="clock",
                hidden=not is_waiting,
            ),
            class_="meta",
        ),
        tag("h2", view["question"], id=question, data_slot="question"),
        tag("p", view["requester"], class_="soft", data_slot="requester"),
        tag("p", view["outcome"], class_="outcome", role="status", data_slot="outcome"),
        tag(
            "ul",
            *(tag("li", tag("strong", words["warning"]), tag("span", each)) for each in view["warnings"]),
            class_="warnings",
            data_list="warnings",
            data_lead=words["warning"],
            hidden=not view["warnings"],
        ),
        tag("div", _change(change, hidden=view["change"] is None), _bars(view, words), class_="charts"),
        _list(view, "samples", words["samples"]),
        _list(view, "place", words["place"]),
        tag(
            "section",
            tag("h3", words["next"]),
            tag("ul", *(tag("li", each) for each in view["consequences"]), data_list="consequences"),
            tag("p", view["next"], data_slot="next"),
            class_="next",
            data_part="next",
            hidden=not is_waiting,
        ),
        _form(view, words, question),
        id=f"write-{view['id']}",
        class_="card",
        data_state=view["state"],
        aria_labelledby=question,
        tabindex="-1",
    )


def _form(view: CardView, words: Mapping[str, str], question: str) -> Markup:
    def button(decision: str) -> Markup:
        return tag(
            "button",
            words[decision],
            type="submit",
            name="decision",
            value=decision,
            class_=decision,
            aria_describedby=question,
        )

    return tag(
        "form",
        tag("input", type="hidden", name="id", value=view["id"]),
        tag("input", type="hidden", name="token", value=view["token"]),
        button("decline"),
        button("approve"),
        method="post",
        action="decide",
        autocomplete="off",
        data_part="decision",
        hidden=view["state"] != "waiting",
    )


def _change(change: Mapping[str, str], *, hidden: bool) -> Markup:
    return tag(
        "section",
        tag("h3", change["label"], data_slot="change-label"),
        tag(
            "p",
            tag("strong", change["before"], data_slot="before"),
            tag("span", change["added"], data_slot="added"),
            class_="figures",
        ),
        tag(
            "svg",
            tag("rect", class_="track", width="100%", height="100%"),
            tag("rect", class_="old", width=change["share"], height="100%", data_bar="share"),
            tag("rect", class_="new", x=change["share"], width=change["share_added"], height="100%", data_bar="added"),
            class_="bar wide",
            aria_hidden="true",
        ),
        class_="change",
        data_part="change",
        hidden=hidden,
    )


def _bars(view: CardView, words: Mapping[str, str]) -> Markup:
    return tag(
        "section",
        tag("h3", words["contents"], id=f"contents-{view['id']}"),
        tag(
            "table",
            tag("tbody", *(_row(bar) for bar in view["bars"]), data_rows="bars"),
            aria_labelledby=f"contents-{view['id']}",
        ),
        class_="bars",
        data_part="bars",
        hidden=not view["bars"],
    )


def _row(bar: Mapping[str, str]) -> Markup:
    drawn = tag(
        "svg",
        tag("rect", class_="track", width="100%", height="100%"),
        tag("rect", class_="fill", width=bar["share"], height="100%"),
        class_="bar",
        aria_hidden="true",
    )
    return tag("tr", tag("th", bar["label"], scope="row"), tag("td", bar["number"], class_="number"), tag("td", drawn))


def _list(view: CardView, name: str, title: str) -> Markup:
    return tag(
        "section",
        tag("h3", title),
        tag("ul", *(tag("li", each) for each in view[name]), data_list=name),
        class_=name,
        data_part=name,
        hidden=not view[name],
    )


def _document(title: str, language: Language, head: Markup, body: Iterable[Markup]) -> str:
    return "<!doctype html>\n" + tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("title", title),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("link", rel="icon", href=f"{ASSETS}page.svg", type="image/svg+xml"),
            tag("link", rel="stylesheet", href=f"{ASSETS}page.css"),
            head,
        ),
        tag("body", *body),
        lang=_LANG[language],
    )


_LOGO = tag(
    "svg",
    tag("path", d="M12 2 4 5v6c0 5 3.4 9.4 8 11 4.6-1.6 8-6 8-11V5z", class_="shield"),
    tag("path", d="m8.2 12 2.7 2.7 5-5.4", class_="check"),
    viewBox="0 0 24 24",
    aria_hidden="true",
    class_="logo",
)
