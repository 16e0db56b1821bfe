"""What `cams-mcp doctor` checks on this machine. Nothing it says holds a secret or a user's name."""

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
from cams_mcp.cli.clients import CLIENTS, Client
from cams_mcp.errors import ConfigurationError, StoreError
from cams_mcp.settings import Settings
from cams_mcp.store import SQLITE, Store
from cams_mcp.store.files import check_directory

PACKAGE = "cams-mcp"
_BOUND = re.compile(r"(>=|<)\s*([\d.]+)")


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was checked, how it stands, and the one thing to do if it is not well."""

    check: str
    status: Literal["ok", "warning", "failure"]
    detail: str
    action: str | None = None


def check_python(version: tuple[int, ...]) -> Check:
    """The Python that runs this, against what the package declares."""
    shown = ".".join(map(str, version))
    try:
        wanted = importlib.metadata.metadata(PACKAGE)["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        return Check("python", "ok", shown)
    if _within(shown, wanted):
        return Check("python", "ok", shown)
    return Check("python", "failure", f"{shown} is not {wanted}.", "Install cams-mcp with a newer Python.")


def check_packages(installed: Callable[[str], str] = importlib.metadata.version) -> Check:
    """The packages that cams-mcp declares, each in the declared range."""
    try:
        declared = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return Check("packages", "warning", "cams-mcp runs without being installed.", "Install it with pip or uvx.")
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
            bad.append(f"{name} {version} is not {wanted}")
    if bad:
        return Check(
            "packages", "failure", f"{'; '.join(bad)}.", "Install again: pip install --force-reinstall cams-mcp"
        )
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
    """The upload folders, if there are any, and whether XLSX files can be read."""
    if not settings.upload_dirs:
        return []
    if settings.read_only:
        return [Check("uploads", "warning", "--read-only leaves the file tools out.", "Drop one of the two options.")]
    for folder in settings.upload_dirs:
        if not os.access(folder, os.R_OK | os.X_OK):
            return [Check("uploads", "failure", f"{short(folder)} cannot be read.", "Give this user read access.")]
    folders = ", ".join(map(short, settings.upload_dirs))
    if importlib.util.find_spec("python_calamine") is None:
        return [Check("uploads", "warning", f"{folders}; XLSX files cannot be read.", "Install cams-mcp[xlsx].")]
    return [Check("uploads", "ok", f"Files of {folders} can be uploaded.")]


def check_state(settings: Settings) -> Check:
    """The directory of approvals, ledger and audit trail, and the record in it."""
    if in_memory(settings):
        return Check("state", "ok", "The sandbox keeps its record in memory.")
    if settings.store != SQLITE:
        return _check_shared_store(settings)
    return _check_directory(state_dir_of(settings))


def _check_directory(directory: Path) -> Check:
    shown = short(directory)
    # A link to nowhere exists too: nothing can be made in its place.
    exists = os.path.lexists(directory)
    place = directory if exists else next(above for above in directory.absolute().parents if above.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return Check(
            "state",
            "failure",
            f"{shown} cannot be {'written' if exists else 'made'}. Writes will be refused.",
            "Make it a directory that you can write, or choose another with --state-dir.",
        )
    if not exists:
        return Check("state", "ok", f"{shown} will be made when it is needed.")
    with closing(Store(directory)) as store:
        try:
            check_directory(directory)
            store.audit(time.time())
        except StoreError as error:
            # Its message may hold the whole path, with the user's name.
            message = f"The record in {shown} cannot be used safely, or does not open. The server will reject writes."
            return Check("state", "failure", message, error.hint)
    if os.name == "posix" and stat.S_IMODE(directory.stat().st_mode) & 0o077:
        return Check("state", "warning", f"Others can look into {shown}.", f"Run: chmod 700 {shown}")
    return Check("state", "ok", f"{shown} can be written.")


def _check_shared_store(settings: Settings) -> Check:
    try:
        store = store_of(settings)
        store.digest("ready")
        store.close()
    except (StoreError, ConfigurationError) as error:
        return Check("state", "failure", "The store does not answer. Writes will be refused.", error.hint)
    return Check("state", "ok", "The store of --store answers.")


def check_clients(platform: str, environment: Mapping[str, str]) -> list[Check]:
    """The files of the clients that are there, and whether they know cams-mcp."""
    try:
        places = [(client, client.path(platform, environment)) for client in CLIENTS.values()]
    except ConfigurationError as error:
        return [Check("clients", "warning", f"Not checked: {error.message}", "Set it.")]
    files = [(client, Path(place)) for client, place in places if place]
    found = [_check_client(client, path) for client, path in files if path.exists()]
    if any(check.status == "ok" and check.action is None for check in found):
        return found
    return [*found, Check("clients", "warning", "No client's file mentions cams-mcp.", "Run: cams-mcp config CLIENT")]


def _check_client(client: Client, path: Path) -> Check:
    name = f"client {client.name}"
    try:
        known = PACKAGE.encode() in path.read_bytes()
    except OSError as error:
        return Check(name, "warning", f"{short(path)} cannot be read ({error.strerror}).", "Check its permissions.")
    if known:
        return Check(name, "ok", f"{short(path)} mentions cams-mcp.")
    return Check(
        name, "ok", f"{short(path)} does not mention cams-mcp.", f"To connect it: cams-mcp config {client.name}"
    )


def short(path: Path) -> str:
    """A path without the user's name."""
    try:
        return f"~/{path.absolute().relative_to(Path.home()).as_posix()}"
    except (ValueError, RuntimeError):
        return str(path)
