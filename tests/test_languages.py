"""Which language a person reads, from the environment, a header or a tag."""

from __future__ import annotations

import ctypes
import locale
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cams_mcp.languages import of_header, of_tag, system_language


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "en_SG.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LC_ALL": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LC_ALL": "", "LC_MESSAGES": "zh_CN", "LANG": "en_US"}, "zh"),
        ({"LC_MESSAGES": "en_US", "LANG": "zh_CN"}, "en"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "en_US:en"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LANGUAGE": "de:zh"}, "zh"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8", "LANGUAGE": "zh"}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "POSIX"}, "en"),
        ({"LANGUAGE": "zh_CN"}, "zh"),
    ],
)
def test_the_environment_names_the_language_as_it_does_for_gettext(environ: dict[str, str], language: str) -> None:
    assert system_language(environ) == language


ELSEWHERE = pytest.mark.skipif(sys.platform == "win32", reason="Windows reports the language of its user interface")


@ELSEWHERE
@pytest.mark.parametrize(("found", "language"), [("zh_CN", "zh"), ("en_US", "en"), ("fr_FR", "en"), (None, "en")])
def test_without_a_locale_in_the_environment_the_systems_counts(
    found: str | None, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locale, "getlocale", lambda: (found, "UTF-8"))

    assert system_language({}) == language


@ELSEWHERE
def test_a_locale_that_python_does_not_know_is_english(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("unknown locale: UTF-8")

    monkeypatch.setattr(locale, "getlocale", fail)

    assert system_language({"LC_CTYPE": "UTF-8"}) == "en"


@pytest.mark.parametrize(("found", "language"), [(0x0804, "zh"), (0x0404, "zh"), (0x0409, "en"), (0x040C, "en")])
def test_windows_reports_the_language_of_its_user_interface(
    found: int, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel32 = SimpleNamespace(GetUserDefaultUILanguage=lambda: found)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel32), raising=False)
    monkeypatch.setattr(sys, "platform", "win32")

    assert system_language({}) == language


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh-CN;q=0.8", "en"),
        ("en;q=0.5, zh;q=0.7", "zh"),
        ("fr-FR, fr;q=0.9, zh-Hans;q=0.2", "zh"),
        ("EN", "en"),
        ("zh ; Q=1.0 , en", "zh"),
        ("zh;q=0, en;q=0.1", "en"),
        ("zh;q=0", None),
        ("zh;q=high, en;q=0.1", "en"),
        ("fr, de;q=0.5", None),
        ("*", None),
        ("", None),
        (",;=,;q=", None),
        ("x" * 100_000, None),
    ],
)
def test_a_browsers_header_names_the_language_it_prefers(header: str, language: str | None) -> None:
    assert of_header(header) == language


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("zh-Hans-CN", "zh"),
        ("ZH_cn.utf8", "zh"),
        ("zh", "zh"),
        ("en-GB", "en"),
        ("za", None),
        ("english", None),
        ("", None),
    ],
)
def test_a_tag_is_read_by_its_first_part(tag: str, language: str | None) -> None:
    assert of_tag(tag) == language


@given(st.text(), st.dictionaries(st.sampled_from(["LC_ALL", "LC_MESSAGES", "LANG", "LANGUAGE"]), st.text()))
def test_any_text_is_read(text: str, environ: dict[str, str]) -> None:
    assert of_header(text) in {"en", "zh", None}
    assert of_tag(text) in {"en", "zh", None}
    assert system_language(environ) in {"en", "zh"}
