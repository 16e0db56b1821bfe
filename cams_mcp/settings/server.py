"""The options of a server, whatever its transport, and those of the program that runs it."""

# No `from __future__ import annotations` here: options are made from the real types of the fields.

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cams_mcp.confirmation import ConfirmMode
from cams_mcp.errors import ConfigurationError
from cams_mcp.logs import LogFormat
from cams_mcp.settings.options import connection, guard, http, logging, options_of, state, tools


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one server. `cams_mcp.app` builds the server from them.

    Raises:
        ConfigurationError: values contradict each other, or a text cannot be sent. `cams_mcp.app.check` checks the
            form of each value.
    """

    region: str = connection("ap-southeast-1", "CAMS region. The endpoint is cams.REGION.aliyuncs.com.")
    endpoint: str | None = connection(
        None, "Host or URL to use instead of the region's endpoint. Plain http works for loopback only."
    )
    access_key_id: str | None = connection(
        None,
        "Access key ID. If not set, credentials come from Alibaba Cloud's default credential chain.",
        secret=True,
    )
    access_key_secret: str | None = connection(
        None,
        "Access key secret.",
        secret=True,
    )
    security_token: str | None = connection(None, "Security token of a temporary access key.", secret=True)
    users_in: Literal["body", "query"] = connection(
        "body", "Where requests carry people's data. Use query for gateways that reject a request body."
    )
    timeout: float = connection(
        30,
        "Timeout of one attempt, in seconds, from fetching the access key to the last byte of the response.",
        least=0.1,
        most=600,
    )
    retries: int = connection(2, "How many times to retry a failed request where that is safe.", least=0, most=10)
    cams_at_once: int = connection(16, "Maximum concurrent requests to CAMS, across all callers.", least=1, most=1000)
    cams_per_second: float | None = connection(
        None,
        "Maximum requests to CAMS per second, across all callers. Keep it below your account's quota.",
        more_than=0,
        most=10_000,
    )
    sandbox: bool = connection(False, "Use the embedded sandbox instead of CAMS. No account or network needed.")
    faults: tuple[str, ...] = connection(
        (), "Make the sandbox fail. `cams-mcp sandbox --help` lists the faults.", metavar="NAME[:RATE[:VALUE]]"
    )

    confirm: ConfirmMode = guard(
        "auto",
        "Where a person approves writes. auto: the first that is available of the client's own question, a page in the "
        "browser, a card in the chat, and two steps through the assistant. person: the same without the two steps; if "
        "nothing else is available, the write waits for `cams-mcp approve`. page, card: only that one, and `cams-mcp "
        "approve`. token: always two steps. off: send without approval.",
    )
    ask_timeout: float = guard(
        120,
        "How long a question shown by the client waits for its answer, in seconds. Other questions always wait ten "
        "minutes.",
        least=1,
        most=3600,
    )
    approval_wait: float = guard(
        45,
        "How long a call waits for a decision on the approval page before it returns, in seconds. The question stays "
        "open. Keep it below the client's timeout of a call.",
        least=0,
        most=600,
    )
    language: Literal["auto", "en", "zh"] = guard(
        "auto",
        "Language of questions: English, or Simplified Chinese. auto: the browser's or the chat's language, otherwise "
        "the system's.",
    )
    cards: bool = guard(True, "Show cards in chats that support MCP Apps.")
    hold_hours: float = guard(
        24,
        "How long to treat an identical list for the same audience as a duplicate, in hours. 0 disables the check.",
        least=0,
        most=8760,
    )
    max_users_per_call: int | None = guard(None, "Reject writes of more people than this in one call.", least=1)
    max_users_per_day: int | None = guard(
        None, "Reject writes that bring one audience above this many people in 24 hours.", least=1
    )
    allow_audience: tuple[str, ...] = guard((), "Allow writes only to this audience, given by id.", metavar="ID")
    read_only: bool = guard(False, "Leave out the tools that write, and reject every write.")

    state_dir: Path | None = state(
        None,
        "Directory for approvals, the write ledger, the audit trail and uploads. The default is the platform's state "
        "directory.",
        path="folder",
    )
    store: str = state(
        "sqlite",
        "sqlite, a file in the state directory, or a Redis that several hosts share: redis://HOST:PORT/NUMBER, or "
        "rediss:// for TLS.",
        metavar="URL",
        secret=True,
    )

    upload_dirs: tuple[Path, ...] = tools(
        (),
        "Add tools that check and upload the files in this folder. Has no effect with --read-only.",
        path="existing folder",
    )
    batch_bytes: int = tools(
        1_000_000, "Maximum size of the people in one request of an upload, in bytes.", least=1000, most=100_000_000
    )

    result_tokens: int = tools(
        20_000,
        "Approximate size limit of a list, in tokens. A longer list is cut at a row, and the result says how to get "
        "the rest.",
        least=1000,
    )

    def __post_init__(self) -> None:
        for option in options_of(Settings).values():
            value = getattr(self, option.name)
            if isinstance(value, str) and not value.isprintable():
                # An environment variable can hold any bytes.
                raise ConfigurationError(
                    f"{option.flag} ({option.variable}) contains a control character or invalid UTF-8.",
                    hint="Remove it from the option or the environment variable.",
                )
        if bool(self.access_key_id) != bool(self.access_key_secret):
            raise ConfigurationError(
                "An access key needs both its id and its secret.",
                hint="Set --access-key-id and --access-key-secret, or the environment variables of these names.",
            )
        if self.faults and not self.sandbox:
            raise ConfigurationError("--fault requires --sandbox.", hint="Add --sandbox, or remove --fault.")
        if self.store != Settings.store and self.state_dir is not None:
            raise ConfigurationError("--store and --state-dir exclude each other.", hint="Set only one of them.")


@dataclass(frozen=True, kw_only=True)
class Program:
    """How the program itself runs."""

    transport: Literal["stdio", "http"] = http("stdio", "How clients connect. The options below are for http.")
    log_level: Literal["debug", "info", "warning", "error"] = logging(
        "warning", "Lowest level of the log on standard error."
    )
    log_format: LogFormat = logging("text", "Format of the log on standard error.")
