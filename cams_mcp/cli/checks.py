"""Local checks of `cams-mcp doctor`. Their output never contains secrets or the user's name."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cams_mcp import __version__
from cams_mcp.app import in_memory, state_dir_of, store_of
from cams_mcp.approval.browser import why_not
from cams_mcp.cli.clients import CLIENTS, Client
from cams_mcp.errors import ConfigurationError, StoreError
from cams_mcp.settings import Settings
from cams_mcp.store import SQLITE, Store
from cams_mcp.store.files import check_directory

PACKAGE = "cams-mcp"
_BOUND = re.compile(r"(>=|<)\s*([\d.]+)")


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check, with the one thing to do about a problem."""

    check: str
    status: Literal["ok", "warning", "failure"]
    detail: str
    action: str | None = None


def check_python(version: tuple[int, ...]) -> Check:
    """Check the running Python version against the package's requirement."""
    shown = ".".join(map(str, version))
    try:
        wanted = importlib.metadata.metadata(PACKAGE)["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        return Check("python", "ok", shown)
    if _within(shown, wanted):
        return Check("python", "ok", shown)
    return Check("python", "failure", f"{shown} does not satisfy {wanted}.", "Install cams-mcp with a newer Python.")


def check_packages(installed: Callable[[str], str] = importlib.metadata.version) -> Check:
    """Check that every dependency is installed in the declared version range."""
    try:
        declared = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return Check("packages", "warning", "cams-mcp is not installed as a package.", "Install it with pip or uvx.")
    good, bad = [f"{PACKAGE} {__version__}"], list[str]()
    for requirement in (text.partition(";")[0] for text in declared if "extra ==" not in text):
        name = re.split(r"[<>=!~\[ ]", requirement, maxsplit=1)[0]
        try:
            version = installed(name)
        except importlib.metadata.PackageNotFoundError:
            bad.append(f"{name} is missing")
            continue
        wanted = requirement.removeprefix(name)
        if _within(version, wanted):
            good.append(f"{name} {version}")
        else:
            bad.append(f"{name} {version} does not satisfy {wanted}")
    if bad:
        return Check("packages", "failure", f"{'; '.join(bad)}.", "Reinstall: pip install --force-reinstall cams-mcp")
    return Check("packages", "ok", ", ".join(good))


def _within(version: str, wanted: str) -> bool:
    def numbers(text: str) -> tuple[int, ...]:
        found = re.match(r"\d+(\.\d+)*", text)
        return tuple(map(int, found[0].split("."))) if found else ()

    have = numbers(version)
    return all(
        (have >= numbers(bound)) if sign == ">=" else (have < numbers(bound)) for sign, bound in _BOUND.findall(wanted)
    )


def check_uploads(settings: Settings) -> list[Check]:
    """Check that the upload folders, if any, are readable and that XLSX support is installed."""
    if not settings.upload_dirs:
        return []
    if settings.read_only:
        return [
            Check("uploads", "warning", "--read-only disables the file tools.", "Remove --read-only or --upload-dir.")
        ]
    for folder in settings.upload_dirs:
        if not os.access(folder, os.R_OK | os.X_OK):
            return [Check("uploads", "failure", f"{short(folder)} is not readable.", "Grant this user read access.")]
    folders = ", ".join(map(short, settings.upload_dirs))
    if importlib.util.find_spec("python_calamine") is None:
        return [Check("uploads", "warning", f"{folders}; XLSX support is not installed.", "Install cams-mcp[xlsx].")]
    return [Check("uploads", "ok", f"Files in {folders} can be uploaded.")]


def check_approval(settings: Settings, platform: str, environment: Mapping[str, str]) -> Check:
    """Say where a person approves the writes of a server over stdio with these settings."""
    fixed = {"token": "In two steps, through the assistant (--confirm token).", "card": "On a card in the chat."}
    if settings.read_only:
        return Check("approval", "ok", "No writes (--read-only).")
    if settings.confirm in fixed:
        return Check("approval", "ok", fixed[settings.confirm])
    if settings.confirm == "off":
        advice = "Use --confirm off in unattended pipelines only."
        return Check("approval", "warning", "Writes are sent without approval (--confirm off).", advice)
    why = why_not(environment, platform)
    if why is None:
        return Check("approval", "ok", "On a page in the browser, if the client does not ask the question itself.")
    if settings.confirm == "page":
        return Check("approval", "warning", f"The approval page may not open: {why}.", "Use `cams-mcp approve`.")
    otherwise = "with `cams-mcp approve`" if settings.confirm == "person" else "in two steps, through the assistant"
    return Check(
        "approval", "ok", f"By the client's question or a card, otherwise {otherwise}. No page can open: {why}."
    )


def check_state(settings: Settings) -> Check:
    """Check the store of approvals, ledger and audit trail."""
    if in_memory(settings):
        return Check("state", "ok", "The sandbox keeps its state in memory.")
    if settings.store != SQLITE:
        return _check_shared_store(settings)
    return _check_directory(state_dir_of(settings))


def _check_directory(directory: Path) -> Check:
    shown = short(directory)
    # lexists, because a broken symlink also prevents creating the directory.
    exists = os.path.lexists(directory)
    place = directory if exists else next(above for above in directory.absolute().parents if above.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return Check(
            "state",
            "failure",
            f"{shown} cannot be {'written' if exists else 'created'}. The server will reject writes.",
            "Make it a writable directory, or choose another with --state-dir.",
        )
    if not exists:
        return Check("state", "ok", f"{shown} will be created when needed.")
    with closing(Store(directory)) as store:
        try:
            check_directory(directory)
            store.audit(time.time())
        except StoreError as error:
            # Don't show the error message; it may contain the full path with the user's name.
            message = f"The store in {shown} is insecure or cannot be opened. The server will reject writes."
            return Check("state", "failure", message, error.hint)
    if os.name == "posix" and stat.S_IMODE(directory.stat().st_mode) & 0o077:
        return Check("state", "warning", f"Other users can access {shown}.", f"Run: chmod 700 {shown}")
    return Check("state", "ok", f"{shown} is writable.")


def _check_shared_store(settings: Settings) -> Check:
    try:
        store = store_of(settings)
        store.digest("ready")
        store.close()
    except (StoreError, ConfigurationError) as error:
        return Check("state", "failure", "The store is unreachable. The server will reject writes.", error.hint)
    return Check("state", "ok", "The store (--store) is reachable.")


def check_clients(platform: str, environment: Mapping[str, str]) -> list[Check]:
    """Check which clients' configuration files exist, and whether they mention cams-mcp."""
    try:
        places = [(client, client.path(platform, environment)) for client in CLIENTS.values()]
    except ConfigurationError as error:
        return [Check("clients", "warning", f"Not checked: {error.message}", "Set the variable.")]
    files = [(client, Path(place)) for client, place in places if place]
    found = [_check_client(client, path) for client, path in files if path.exists()]
    if any(check.status == "ok" and check.action is None for check in found):
        return found
    return [
        *found,
        Check("clients", "warning", "No client configuration mentions cams-mcp.", "Run: cams-mcp config CLIENT"),
    ]


def _check_client(client: Client, path: Path) -> Check:
    name = f"client {client.name}"
    try:
        known = PACKAGE.encode() in path.read_bytes()
    except OSError as error:
        return Check(name, "warning", f"Cannot read {short(path)} ({error.strerror}).", "Check its permissions.")
    if known:
        return Check(name, "ok", f"{short(path)} mentions cams-mcp.")
    return Check(
        name, "ok", f"{short(path)} does not mention cams-mcp.", f"To connect it: cams-mcp config {client.name}"
    )


def short(path: Path) -> str:
    """Abbreviate a path under the home directory, to hide the user's name."""
    try:
        return f"~/{path.absolute().relative_to(Path.home()).as_posix()}"
    except (ValueError, RuntimeError):
        return str(path)
