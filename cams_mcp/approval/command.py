"""How to start `cams-mcp approve` for the store of a server."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def approve_command(state_dir: Path | None, *, is_shared: bool, local: bool) -> str:
    """The command, without the id of a write.

    Args:
        state_dir: of the server, if it is not the default one.
        is_shared: whether the server uses another store, whose URL may hold a password.
        local: whether the reader is at this machine. Others need not know its paths.
    """
    if not local:
        return "cams-mcp approve"
    command = f"{_own_program()} approve"
    if is_shared:
        return f"{command} --store URL"
    return command if state_dir is None else f"{command} --state-dir {shlex.quote(str(state_dir))}"


def _own_program() -> str:
    """How to start cams-mcp in a terminal of this machine."""
    if shutil.which("cams-mcp"):
        return "cams-mcp"
    started = Path(sys.argv[0])
    if started.stem == "cams-mcp" and started.exists():
        return shlex.quote(str(started.resolve()))
    return f"{shlex.quote(sys.executable)} -m cams_mcp"
