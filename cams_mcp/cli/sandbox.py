"""`cams-mcp sandbox`."""

from __future__ import annotations

import socket

import anyio
import click

from cams_mcp.cli.options import errors_shown, option, with_options
from cams_mcp.hosts import authority, require_loopback
from cams_mcp.http import bind, serve_http
from cams_mcp.logs import set_up_logging
from cams_mcp.sandbox import FAULTS, SANDBOX_KEY, Fault, Faults, Sandbox, sandbox_app
from cams_mcp.sandbox.account import AD_ACCOUNT, MESSENGER_PAGE, MESSENGER_SPACE, WHATSAPP_NUMBER, WHATSAPP_SPACE
from cams_mcp.settings import Program

LONGEST_REQUEST_LINE = 16 * 1024 * 1024
"""The official SDK puts 10,000 users in the address: a megabyte."""

FAULT_HELP = "\n\n".join(f"{name}: {does}" for name, (_, does) in FAULTS.items())


@click.command(
    "sandbox",
    help="Serve a local CAMS endpoint on loopback. It verifies signatures, keeps its state in memory, and "
    "fails on request."
    f"\n\nFaults:\n\n{FAULT_HELP}",
)
@with_options(
    option("host", help="Loopback address to listen on."),
    option("port", default=8020),
    option("faults", help="Fail at this rate, from 0 to 1."),
    "log_level",
)
def command(host: str, port: int, faults: tuple[str, ...], log_level: str) -> None:
    set_up_logging(log_level, Program.log_format)
    with errors_shown():
        require_loopback(host, "The sandbox")
        sandbox = Sandbox(Faults(map(Fault.parse, faults)), keep_calls=0)
        listener = bind(host, port)
        ready = (
            f"CAMS sandbox on http://{authority(host)}:{listener.getsockname()[1]}\n"
            f"  access key id {SANDBOX_KEY.id}, secret {SANDBOX_KEY.secret}\n"
            f"  Messenger: cust_space_id {MESSENGER_SPACE}, page_id {MESSENGER_PAGE}, ad_account_id {AD_ACCOUNT}\n"
            f"  WhatsApp: cust_space_id {WHATSAPP_SPACE}, business_number {WHATSAPP_NUMBER}"
        )
        anyio.run(_serve, sandbox, listener, ready)


async def _serve(sandbox: Sandbox, listener: socket.socket, ready: str) -> None:
    # The sandbox sends its own Date, which may be wrong on request.
    await serve_http(
        sandbox_app(sandbox),
        listener,
        ready=ready,
        log_format=Program.log_format,
        h11_max_incomplete_event_size=LONGEST_REQUEST_LINE,
        date_header=False,
    )
