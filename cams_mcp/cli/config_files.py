"""Merging cams-mcp into a client's file without touching anything else in it.

The file is replaced in one step, after a copy of it was put beside it. What cannot be merged surely is left as it is:
files with comments (which a JSON writer would lose), broken ones, and entries of another content.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cams_mcp.cli.clients import Client
from cams_mcp.errors import ConfigurationError

NEW_FILE_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Written:
    """What happened: whether the file changed, and where its earlier content is, if it had any."""

    changed: bool
    backup: Path | None = None


def write_merged(path: Path, client: Client, document: Mapping[str, Any], *, force: bool) -> Written:
    """Merge `document` into the file at `path`, which may be a link or missing.

    Raises:
        ConfigurationError: it cannot be merged or written; the file is as it was.
    """
    # The file itself is replaced, not a link to it.
    path = Path(os.path.realpath(path))
    try:
        seen = path.stat() if path.exists() else None
        old = path.read_bytes() if seen else b""
        merged = merged_text(old, client, document, force=force)
        if merged is None:
            return Written(changed=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = seen.st_mode & 0o7777 if seen else NEW_FILE_MODE
        backup = _back_up(path, old, mode) if old else None
        _replace(path, merged, mode, old)
    except OSError as error:
        raise ConfigurationError(
            f"The file cannot be written ({error.strerror or 'unknown reason'}): {path}",
            hint="Check its permissions, or give another with --path.",
        ) from None
    return Written(changed=True, backup=backup)


def merged_text(old: bytes, client: Client, document: Mapping[str, Any], *, force: bool) -> bytes | None:
    """The new content of a client's file, or None if it says all that already.

    Raises:
        ConfigurationError: not mergeable surely, or another entry has this name and `force` is not given.
    """
    try:
        text = old.decode("utf-8-sig")
        parsed = _parse_json(text) if client.form == "json" else tomllib.loads(text)
    except (ValueError, RecursionError):
        raise _by_hand(client, document, _problem(client)) from None
    merged = _merged(parsed, client, document, force=force)
    if merged == parsed:
        return None
    if client.form == "json":
        new = client.render(merged, _indent_of(text))
    else:
        new = _toml_with(text, client, document)
        if _toml_or_none(new) != merged:
            raise _by_hand(client, document, "The file cannot be changed surely; it was left as it is.")
    newline = "\r\n" if "\r\n" in text else "\n"
    return new.replace("\r\n", "\n").replace("\n", newline).encode("utf-8", "backslashreplace")


def _merged(old: dict[str, Any], client: Client, document: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
    merged = dict(old)
    for section, new in document.items():
        known = merged.get(section, type(new)())
        if not isinstance(known, type(new)):
            raise _by_hand(client, document, f'"{section}" in the file is not what {client.title} documents.')
        if isinstance(known, list):
            merged[section] = _merged_list(cast("list[Any]", known), new, client, document, force=force)
            continue
        known = cast("dict[str, Any]", known)
        for name, entry in new.items():
            if known.get(name, entry) != entry and not force:
                raise _another(f'a server "{name}"')
        merged[section] = known | new
    return merged


def _merged_list(
    old: list[Any], new: list[dict[str, Any]], client: Client, document: Mapping[str, Any], *, force: bool
) -> list[Any]:
    """The inputs of VS Code, which are told apart by their ids."""
    if not all(isinstance(known, dict) for known in old):
        raise _by_hand(client, document, f'"inputs" in the file is not what {client.title} documents.')
    merged = list(old)
    for entry in new:
        places = [place for place, known in enumerate(old) if known.get("id") == entry["id"]]
        if not places:
            merged.append(entry)
        elif old[places[0]] != entry:
            if not force:
                raise _another(f'an input "{entry["id"]}"')
            merged[places[0]] = entry
    return merged


def _parse_json(text: str) -> dict[str, Any]:
    """Plain JSON that a writer gives back as it was; an empty file counts as an empty object."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a name stands twice")
        return dict(pairs)

    def no_constant(name: str) -> None:
        raise ValueError(name)

    if not text.strip():
        return {}
    parsed: Any = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    if not isinstance(parsed, dict):
        raise ValueError("not an object")  # noqa: TRY004 - for the caller it is one of several wrong contents
    return cast("dict[str, Any]", parsed)


def _toml_or_none(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _toml_with(text: str, client: Client, document: Mapping[str, Any]) -> str:
    """The file's text with the entries at its end, and without earlier ones of these names. Comments stay."""
    kept: list[str] = []
    dropping = False
    ours = [re.compile(rf"\[{client.servers}\.\"?{re.escape(name)}\"?[\].]") for name in document[client.servers]]
    for line in text.replace("\r\n", "\n").split("\n"):
        bare = line.replace(" ", "")
        if bare.startswith("["):
            dropping = any(pattern.match(bare) for pattern in ours)
        if not dropping:
            kept.append(line)
    before = "\n".join(kept).rstrip("\n")
    return (f"{before}\n\n" if before else "") + client.render(document)


def _indent_of(text: str) -> str:
    found = re.search(r"^([ \t]+)\"", text, re.MULTILINE)
    return found[1] if found else "  "


def _problem(client: Client) -> str:
    if client.form == "toml":
        return "The file is not TOML; it was left as it is."
    return "The file is not plain JSON (it has comments or trailing commas, or it is broken); it was left as it is."


def _by_hand(client: Client, document: Mapping[str, Any], problem: str) -> ConfigurationError:
    return ConfigurationError(problem, hint=f"Add this to it by hand:\n{client.render(document)}")


def _another(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The file has {what} of another content; it was left as it is.",
        hint="Replace it with --force, or choose another name with --name.",
    )


def _back_up(path: Path, content: bytes, mode: int) -> Path:
    for number in range(1, 1000):
        backup = path.with_name(f"{path.name}.{number}.bak")
        with (
            suppress(FileExistsError),
            os.fdopen(os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as to,
        ):
            to.write(content)
            return backup
    raise ConfigurationError(f"There are too many backups beside {path}.", hint="Delete some.")


def _replace(path: Path, content: bytes, mode: int, expected: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as to:
            to.write(content)
            to.flush()
            os.fsync(to.fileno())
        Path(name).chmod(mode)
        _require_unchanged(path, expected)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _require_unchanged(path: Path, expected: bytes) -> None:
    if (path.read_bytes() if path.exists() else b"") != expected:
        raise ConfigurationError(
            "The client changed the file meanwhile.", hint="Close the client, then run this again."
        )
