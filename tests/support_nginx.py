"""A real nginx on loopback, for as long as a test needs it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def nginx(directory: Path, configuration: str) -> Generator[None]:
    """Run nginx with this configuration, its files in `directory`; it takes connections once this is entered."""
    assert NGINX is not None
    file = directory / "nginx.conf"
    file.write_text(configuration, encoding="utf-8")
    command = [NGINX, "-p", directory, "-e", "stderr", "-c", file]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = ""
            while "start worker process " not in said:
                line = process.stderr.readline()
                assert line, f"nginx ended early: {said}"
                said += line
            yield
        finally:
            process.terminate()
            process.communicate(timeout=30)
