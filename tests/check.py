"""Run ruff, pyright and the tests: python -m tests.check"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("pyright", "--pythonpath", sys.executable),
    ("pytest",),
)


def main() -> int:
    failed = []
    for check in CHECKS:
        print("$ python -m", *check, flush=True)
        if subprocess.run([sys.executable, "-m", *check], cwd=ROOT, check=False).returncode:
            failed.append(check[0])
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed", flush=True)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
