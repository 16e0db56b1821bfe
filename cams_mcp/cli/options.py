"""The options that several commands share, and the settings they make up.

Every option is also an environment variable: `--users-in` is CAMS_MCP_USERS_IN. The flag goes first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from cams_mcp.errors import CamsMcpError
from cams_mcp.logs import set_up_logging
from cams_mcp.settings import Settings

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(name: str, *more: str, **keywords: Any) -> Decorator:
    """An option with its environment variable. `name` may be of the form `--yes/--no-yes`."""
    variable = name.split("/", maxsplit=1)[0].removeprefix("--").replace("-", "_").upper()
    common: dict[str, Any] = {"envvar": f"CAMS_MCP_{variable}", "show_envvar": True, "show_default": True}
    return click.option(name, *more, **(common | keywords))


CONNECTION: tuple[Decorator, ...] = (
    option("--region", default="ap-southeast-1", help="Region of CAMS; its endpoint is cams.REGION.aliyuncs.com."),
    option("--endpoint", help="Host or URL to use instead of the region's endpoint; plain http for loopback only."),
    option("--access-key-id", help="Access key id; without it the official credential chain is asked."),
    option("--access-key-secret", help="Its secret. Prefer the environment variable: arguments are visible to others."),
    option("--security-token", help="Its token, if the access key is temporary."),
    option(
        "--users-in",
        type=click.Choice(["body", "query"]),
        default="body",
        help="Where people's addresses travel; query is for gateways that refuse a body.",
    ),
    option(
        "--timeout",
        type=click.FloatRange(min=0.1, max=600),
        default=30.0,
        help="Seconds that one attempt at a call to CAMS may take, from the access key to the last byte of the answer.",
    ),
    option("--retries", type=click.IntRange(0, 10), default=2, help="Further attempts where that is safe."),
    option(
        "--cams-at-once",
        type=click.IntRange(1, 1000),
        default=16,
        help="Most requests to CAMS under way at a time, of all callers together.",
    ),
    option(
        "--cams-per-second",
        type=click.FloatRange(min=0, max=10_000, min_open=True),
        help="Most requests to CAMS a second, of all callers together; keep it below the quota of the account.",
    ),
    option(
        "--sandbox/--no-sandbox",
        default=False,
        help="Use the embedded sandbox instead of CAMS: no account, no network.",
    ),
    option(
        "--fault", "faults", multiple=True, metavar="NAME[:RATE[:VALUE]]", help="Make the sandbox fail; repeatable."
    ),
)

READ_ONLY = option("--read-only/--no-read-only", default=False, help="Leave out the tools that write.")

STATE_DIR = option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where approvals, the ledger of writes and the audit trail live; default is the platform's state directory.",
)

STORE = option(
    "--store",
    "store_url",
    metavar="URL",
    default="sqlite",
    help="Where they live instead, for several hosts: redis://HOST:PORT/NUMBER, or rediss:// for TLS; sqlite is the "
    "file in the state directory. Prefer the environment variable for a URL with a password.",
)

GUARD: tuple[Decorator, ...] = (
    option(
        "--confirm",
        type=click.Choice(["auto", "token", "off"]),
        default="auto",
        help="How writes are confirmed: auto asks through the client or else takes two steps; token always takes two "
        "steps; off sends without confirmation.",
    ),
    option("--ask-timeout", type=click.FloatRange(min=1, max=3600), default=120.0, help="Seconds a question may wait."),
    option(
        "--hold-hours",
        type=click.FloatRange(min=0, max=8760),
        default=24.0,
        help="For so long the same list to the same audience counts as a repetition; 0 never.",
    ),
    option("--max-users-per-call", type=click.IntRange(min=1), help="Refuse calls with more users."),
    option("--max-users-per-day", type=click.IntRange(min=1), help="Refuse more users to one audience in 24 hours."),
    option("--allow-audience", multiple=True, metavar="ID", help="Write to these audiences only; repeatable."),
    STATE_DIR,
    STORE,
    READ_ONLY,
)

UPLOAD: tuple[Decorator, ...] = (
    option(
        "--upload-dir",
        "upload_dirs",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        multiple=True,
        help="Add tools that check and upload files of this folder; repeatable. Not with --read-only.",
    ),
    option(
        "--batch-bytes",
        type=click.IntRange(min=1000, max=100_000_000),
        default=1_000_000,
        help="Most bytes of people in one call of an upload.",
    ),
)
UPLOAD_DIR = UPLOAD[0]

RESULT_TOKENS = option(
    "--result-tokens",
    type=click.IntRange(min=1000),
    default=20_000,
    help="Cut longer lists at a row, and say how to get the rest; in tokens of an assistant's context, about.",
)

HTTP: tuple[Decorator, ...] = (
    option(
        "--host", default="127.0.0.1", help="Address to listen on, for http; others than loopback need authentication."
    ),
    option(
        "--port", type=click.IntRange(0, 65535), default=8000, help="Port to listen on, for http; 0 takes a free one."
    ),
    option("--public-url", help="URL that clients connect to, for http behind a proxy: https://mcp.example.com/mcp."),
    option(
        "--auth-token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Static bearer tokens, for http; one a line: NAME TOKEN SCOPE [SCOPE], of cams:read and cams:write.",
    ),
    option("--auth-issuer", help="OAuth authorization server whose access tokens (JWT) are taken, for http."),
    option("--auth-audience", help="What the audience of these tokens must be."),
    option("--auth-jwks-url", help="Where the public keys for these tokens are."),
    option(
        "--allowed-host",
        "allowed_hosts",
        multiple=True,
        metavar="HOST[:PORT]",
        help="Answer requests to this host, for http, besides loopback, --host and --public-url; repeatable.",
    ),
    option(
        "--allowed-origin",
        "allowed_origins",
        multiple=True,
        metavar="ORIGIN",
        help="Let pages of this origin call, for http, like https://app.example.com; repeatable.",
    ),
    option(
        "--max-body",
        type=click.IntRange(min=1024, max=1024**3),
        default=4 * 1024 * 1024,
        help="Most bytes of a request, for http.",
    ),
    option("--max-sessions", type=click.IntRange(1, 1_000_000), default=10_000, help="Most open sessions, for http."),
    option(
        "--session-idle",
        type=click.FloatRange(min=1, max=86_400),
        default=1800.0,
        help="Seconds after which an idle session is closed, for http.",
    ),
    option(
        "--workers",
        type=click.IntRange(1, 64),
        default=1,
        help="Processes that share the port, for http; their record must be one that they can share.",
    ),
    option(
        "--legacy-sessions",
        type=click.Choice(["auto", "on", "off"]),
        default="auto",
        help="Whether clients up to 2025-11-25 get sessions, which live in one process, for http; auto is on with one "
        "worker and the sqlite store. Without a session, writes take two steps.",
    ),
    option(
        "--grace",
        type=click.FloatRange(min=0, max=3600),
        default=20.0,
        help="Seconds that running calls have to end once the server is told to stop, for http.",
    ),
    option(
        "--calls-at-once",
        type=click.IntRange(1, 10_000),
        default=16,
        help="Most calls of one authenticated caller under way at a time, for http.",
    ),
    option(
        "--calls-per-minute",
        type=click.IntRange(1, 1_000_000),
        default=300,
        help="Most calls of one authenticated caller in a minute, for http.",
    ),
)

LOG_FORMAT = option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", help="Form of what goes to standard error."
)

LOGGING: tuple[Decorator, ...] = (
    option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="warning",
        help="What goes to standard error.",
    ),
)


class Failure(click.ClickException):
    """An error of ours, shown without a traceback."""


def with_options(*options: Decorator) -> Decorator:
    """Add options to a command, in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda function, add: add(function), reversed(options), command)

    return decorate


def with_settings(*more: Decorator) -> Decorator:
    """Add the connection, guard and logging options, and hand them to the command as `settings`."""
    names = {field.name for field in fields(Settings)}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(**given: Any) -> Any:
            set_up_logging(given.pop("log_level"), given.get("log_format", "text"))
            chosen = {name: given.pop(name) for name in names & given.keys()}
            with errors_shown():
                return command(settings=Settings(**chosen), **given)

        return with_options(*CONNECTION, *GUARD, *UPLOAD, RESULT_TOKENS, *more, *LOGGING)(run)

    return decorate


class errors_shown:  # noqa: N801 - used as a function
    """A context manager that shows our own errors as one message and status 1."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, CamsMcpError):
            raise Failure(str(error)) from None
