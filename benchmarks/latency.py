"""Measure the latency of list_instance (20 rows, embedded sandbox) over stdio, compared with a trivial SDK tool.

Run: python benchmarks/latency.py [CALLS]. Calls alternate between the two servers. The ratio is the result.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters

PROGRAMS = {
    "cams-mcp list_instance": (["-m", "cams_mcp", "serve", "--sandbox"], "list_instance", {"page_size": 20}),
    "trivial tool": ([str(Path(__file__).with_name("hello_server.py"))], "hello", {"page_size": 20}),
}


async def main(calls: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    ours, theirs = (StdioServerParameters(command=sys.executable, args=args) for args, _, _ in PROGRAMS.values())
    async with Client(ours) as first, Client(theirs) as second:
        for turn in range(calls + 10):
            for client, (name, (_, tool, arguments)) in zip((first, second), PROGRAMS.items(), strict=True):
                began = time.perf_counter()
                result = await client.call_tool(tool, arguments)
                if turn >= 10:  # the first calls are warm-up
                    times[name].append(time.perf_counter() - began)
                assert not result.is_error
    base = statistics.median(times["trivial tool"])
    print("| one call over stdio | median | p99 | ratio |")
    print("|---|---|---|---|")
    for name, taken in times.items():
        median, p99 = statistics.median(taken), statistics.quantiles(taken, n=100)[98]
        print(f"| {name} | {median * 1000:.2f} ms | {p99 * 1000:.2f} ms | {median / base:.2f} |")


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 500)
