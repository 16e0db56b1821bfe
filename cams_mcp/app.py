"""Builds the credentials, client, store, guard, uploads and tools from the settings.

This module is cheap to import. Each function imports what it builds, so that a server starts and lists its tools
without loading the client, the store or the guard.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio.abc import TaskGroup

from cams_mcp.confirmation import PERSONS
from cams_mcp.errors import ConfigurationError
from cams_mcp.settings import OPTIONS, Settings

if TYPE_CHECKING:
    from cams_mcp.api.client import CamsClient
    from cams_mcp.api.credentials import CredentialSource
    from cams_mcp.api.endpoint import Endpoint
    from cams_mcp.approval.desk import Desk
    from cams_mcp.approval.lazy_page import LazyPage
    from cams_mcp.facts import Language
    from cams_mcp.guard.guard import Guard
    from cams_mcp.guard.policy import Policy
    from cams_mcp.sandbox import Faults
    from cams_mcp.store import BaseStore
    from cams_mcp.tools.definitions import Catalog
    from cams_mcp.tools.toolbox import Toolbox
    from cams_mcp.upload.service import OpenFile, Uploads

END_SECONDS = 10.0
"""How long the writes that are being sent may take to end when the server shuts down."""

LONGEST_QUERY_BATCH = 6_000
"""Bytes of an encoded batch in a URL. A proxy with default limits (8 KiB) accepts it."""


def check(settings: Settings) -> None:
    """Check the form of every value at startup. Otherwise, the first call that needs the value would fail.

    Raises:
        ConfigurationError: a value has the wrong form.
    """
    endpoint_of(settings)
    faults_of(settings)
    audiences_of(settings)
    if settings.store != Settings.store:
        from cams_mcp.store.address import check_store_url

        check_store_url(settings.store)


def endpoint_of(settings: Settings) -> Endpoint:
    """The CAMS endpoint."""
    from cams_mcp.api.endpoint import Endpoint

    return Endpoint.parse(settings.endpoint) if settings.endpoint else Endpoint.of_region(settings.region)


def faults_of(settings: Settings) -> Faults | None:
    """The faults of the embedded sandbox; None if there are none."""
    if not settings.faults:
        return None
    from cams_mcp.sandbox.faults import Fault, Faults

    return Faults(map(Fault.parse, settings.faults))


def audiences_of(settings: Settings) -> frozenset[str]:
    """The audiences that may be written to, spelled as in a call. Empty means all."""
    if not settings.allow_audience:
        return frozenset()
    from cams_mcp.fields import is_id, trim_id

    audiences = frozenset(map(trim_id, settings.allow_audience))
    if not all(map(is_id, audiences)):
        option = OPTIONS["allow_audience"]
        raise ConfigurationError(
            f"{option.flag} ({option.variable}) is not an audience ID.",
            hint=f"Use IDs as list_custom_audience returns them, one per {option.flag}.",
        )
    return audiences


def policy_of(settings: Settings) -> Policy:
    """The guard's rules."""
    from cams_mcp.guard.policy import Policy

    return Policy(
        confirm=settings.confirm,
        ask_seconds=settings.ask_timeout,
        wait_seconds=settings.approval_wait,
        language=language_of(settings),
        cards=settings.cards,
        hold_seconds=settings.hold_hours * 3600,
        read_only=settings.read_only,
        per_call=settings.max_users_per_call,
        per_day=settings.max_users_per_day,
        targets=audiences_of(settings),
    )


def language_of(settings: Settings) -> Language:
    """The language of questions where no browser or chat tells the person's."""
    from cams_mcp.languages import system_language

    return system_language() if settings.language == "auto" else settings.language


def catalog_of(settings: Settings) -> Catalog:
    """The tools that clients see."""
    from cams_mcp.tools.definitions import load_catalog

    return load_catalog(
        read_only=settings.read_only,
        uploads=bool(settings.upload_dirs),
        tokens=settings.confirm not in PERSONS,
        cards=settings.cards and settings.confirm in ("auto", "person", "card"),
    )


def in_memory(settings: Settings) -> bool:
    """Whether the store ends with the process. The embedded sandbox forgets its writes, so its store does too."""
    return settings.sandbox and settings.state_dir is None and settings.store == Settings.store


def state_dir_of(settings: Settings) -> Path:
    """The state directory: by default the platform's, e.g. ~/.local/state/cams-mcp."""
    if settings.state_dir is not None:
        return settings.state_dir
    from platformdirs import user_state_path

    return user_state_path("cams-mcp", appauthor=False)


def store_of(settings: Settings) -> BaseStore:
    """The store of approvals, ledger, audit trail and uploads. It opens on first use.

    Raises:
        ConfigurationError: the store's library is not installed.
    """
    from cams_mcp.store import open_store

    return open_store(settings.store, None if in_memory(settings) else state_dir_of(settings))


def credentials_of(settings: Settings) -> CredentialSource:
    """The source of the access key."""
    from cams_mcp.api.credentials import AccessKey, ExplicitKey, OfficialChain

    if settings.sandbox:
        from cams_mcp.sandbox import SANDBOX_KEY

        return ExplicitKey(SANDBOX_KEY)
    if settings.access_key_id and settings.access_key_secret:
        token = settings.security_token or None
        return ExplicitKey(AccessKey(settings.access_key_id, settings.access_key_secret, token))
    return OfficialChain()


def client_of(settings: Settings) -> CamsClient:
    """A client for CAMS or for the embedded sandbox that applies the request limits."""
    from cams_mcp.api.client import CamsClient, ClientOptions
    from cams_mcp.api.throttle import Throttle

    options = ClientOptions(users_in=settings.users_in, timeout=settings.timeout, retries=settings.retries)
    slot = Throttle(settings.cams_at_once, settings.cams_per_second).slot
    credentials = credentials_of(settings)
    if settings.sandbox:
        from cams_mcp.api.endpoint import Endpoint
        from cams_mcp.sandbox import Sandbox, SandboxTransport

        transport = SandboxTransport(Sandbox(faults_of(settings), keep_calls=0))
        here = Endpoint("http", "sandbox.localhost")
        return CamsClient(here, credentials, options, transport=transport, slot=slot)
    return CamsClient(endpoint_of(settings), credentials, options, slot=slot)


@asynccontextmanager
async def open_toolbox(
    settings: Settings, group: TaskGroup | None = None, *, local: bool = True
) -> AsyncGenerator[Toolbox]:
    """The tools and everything they depend on.

    Args:
        group: runs tasks that outlive a call: waiting writes and the approval page.
        local: whether the person who uses the tools may sit at this machine.
    """
    from cams_mcp.approval.desk import Desk
    from cams_mcp.operations import OPERATIONS
    from cams_mcp.tools.cards import Cards
    from cams_mcp.tools.toolbox import Toolbox

    fixed = None if settings.language == "auto" else settings.language
    command = _approve_command(settings, local=local)
    async with _collaborators(settings, group, command, local=local) as (client, guard, store):
        uploads = None
        if settings.upload_dirs:
            from cams_mcp.upload.folders import Folders

            uploads = _uploads(settings, Folders.of(settings.upload_dirs).open, client, guard, store)
        yield Toolbox(
            OPERATIONS,
            client,
            guard,
            uploads,
            result_tokens=settings.result_tokens,
            tokens=settings.confirm not in PERSONS,
            cards=None if settings.read_only else Cards(Desk(store, guard.watch.poke), store, command, fixed),
        )


@asynccontextmanager
async def open_uploads(settings: Settings, open_file: OpenFile, **more: Any) -> AsyncGenerator[Uploads]:
    """The file tools, for files that `open_file` opens. Passes `more` to `Uploads`."""
    async with _collaborators(settings, None, _approve_command(settings, local=True)) as (client, guard, store):
        yield _uploads(settings, open_file, client, guard, store, **more)


@asynccontextmanager
async def _collaborators(
    settings: Settings, group: TaskGroup | None, command: str, *, local: bool = True
) -> AsyncGenerator[tuple[CamsClient, Guard, BaseStore]]:
    from cams_mcp.approval.desk import Desk
    from cams_mcp.guard.guard import Guard
    from cams_mcp.guard.waiting import Watch

    store = store_of(settings)
    try:
        async with client_of(settings) as client:
            watch = Watch(store)
            page = _page_of(settings, Desk(store, watch.poke), group, command) if local and group is not None else None
            guard = Guard(
                client,
                store,
                policy_of(settings),
                watch=watch,
                page=page,
                command=command,
                group=group,
            )
            try:
                yield client, guard, store
            finally:
                await guard.held.finish_sending(END_SECONDS)
    finally:
        store.close()


def _approve_command(settings: Settings, *, local: bool) -> str:
    """How to decide what waits in the store on a terminal; empty if no other process can see the store."""
    from cams_mcp.approval.command import approve_command

    if in_memory(settings):
        return ""
    return approve_command(settings.state_dir, is_shared=settings.store != Settings.store, local=local)


def _page_of(settings: Settings, desk: Desk, group: TaskGroup, command: str) -> LazyPage | None:
    """The approval page; None if the settings or this machine leave no use for it."""
    from cams_mcp.approval.browser import why_not

    if settings.read_only or settings.confirm not in ("auto", "person", "page"):
        return None
    # Who chooses the page expects the server to try.
    if settings.confirm != "page" and why_not() is not None:
        return None
    from cams_mcp.approval.lazy_page import LazyPage

    return LazyPage(desk, settings.language, group, command)


def _uploads(
    settings: Settings, open_file: OpenFile, client: CamsClient, guard: Guard, store: BaseStore, **more: Any
) -> Uploads:
    from cams_mcp.upload.runner import Limits
    from cams_mcp.upload.service import Uploads

    in_body = settings.users_in == "body"
    limits = Limits(encoded_bytes=settings.batch_bytes if in_body else min(settings.batch_bytes, LONGEST_QUERY_BATCH))
    return Uploads(open_file, client, guard, store.journal, limits, **more)
