"""Merge cams-mcp into a client's configuration file without changing anything else in it.

The file is backed up next to itself, then replaced atomically. If a merge is not certain to be safe, the file is left
unchanged: files with comments (which a JSON writer would drop), malformed files, and conflicting entries.
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
class MergeResult:
    """Whether the file changed, and the backup of its previous content, if any."""

    changed: bool
    backup: Path | None = None


def write_merged(path: Path, client: Client, document: Mapping[str, Any], *, force: bool) -> MergeResult:
    """Merge `document` into the file at `path`, which may be a symlink or missing.

    Raises:
        ConfigurationError: the file cannot be merged or written. It is left unchanged.
    """
    # Replace the target of a symlink, not the link itself.
    path = Path(os.path.realpath(path))
    try:
        seen = path.stat() if path.exists() else None
        old = path.read_bytes() if seen else b""
        merged = merged_text(old, client, document, force=force)
        if merged is None:
            return MergeResult(changed=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = seen.st_mode & 0o7777 if seen else NEW_FILE_MODE
        backup = _back_up(path, old, mode) if old else None
        _replace(path, merged, mode, old)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write the file ({error.strerror or 'unknown reason'}): {path}",
            hint="Check its permissions, or specify another file with --path.",
        ) from None
    return MergeResult(changed=True, backup=backup)


def merged_text(old: bytes, client: Client, document: Mapping[str, Any], *, force: bool) -> bytes | None:
    """Return the new content of a client's file, or None if the file is already up to date.

    Raises:
        ConfigurationError: a merge might not be safe, or a different entry has this name and `force` is not set.
    """
    try:
        text = old.decode("utf-8-sig")
        parsed = _parse_json(text) if client.form == "json" else tomllib.loads(text)
    except (ValueError, RecursionError):
        raise _edit_by_hand(client, document, _problem(client)) from None
    merged = _merged(parsed, client, document, force=force)
    if merged == parsed:
        return None
    if client.form == "json":
        new = client.render(merged, _indent_of(text))
    else:
        new = _toml_with(text, client, document)
        if _toml_or_none(new) != merged:
            raise _edit_by_hand(client, document, "The file cannot be merged safely, so it was not changed.")
    newline = "\r\n" if "\r\n" in text else "\n"
    return new.replace("\r\n", "\n").replace("\n", newline).encode("utf-8", "backslashreplace")


def _merged(old: dict[str, Any], client: Client, document: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
    merged = dict(old)
    for section, new in document.items():
        known = merged.get(section, type(new)())
        if not isinstance(known, type(new)):
            raise _edit_by_hand(
                client, document, f'"{section}" in the file does not have the type that {client.title} documents.'
            )
        if isinstance(known, list):
            merged[section] = _merged_list(cast("list[Any]", known), new, client, document, force=force)
            continue
        known = cast("dict[str, Any]", known)
        for name, entry in new.items():
            if known.get(name, entry) != entry and not force:
                raise _conflict(f'a server "{name}"')
        merged[section] = known | new
    return merged


def _merged_list(
    old: list[Any], new: list[dict[str, Any]], client: Client, document: Mapping[str, Any], *, force: bool
) -> list[Any]:
    """Merge the inputs of VS Code, which are identified by their ids."""
    if not all(isinstance(known, dict) for known in old):
        raise _edit_by_hand(
            client, document, f'"inputs" in the file does not have the type that {client.title} documents.'
        )
    merged = list(old)
    for entry in new:
        places = [place for place, known in enumerate(old) if known.get("id") == entry["id"]]
        if not places:
            merged.append(entry)
        elif old[places[0]] != entry:
            if not force:
                raise _conflict(f'an input "{entry["id"]}"')
            merged[places[0]] = entry
    return merged


def _parse_json(text: str) -> dict[str, Any]:
    """Parse JSON that survives a round trip unchanged. An empty file counts as an empty object."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("duplicate name")
        return dict(pairs)

    def no_constant(name: str) -> None:
        raise ValueError(name)

    if not text.strip():
        return {}
    parsed: Any = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    if not isinstance(parsed, dict):
        raise ValueError("not an object")  # noqa: TRY004 - to the caller, one of several kinds of invalid content
    return cast("dict[str, Any]", parsed)


def _toml_or_none(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _toml_with(text: str, client: Client, document: Mapping[str, Any]) -> str:
    """Append the entries to the file's text and drop earlier entries of the same names. Keeps comments."""
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
        return "The file is not valid TOML, so it was not changed."
    return "The file is not plain JSON (comments, trailing commas or syntax errors), so it was not changed."


def _edit_by_hand(client: Client, document: Mapping[str, Any], problem: str) -> ConfigurationError:
    return ConfigurationError(problem, hint=f"Add this to the file by hand:\n{client.render(document)}")


def _conflict(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The file already has {what} with different settings, so it was not changed.",
        hint="Replace the entry with --force, or choose another name with --name.",
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
    raise ConfigurationError(f"There are too many backups next to {path}.", hint="Delete some of them.")


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
            "The client changed the file in the meantime.", hint="Close the client, then run this command again."
        )
