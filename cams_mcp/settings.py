"""What an operator can set, and the collaborators that follow from it. Importing this costs little."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio

from cams_mcp.api.endpoint import DEFAULT_REGION, Endpoint
from cams_mcp.errors import ConfigurationError

if TYPE_CHECKING:
    from cams_mcp.api.client import CamsClient
    from cams_mcp.api.credentials import CredentialSource
    from cams_mcp.confirmation import Answered, Caller, ConfirmMode, Question
    from cams_mcp.guard.guard import Guard
    from cams_mcp.guard.policy import Policy
    from cams_mcp.sandbox import Faults
    from cams_mcp.store import BaseStore
    from cams_mcp.tools.result import ToolResult
    from cams_mcp.tools.toolbox import Toolbox
    from cams_mcp.upload.service import OpenFile, Uploads


LONGEST_QUERY_BATCH = 6_000
"""Bytes of people in a request's address: what a proxy with default limits (8 KiB) lets pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server. Defaults are those of the command line.

    Raises:
        ConfigurationError: a value cannot work, or values contradict each other.
    """

    region: str = DEFAULT_REGION
    endpoint: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    access_key_secret: str | None = field(default=None, repr=False)
    security_token: str | None = field(default=None, repr=False)
    users_in: Literal["body", "query"] = "body"
    timeout: float = 30.0
    retries: int = 2
    cams_at_once: int = 16
    cams_per_second: float | None = None
    sandbox: bool = False
    faults: tuple[str, ...] = ()
    confirm: ConfirmMode = "auto"
    ask_timeout: float = 120.0
    hold_hours: float = 24.0
    max_users_per_call: int | None = None
    max_users_per_day: int | None = None
    allow_audience: tuple[str, ...] = ()
    state_dir: Path | None = None
    store_url: str = field(default="sqlite", repr=False)
    upload_dirs: tuple[Path, ...] = ()
    batch_bytes: int = 1_000_000
    read_only: bool = False
    result_tokens: int = 20_000

    def __post_init__(self) -> None:
        self._check_texts()
        self._check_audiences()
        self.address  # noqa: B018 - checks
        if bool(self.access_key_id) != bool(self.access_key_secret):
            raise ConfigurationError(
                "An access key needs both its id and its secret.",
                hint="Set --access-key-id and --access-key-secret, or the environment variables of these names.",
            )
        if self.faults and not self.sandbox:
            raise ConfigurationError("--fault works on the sandbox only.", hint="Add --sandbox, or leave --fault out.")
        if self.faults:
            self._faults()
        if self.store_url != "sqlite":
            self._check_store_url()

    def _check_texts(self) -> None:
        """Refuse what cannot be sent; an environment variable can hold any bytes."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str) and not value.isprintable():
                name = each.name.removesuffix("_url")
                raise ConfigurationError(
                    f"--{name.replace('_', '-')} (CAMS_MCP_{name.upper()}) has a control character or invalid UTF-8.",
                    hint="Remove it from the option or the environment variable.",
                )

    def _check_audiences(self) -> None:
        if not self.allow_audience:
            return
        from cams_mcp.fields import is_id, trim_id  # noqa: PLC0415 - pydantic is not always wanted

        audiences = tuple(map(trim_id, self.allow_audience))
        if not all(map(is_id, audiences)):
            raise ConfigurationError(
                "--allow-audience has a value that is no id.",
                hint="Give ids as list_custom_audience shows them, one for each --allow-audience.",
            )
        object.__setattr__(self, "allow_audience", audiences)

    @property
    def address(self) -> Endpoint:
        """Where CAMS answers."""
        return Endpoint.parse(self.endpoint) if self.endpoint else Endpoint.of_region(self.region)

    @property
    def policy(self) -> Policy:
        """What the guard lets out."""
        from cams_mcp.guard.policy import Policy  # noqa: PLC0415 - only writes need it

        return Policy(
            confirm=self.confirm,
            ask_seconds=self.ask_timeout,
            hold_seconds=self.hold_hours * 3600,
            read_only=self.read_only,
            per_call=self.max_users_per_call,
            per_day=self.max_users_per_day,
            targets=frozenset(self.allow_audience),
        )

    @property
    def in_memory(self) -> bool:
        """Whether the record dies with the process: the embedded sandbox forgets its writes, and so does its record."""
        return self.sandbox and self.state_dir is None and self.store_url == "sqlite"

    def store(self) -> BaseStore:
        """The record of approvals and writes.

        Raises:
            ConfigurationError: its library is not installed.
        """
        from cams_mcp.store import open_store  # noqa: PLC0415 - only writes need it

        return open_store(self.store_url, None if self.in_memory else self.state_dir or default_state_dir())

    def _check_store_url(self) -> None:
        from cams_mcp.store.address import check_store_url  # noqa: PLC0415 - not always wanted

        check_store_url(self.store_url)
        if self.state_dir is not None:
            raise ConfigurationError("--store and --state-dir are two places for one record: give one.")

    def credentials(self) -> CredentialSource:
        """Where the access key comes from."""
        from cams_mcp.api.credentials import AccessKey, ExplicitKey, OfficialChain  # noqa: PLC0415 - not needed to start

        if self.sandbox:
            from cams_mcp.sandbox import SANDBOX_KEY  # noqa: PLC0415

            return ExplicitKey(SANDBOX_KEY)
        if self.access_key_id and self.access_key_secret:
            return ExplicitKey(AccessKey(self.access_key_id, self.access_key_secret, self.security_token or None))
        return OfficialChain()

    def _connect(self) -> CamsClient:
        from cams_mcp.api.client import CamsClient, ClientOptions  # noqa: PLC0415 - httpx is not needed to start
        from cams_mcp.api.throttle import Throttle  # noqa: PLC0415

        options = ClientOptions(users_in=self.users_in, timeout=self.timeout, retries=self.retries)
        slot = Throttle(self.cams_at_once, self.cams_per_second).slot
        if self.sandbox:
            from cams_mcp.sandbox import Sandbox, SandboxTransport  # noqa: PLC0415

            transport = SandboxTransport(Sandbox(self._faults(), keep_calls=0))
            here = Endpoint("http", "sandbox.localhost")
            return CamsClient(here, self.credentials(), options, transport=transport, slot=slot)
        return CamsClient(self.address, self.credentials(), options, slot=slot)

    def _faults(self) -> Faults:
        from cams_mcp.sandbox.faults import Fault, Faults  # noqa: PLC0415 - the sandbox is not always wanted

        return Faults(map(Fault.parse, self.faults))

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Toolbox]:
        """The tools over a client, under these settings' guard. Imports what only calls need."""
        from cams_mcp.operations import OPERATIONS  # noqa: PLC0415
        from cams_mcp.tools.toolbox import Toolbox  # noqa: PLC0415

        async with self._collaborators() as (client, guard, store):
            uploads = None
            if self.upload_dirs:
                from cams_mcp.upload.folders import Folders  # noqa: PLC0415 - not always wanted

                uploads = self._uploads(Folders.of(self.upload_dirs).open, client, guard, store)
            yield Toolbox(OPERATIONS, client, guard, uploads, result_tokens=self.result_tokens)

    @asynccontextmanager
    async def open_uploads(self, open_file: OpenFile, **more: Any) -> AsyncGenerator[Uploads]:
        """The file tools over a client, for files that `open_file` opens; `more` goes to `Uploads`."""
        async with self._collaborators() as (client, guard, store):
            yield self._uploads(open_file, client, guard, store, **more)

    @asynccontextmanager
    async def _collaborators(self) -> AsyncGenerator[tuple[CamsClient, Guard, BaseStore]]:
        from cams_mcp.guard.guard import Guard  # noqa: PLC0415 - not needed to start

        store = self.store()
        try:
            async with self._connect() as client:
                yield client, Guard(client, store, self.policy), store
        finally:
            store.close()

    def _uploads(self, open_file: OpenFile, client: CamsClient, guard: Guard, store: BaseStore, **more: Any) -> Uploads:
        from cams_mcp.upload.runner import Limits  # noqa: PLC0415 - not always wanted
        from cams_mcp.upload.service import Uploads  # noqa: PLC0415

        most = self.batch_bytes if self.users_in == "body" else min(self.batch_bytes, LONGEST_QUERY_BATCH)
        return Uploads(open_file, client, guard, store.journal, Limits(encoded_bytes=most), **more)


def default_state_dir() -> Path:
    """The platform's place for state, e.g. ~/.local/state/cams-mcp."""
    from platformdirs import user_state_path  # noqa: PLC0415 - only writes need it

    return user_state_path("cams-mcp", appauthor=False)


class LazyToolbox:
    """Opens the real toolbox at the first call: starting and listing tools need neither network nor credentials.

    Args:
        open_toolbox: opens the real one.
    """

    def __init__(self, open_toolbox: Callable[[], AbstractAsyncContextManager[Toolbox]]) -> None:
        self._open = open_toolbox
        self._stack = AsyncExitStack()
        self._lock = anyio.Lock()
        self._toolbox: Toolbox | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, *, answered: Answered | None = None
    ) -> ToolResult | Question:
        """See `Toolbox.call`."""
        async with self._lock:
            if self._toolbox is None:
                self._toolbox = await self._stack.enter_async_context(self._open())
        return await self._toolbox.call(name, arguments, caller, answered=answered)
