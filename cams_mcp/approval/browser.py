"""Open a page in the person's own browser, from a process whose pipes belong to a protocol.

`webbrowser` runs in a Python process of its own, in its own session and without our pipes, so that a browser can
neither write into the protocol, nor read from it, nor be stopped by a Ctrl-C meant for the server.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio

PATIENCE_SECONDS = 10.0
"""How long a browser may take to fail. One that still runs after that counts as started: some block until closed."""

POLL_SECONDS = 0.05

TEXT_BROWSERS = frozenset(
    {"w3m", "lynx", "links", "links2", "elinks", "www-browser", "browsh", "carbonyl", "cha", "edbrowse", "netrik"}
    | {"retawq", "eww"}
)
"""Browsers that draw on a terminal. The server has none to offer."""

_ADDRESS = "CAMS_MCP_APPROVAL_PAGE"
# Every user of the machine can read a process's arguments, but not its environment.
_HELPER = f"""
import os, sys, webbrowser
sys.exit(not webbrowser.open(os.environ.pop("{_ADDRESS}")))
"""

_CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")
_CONTAINER_VARIABLE = "KUBERNETES_SERVICE_HOST"
_SSH_VARIABLES = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")
_WITH_OWN_DISPLAY = ("win32", "darwin", "cygwin")


def why_not(
    environ: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
    exists: Callable[[Path], bool] = Path.exists,
) -> str | None:
    """Why no browser of this machine can reach the person, as a clause; None if one probably can."""
    if any(environ.get(name) for name in _SSH_VARIABLES):
        return "the server runs in an SSH session"
    if environ.get(_CONTAINER_VARIABLE) or any(exists(Path(name)) for name in _CONTAINER_FILES):
        return "the server runs in a container"
    named = environ.get("BROWSER", "")
    if named and not graphical(named):
        return "BROWSER names only text browsers"
    if not named and platform not in _WITH_OWN_DISPLAY and not _has_display(environ):
        return "the server has no display"
    return None


def graphical(named: str) -> str:
    """The value of BROWSER without the text browsers in it."""
    return os.pathsep.join(entry for entry in named.split(os.pathsep) if entry.strip() and not _is_text_browser(entry))


async def open_browser(url: str, *, patience: float = PATIENCE_SECONDS) -> bool:
    """Open `url` in the person's browser. Returns whether a browser was started.

    Cancelling this only stops the wait: the browser belongs to the person.
    """
    environ = _environment(url)
    if environ is None or not sys.executable or getattr(sys, "frozen", False):
        return False
    try:
        process = _start([sys.executable, "-I", "-S", "-c", _HELPER], environ)
    except OSError:
        return False
    # Reaps the process whenever it ends, also if nobody waits for it any more.
    threading.Thread(target=process.wait, daemon=True).start()
    with anyio.move_on_after(patience):
        while process.returncode is None:  # noqa: ASYNC110 - set by a thread, which cannot be cancelled
            await anyio.sleep(POLL_SECONDS)
    return not process.returncode


def _environment(url: str) -> dict[str, str] | None:
    """The environment of the helper; None if the person uses only text browsers."""
    # Without TERM, `webbrowser` does not look for text browsers of its own.
    # A browser has no use for access keys and settings.
    ours = ("CAMS_MCP_", "ALIBABA_CLOUD_")
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in ("BROWSER", "TERM") and not name.startswith(ours)
    }
    if named := os.environ.get("BROWSER"):
        if not (chosen := graphical(named)):
            return None
        environ["BROWSER"] = chosen
    return environ | {_ADDRESS: url}


def _start(command: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    nothing = subprocess.DEVNULL
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return subprocess.Popen(  # noqa: S603 - our own interpreter
            command, env=environ, stdin=nothing, stdout=nothing, stderr=nothing, creationflags=flags
        )
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        command, env=environ, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
    )


def _is_text_browser(entry: str) -> bool:
    try:
        # On Windows, the backslashes of a path are no escapes.
        words = shlex.split(entry, posix=os.name != "nt")
    except ValueError:  # an unclosed quotation mark
        words = entry.split()
    program = words[0].strip("\"'").replace("\\", "/").rpartition("/")[2].lower() if words else ""
    return program.removesuffix(".exe") in TEXT_BROWSERS


def _has_display(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
