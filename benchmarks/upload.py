"""Measure users per second from CSV file to wire: a cams-mcp upload compared with the official SDK's largest calls.

Run: python benchmarks/upload.py [USERS] [--memory | --sandbox]. Both programs send the same people, in calls of up to
10,000, to a recording server in a separate process. Rounds alternate, and the ratio is the result. The SDK puts people
into the URL, so the recording server accepts URLs of any length. cams-mcp does everything a real upload does: it checks
the file, removes duplicates, records every batch in the journal, and splits batches at one megabyte.

With --memory, prints the peak resident memory of `cams-mcp upload` for 100,000 and 5,000,000 rows instead. With
--sandbox, sends the people to the HTTP sandbox, which parses each one, and checks that all of them arrived.
"""

from __future__ import annotations

import asyncio
import csv
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import anyio

from cams_mcp.confirmation import Caller

TARGET = {
    "cust_space_id": "cams-msgr0001",
    "page_id": "102938475600001",
    "ad_account_id": "238400000000001",
    "custom_audience_id": "6000019000000",
}
ROUNDS = 5
A_CALL = 10_000
ANSWER = b'{"RequestId":"1","Code":"OK","Message":"OK","Success":true}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)


async def _record(pipe: Connection) -> None:
    counted = [0, 0, 0]  # people, requests, bytes

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, asyncio.CancelledError):
                break
            _, _, rest = head.lower().partition(b"content-length:")
            body = await reader.readexactly(int(rest.partition(b"\r\n")[0] or 0))
            # Both encodings start a person with a percent-encoded brace.
            counted[0] += head.count(b"%7B") + body.count(b"%7B")
            counted[1] += 1
            counted[2] += len(head) + len(body)
            writer.write(HEAD + ANSWER)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=64 * 1024 * 1024)
    pipe.send(server.sockets[0].getsockname()[1])
    while await asyncio.to_thread(pipe.recv):
        pipe.send(tuple(counted))
        counted[:] = [0, 0, 0]
    server.close()


def serve(pipe: Connection) -> None:
    """Run the recording server, in a separate process."""
    asyncio.run(_record(pipe))


def write_csv(path: Path, people: int) -> None:
    """Write fictitious emails and phone numbers."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "email", "phone"])
        rows.writerows((number, f"customer{number:08}@example.com", f"+1202{number:07}") for number in range(people))


def ours(path: Path, port: int, state: Path) -> None:
    """Do what `cams-mcp upload --yes` does, without the progress bar."""
    from cams_mcp.app import open_uploads
    from cams_mcp.settings import Settings
    from cams_mcp.tools.arguments import parse_arguments  # not needed by the server process
    from cams_mcp.upload.folders import Folders
    from cams_mcp.upload.service import UPLOAD_AUDIENCE_FILE

    settings = Settings(
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id="sandbox-id",
        access_key_secret="sandbox-secret",  # noqa: S106 - not a real secret
        state_dir=state,
        confirm="off",
        hold_hours=0,
    )

    async def upload() -> None:
        async with open_uploads(settings, Folders.of([path.parent]).open) as uploads:
            request = parse_arguments(UPLOAD_AUDIENCE_FILE, TARGET | {"path": path.name})
            result = (await uploads.upload(request, Caller())).result()
            assert result["state"] == "done", result

    anyio.run(upload)


def theirs(path: Path, port: int) -> None:
    """Send the same people through the official SDK."""
    from alibabacloud_cams20200606 import models
    from alibabacloud_cams20200606.client import Client
    from alibabacloud_tea_openapi.utils_models import Config

    config = Config(access_key_id="sandbox-id", access_key_secret="sandbox-secret", protocol="http")  # noqa: S106
    config.endpoint = f"127.0.0.1:{port}"
    client = Client(config)
    users: list[models.AddCustomAudienceUserRequestUsers] = []

    def send(*, last: bool) -> None:
        client.add_custom_audience_user(
            models.AddCustomAudienceUserRequest(**TARGET, users=users, batch_last_flag=last)
        )
        users.clear()

    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for _, email, phone in rows:
            if len(users) == A_CALL:
                send(last=False)
            users.append(models.AddCustomAudienceUserRequestUsers(email=email, phone=phone.removeprefix("+")))
        send(last=True)


def compare(people: int, directory: Path, port: int, pipe: Connection) -> None:
    """Print a table of upload rates."""
    path = directory / "people.csv"
    write_csv(path, people)
    rates: dict[str, list[float]] = {"cams-mcp upload": [], "official SDK": []}
    sizes: dict[str, tuple[int, int]] = {}
    for turn in range(ROUNDS):
        for name, taken in rates.items():
            began = time.perf_counter()
            if name == "official SDK":
                theirs(path, port)
            else:
                ours(path, port, directory / f"state{turn}")
            taken.append(people / (time.perf_counter() - began))
            pipe.send("count")
            arrived, requests, size = pipe.recv()
            assert arrived == people, f"{name}: {arrived:,} of {people:,} people arrived"
            sizes[name] = requests, size
    ratio = statistics.median(mine / his for mine, his in zip(*rates.values(), strict=True))
    print(f"| {people:,} people, CSV to wire | people per second | calls | bytes | ratio |")
    print("|---|---|---|---|---|")
    for name, taken in rates.items():
        requests, size = sizes[name]
        shown = f"{ratio:.1f}" if name != "official SDK" else "1"
        print(f"| {name} | {statistics.median(taken):,.0f} | {requests:,} | {size:,} | {shown} |")


def memory(directory: Path, port: int) -> None:
    """Print a table of peak memory usage."""
    print("| rows | peak resident memory | seconds |")
    print("|---|---|---|")
    for rows in (100_000, 5_000_000):
        path = directory / f"{rows}.csv"
        write_csv(path, rows)
        names = ("--space", "--page", "--ad-account", "--audience")
        ids = [part for pair in zip(names, TARGET.values(), strict=True) for part in pair]
        began = time.perf_counter()
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "cams_mcp", "upload", str(path), "--yes", *ids),
                *("--endpoint", f"http://127.0.0.1:{port}", "--access-key-id", "sandbox-id"),
                *("--access-key-secret", "sandbox-secret", "--state-dir", str(directory / "state")),
            ],
            stdout=subprocess.DEVNULL,
        ) as upload:
            _, status, usage = os.wait4(upload.pid, 0)
            upload.returncode = os.waitstatus_to_exitcode(status)
        assert upload.returncode == 0
        seconds = time.perf_counter() - began
        print(f"| {rows:,} | {usage.ru_maxrss / 1024:.0f} MB | {seconds:.1f} |", flush=True)


def through_sandbox(people: int, directory: Path) -> None:
    """Upload to the sandbox and print the duration."""
    write_csv(directory / "people.csv", people)
    command = [sys.executable, "-m", "cams_mcp", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as sandbox:
        try:
            assert sandbox.stderr is not None
            ready = next(line for line in sandbox.stderr if "http://" in line)
            port = int(ready.strip().rpartition(":")[2])
            before = anyio.run(tokens, port)
            began = time.perf_counter()
            ours(directory / "people.csv", port, directory / "state")
            seconds = time.perf_counter() - began
            arrived = anyio.run(tokens, port) - before
            assert arrived == people, f"{arrived:,} of {people:,} people arrived"
        finally:
            sandbox.terminate()
    print(f"{arrived:,} people sent through the HTTP sandbox in {seconds:.1f} s; all of them arrived.")


async def tokens(port: int) -> int:
    """Return the number of people in the audience."""
    from cams_mcp.app import open_toolbox
    from cams_mcp.settings import Settings

    keys = {"access_key_id": "sandbox-id", "access_key_secret": "sandbox-secret"}
    async with open_toolbox(Settings(endpoint=f"http://127.0.0.1:{port}", **keys)) as toolbox:
        wanted = {name: TARGET[name] for name in ("cust_space_id", "page_id", "custom_audience_id")}
        outcome = await toolbox.call("list_custom_audience", wanted, Caller())
        return outcome.content["data"][0]["token_total"]


def main(arguments: list[str]) -> None:
    """Start the recording server, run the benchmark, and stop the server."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    server = context.Process(target=serve, args=(other,), daemon=True)
    server.start()
    port = pipe.recv()
    numbers = [int(argument) for argument in arguments if argument.isdecimal()]
    with tempfile.TemporaryDirectory() as directory:
        if "--memory" in arguments:
            memory(Path(directory), port)
        elif "--sandbox" in arguments:
            through_sandbox(numbers[0] if numbers else 1_000_000, Path(directory))
        else:
            compare(numbers[0] if numbers else 300_000, Path(directory), port, pipe)
    pipe.send("")
    server.join()


if __name__ == "__main__":
    main(sys.argv[1:])
