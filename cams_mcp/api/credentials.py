"""Find the access key: explicit settings first, then Alibaba Cloud's default credential chain.

The chain (`alibabacloud_credentials`) reads the environment, OIDC, `~/.aliyun/config.json`,
`~/.alibabacloud/credentials.ini`, the ECS instance role and the credentials URI. It blocks, and importing it takes a
quarter of a second, so this module imports it on first use and runs one lookup at a time in a worker thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from cams_mcp.errors import CamsMcpError, ConfigurationError, MissingCredentials

TRIED = (
    "the options --access-key-id and --access-key-secret, the environment (ALIBABA_CLOUD_ACCESS_KEY_ID), OIDC, "
    "~/.aliyun/config.json, ~/.alibabacloud/credentials.ini, the ECS instance role, ALIBABA_CLOUD_CREDENTIALS_URI"
)

HOW_TO_SET = (
    "Set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET in the environment of cams-mcp (under "
    '"env" in the MCP client\'s configuration), or run `aliyun configure`. To try cams-mcp without an account, use '
    "--sandbox."
)


_STATIC = frozenset({"env", "static_sts"})
"""Origins of temporary keys that never rotate on their own."""

_ROLE_SETTINGS = (
    "ALIBABA_CLOUD_PROFILE",
    "ALIBABA_CLOUD_ROLE_ARN",
    "ALIBABA_CLOUD_ECS_METADATA",
    "ALIBABA_CLOUD_ROLE_SESSION_NAME",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "ALIBABA_CLOUD_CREDENTIALS_URI",
)

_PROFILE_FIELDS = (
    *("name", "mode", "ram_role_arn", "ram_role_name", "source_profile", "process_command", "oauth_site_type"),
    *("cloud_sso_sign_in_url", "cloud_sso_account_id", "cloud_sso_access_config", "oidc_provider_arn"),
)
"""The fields of a profile in ~/.aliyun/config.json that select the account and the role."""

_VISIBLE_ASCII = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key, with its security token if it is temporary. `repr` omits the secrets.

    Attributes:
        origin: the provider in the credential chain that returned the key, e.g. cli_profile/static_ak.
        rotation: for a key that the chain rotates, what its successor will have in common with it: the origin and the
            settings that select the role. None for other keys.

    Raises:
        ConfigurationError: a part is empty or contains an invalid character, such as a line break from a file.
    """

    id: str
    secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    origin: str | None = field(default=None, repr=False, compare=False)
    rotation: str | None = field(default=None, repr=False, compare=False)

    @property
    def identity(self) -> str:
        """What approvals are bound to: the key id, or `rotation` for a key that the chain rotates."""
        return self.rotation or self.id

    def __post_init__(self) -> None:
        for name, value in (("id", self.id), ("secret", self.secret), ("security token", self.security_token)):
            if value is not None and not _VISIBLE_ASCII.fullmatch(value):
                raise ConfigurationError(
                    f"The {name} of the access key is empty or contains invalid characters.",
                    hint="Copy it again, without spaces or line breaks.",
                )


class CredentialSource(Protocol):
    """Any async callable that returns an access key."""

    async def __call__(self) -> AccessKey: ...


class ExplicitKey:
    """The access key from the settings."""

    def __init__(self, key: AccessKey) -> None:
        self._key = key

    async def __call__(self) -> AccessKey:
        return self._key


class OfficialChain:
    """Alibaba Cloud's default credential chain, which refreshes temporary keys itself.

    A lookup cannot be cancelled. If its caller gives up, a slow lookup continues in its thread and the next caller
    waits for the same one. Hanging lookups therefore neither block a call nor pile up.

    Raises:
        MissingCredentials: on call, if no provider returns a key. The message lists the providers tried.
        ConfigurationError: on call, if the key is not valid.
    """

    def __init__(self) -> None:
        self._provider: Any = None
        self._pending: Future[AccessKey | CamsMcpError] | None = None

    async def __call__(self) -> AccessKey:
        pending = self._pending
        if pending is None or pending.done():
            pending = Future[AccessKey | CamsMcpError]()
            pending.set_running_or_notify_cancel()  # prevents a caller that gives up from cancelling it
            # A daemon thread, so that a hanging lookup cannot keep the process alive.
            Thread(target=self._settle, args=(pending,), name="credentials", daemon=True).start()
            self._pending = pending
        found = await asyncio.wrap_future(pending)
        if isinstance(found, CamsMcpError):
            raise found
        return found

    def _settle(self, pending: Future[AccessKey | CamsMcpError]) -> None:
        try:
            pending.set_result(self._find())
        except CamsMcpError as error:
            # Passed on as a result, because the caller may be gone and nothing would catch the exception.
            pending.set_result(error)

    def _find(self) -> AccessKey:
        # The chain logs a traceback for every provider without a key, and resets its logger's level and handlers on
        # import; only `disabled` survives that. MissingCredentials reports what matters.
        logging.getLogger("credentials").disabled = True
        try:
            if self._provider is None:
                # Imported late because it is slow.
                from alibabacloud_credentials.provider import (  # pyright: ignore[reportMissingTypeStubs]
                    DefaultCredentialsProvider,
                )

                self._provider = DefaultCredentialsProvider()
            found = self._provider.get_credentials()
            token = found.get_security_token() or None
            origin: str = found.get_provider_name().removeprefix("default/")
            return AccessKey(
                found.get_access_key_id(),
                found.get_access_key_secret(),
                token,
                origin=origin,
                rotation=_rotation(origin) if token is not None else None,
            )
        except ConfigurationError:
            raise
        except BaseException as error:
            # The chain passes on any exception of its providers. Don't show them to the user: they may contain secrets.
            raise MissingCredentials(f"No access key was found. Tried: {TRIED}.", hint=HOW_TO_SET) from error


def _rotation(origin: str) -> str | None:
    """What stays the same when the chain rotates a temporary key of this origin.

    None if the chain doesn't rotate it, or if nothing is known to stay the same. The key id then identifies the key.
    """
    source, _, kind = origin.rpartition("/")
    if kind in _STATIC:
        return None
    settings = {name: os.environ.get(name, "") for name in _ROLE_SETTINGS}
    if source:
        profile = _profile_settings(source)
        if profile is None:
            return None
        settings |= profile
    return f"{origin} {json.dumps(settings, sort_keys=True)}"


def _profile_settings(source: str) -> dict[str, str] | None:
    """The settings of a profile that select its role, without those that change on rotation. None if unreadable."""
    try:
        if source != "cli_profile":
            path = os.environ.get("ALIBABA_CLOUD_CREDENTIALS_FILE") or Path.home() / ".alibabacloud" / "credentials.ini"
            return {"file": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
        document = json.loads((Path.home() / ".aliyun" / "config.json").read_bytes())
        name = os.environ.get("ALIBABA_CLOUD_PROFILE") or document["current"]
        (profile,) = (each for each in document["profiles"] if each["name"] == name)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):
        return None
    return {field: str(profile.get(field, "")) for field in _PROFILE_FIELDS}
