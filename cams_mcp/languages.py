"""Which language a person reads: from the environment of this process, a browser's header or a language tag."""

from __future__ import annotations

import contextlib
import locale
import os
import re
import sys
from collections.abc import Mapping

from cams_mcp.facts import Language

_LOCALES = ("LC_ALL", "LC_MESSAGES", "LANG")
_NEUTRAL = frozenset({"c", "posix"})
"""Locales that name no language."""

_QUALITY = re.compile(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", re.IGNORECASE)
_LONGEST_HEADER = 1000

_WINDOWS_PRIMARY = 0x3FF
"""The bits of a Windows language id that hold the language, without the region."""
_WINDOWS_CHINESE = 0x04


def system_language(environ: Mapping[str, str] = os.environ) -> Language:
    """The language of the system's user, as gettext finds it; English unless that is Chinese."""
    chosen = next((environ[name] for name in _LOCALES if environ.get(name)), "")
    if _primary(chosen) in _NEUTRAL:
        return "en"
    # LANGUAGE lists languages by preference, and comes first unless the locale is neutral.
    for tag in (*environ.get("LANGUAGE", "").split(":"), chosen):
        if (language := of_tag(tag)) is not None:
            return language
    return "en" if chosen else _of_user_interface() or "en"


def of_header(accept_language: str) -> Language | None:
    """The language that an Accept-Language header prefers; None if it accepts neither English nor Chinese."""
    best: tuple[float, Language | None] = (0.0, None)
    for item in accept_language[:_LONGEST_HEADER].split(","):
        tag, *parameters = item.split(";")
        qualities = [match for each in parameters if (match := _QUALITY.fullmatch(each))]
        quality = float(qualities[0][1]) if qualities else 0.0 if parameters else 1.0
        language = of_tag(tag)
        if language is not None and quality > best[0]:
            best = quality, language
    return best[1]


def of_tag(tag: str) -> Language | None:
    """The language of a tag such as zh-Hans-CN, or of a locale such as zh_CN.UTF-8; None if it is another one."""
    match _primary(tag):
        case "zh":
            return "zh"
        case "en":
            return "en"
        case _:
            return None


def _primary(tag: str) -> str:
    return re.split(r"[-_.@]", tag.strip(), maxsplit=1)[0].lower()


def _of_user_interface() -> Language | None:
    """The language of a desktop whose programs get no locale in their environment: Windows, macOS."""
    with contextlib.suppress(AttributeError, ImportError, OSError, ValueError):
        if sys.platform == "win32":
            import ctypes

            language = ctypes.windll.kernel32.GetUserDefaultUILanguage()
            return "zh" if language & _WINDOWS_PRIMARY == _WINDOWS_CHINESE else "en"
        return of_tag(locale.getlocale()[0] or "")
    return None
