"""Measure requests per second and p99 latency over Streamable HTTP, compared with a bare low-level SDK server.

Run: python benchmarks/http_load.py [SECONDS], or with --memory to measure the server's memory after many sessions.
Both servers run in separate processes without authentication. This process loads them in turn over protocol 2026-07-28
with two requests. server/discover costs both servers the same work, so it shows the overhead of our HTTP layers. For
tools/call, cams-mcp runs list_instance with one row from the embedded sandbox, signed and checked, while the bare
server returns a constant.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import mcp_types as types

CLIENTS = (1, 32, 256)
PROGRAMS = {
    "cams-mcp list_instance": (
        [sys.executable, "-m", "cams_mcp", "serve", "--sandbox", "--transport", "http", "--port", "0"],
        "list_instance",
        {"page_size": 1},
    ),
    "bare server, trivial tool": ([sys.executable, str(Path(__file__).with_name("bare_http.py"))], "hello", {}),
}


@contextmanager
def running(command: list[str]) -> Generator[str]:
    """Start a server, and yield the URL that it prints to standard error."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            url = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+/mcp", line)))
            yield url
        finally:
            process.terminate()


def request_of(tool: str, arguments: dict[str, int]) -> tuple[dict[str, str], dict[str, object]]:
    meta = {
        types.PROTOCOL_VERSION_META_KEY: "2026-07-28",
        types.CLIENT_INFO_META_KEY: {"name": "benchmark", "version": "1"},
        types.CLIENT_CAPABILITIES_META_KEY: {},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call" if tool else "server/discover",
    }
    call = {"name": tool, "arguments": arguments} if tool else {}
    headers |= {"mcp-name": tool} if tool else {}
    return headers, {"jsonrpc": "2.0", "id": 1, "method": headers["mcp-method"], "params": call | {"_meta": meta}}


async def load(url: str, tool: str, arguments: dict[str, int], clients: int, seconds: float) -> list[float]:
    """Return the duration of each request in seconds. Each client waits for a response before its next request."""
    headers, body = request_of(tool, arguments)
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def one(client: httpx.AsyncClient) -> None:
        while (began := time.perf_counter()) < end:
            try:
                response = await client.post(url, json=body, headers=headers)
            except httpx.TransportError:
                continue  # the server closed an idle connection; not a response, so not counted
            assert response.status_code == 200, response.text
            assert '"isError":true' not in response.text, response.text
            taken.append(time.perf_counter() - began)

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:
        await asyncio.gather(*(one(client) for _ in range(clients)))
    return taken


def main(seconds: float) -> None:
    print("| clients | server | request | requests/s | ratio | p99 |")
    print("|---|---|---|---|---|---|")
    commands = [command for command, _, _ in PROGRAMS.values()]
    with running(commands[0]) as ours, running(commands[1]) as bare:
        urls = dict(zip(PROGRAMS, (ours, bare), strict=True))
        for clients in CLIENTS:
            for is_call in (False, True):
                compare(urls, clients, seconds, is_call=is_call)


def compare(urls: dict[str, str], clients: int, seconds: float, *, is_call: bool) -> None:
    """Load both servers in turn and print the results."""
    rounds = 3
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, (_, tool, arguments) in PROGRAMS.items():
            asked = tool if is_call else ""
            taken[name] += asyncio.run(load(urls[name], asked, arguments, clients, seconds / rounds))
    base = len(taken["bare server, trivial tool"])
    for name, times in taken.items():
        p99 = statistics.quantiles(times, n=100)[98] * 1000
        rate, ratio = len(times) / seconds, len(times) / base
        method = "tools/call" if is_call else "server/discover"
        print(f"| {clients} | {name} | {method} | {rate:.0f} | {ratio:.2f} | {p99:.0f} ms |", flush=True)


async def sessions(url: str, number: int) -> None:
    """Open, use and close `number` sessions of protocol 2025-11-25, eight at a time."""
    accept = {"accept": "application/json, text/event-stream"}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}

    async def some(client: httpx.AsyncClient, count: int) -> None:
        for _ in range(count):
            opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
            opened = await client.post(url, json=opening, headers=accept)
            session = accept | {"mcp-session-id": opened.headers["mcp-session-id"]}
            await client.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=session)
            listed = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
            assert (await client.post(url, json=listed, headers=session)).status_code == 200
            await client.delete(url, headers=session)

    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        await asyncio.gather(*(some(client, number // 8) for _ in range(8)))


def memory() -> None:
    print("| sessions opened and closed | resident memory of the server |")
    print("|---|---|")
    command = PROGRAMS["cams-mcp list_instance"][0]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        url = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+/mcp", line)))
        done = 0
        for more in (1_000, 4_000, 5_000):
            asyncio.run(sessions(url, more))
            done += more
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            resident = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024
            print(f"| {done:,} | {resident:.0f} MB |", flush=True)
        process.terminate()


if __name__ == "__main__":
    if "--memory" in sys.argv:
        memory()
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 9.0)
