"""A real Chromium for tests of pages. Debian's, because Playwright's own builds are a download of their own."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

IMAGES = Path(__file__).parent.parent / "docs" / "images"


def why_missing() -> str | None:
    """Why there is no Chromium to test with, as a sentence."""
    if CHROMIUM is None:
        return "chromium is not installed (Debian: chromium)"
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed (the extra `test`)"
    return None


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    """A browser for the tests of one file, all of them synchronous: Playwright's event loop occupies the thread."""
    if (why := why_missing()) is not None:
        pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def take_screenshot(page: Page, name: str, otherwise: Path) -> Path:
    """Take a screenshot of the whole page: for the docs with CAMS_MCP_UPDATE_SCREENSHOTS=1, else into `otherwise`."""
    folder = IMAGES if os.environ.get("CAMS_MCP_UPDATE_SCREENSHOTS") == "1" else otherwise
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    page.screenshot(path=path, full_page=True, animations="disabled", caret="hide")
    return path


def overflows(page: Page) -> list[str]:
    """The elements that stick out at the side, or make the page scroll sideways."""
    return page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          const isOut = (each) => {
            const box = each.getBoundingClientRect();
            return box.width && (box.right > width + 0.5 || box.left < -0.5);
          };
          const out = [...document.body.querySelectorAll("*:not(.skip)")].filter(isOut).map((each) => each.outerHTML);
          return document.documentElement.scrollWidth > width ? ["the page scrolls", ...out] : out;
        }"""
    )


def low_contrast(page: Page, *, at_least: int) -> list[Any]:
    """The texts whose contrast is below WCAG AA, with their ratio. There must be `at_least` so many texts at all."""
    return page.evaluate(
        """(least) => {
          const rgb = (color) => color.match(/[\\d.]+/g).map(Number);
          const linear = (c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
          const light = (color) => {
            const [r, g, b] = rgb(color).map(linear);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const behind = (each) => {
            const color = getComputedStyle(each).backgroundColor;
            return rgb(color)[3] === 0 && each.parentElement ? behind(each.parentElement) : color;
          };
          const ratio = (each) => {
            const both = [light(getComputedStyle(each).color), light(behind(each))];
            return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
          };
          const hasText = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
          const all = [...document.body.querySelectorAll("*")];
          const shown = all.filter((each) => each.checkVisibility() && hasText(each));
          if (shown.length < least) return [["too few texts", shown.length]];
          return shown.filter((each) => ratio(each) < 4.5).map((each) => [each.outerHTML, ratio(each)]);
        }""",
        at_least,
    )
