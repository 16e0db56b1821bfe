"""Where the access key comes from: explicit settings first, then Alibaba Cloud's official credential chain.

The chain (`alibabacloud_credentials`) reads the environment, OIDC, `~/.aliyun/config.json`,
`~/.alibabacloud/credentials.ini`, the ECS instance role and the credentials URI. It blocks and costs a quarter of a
second to import, so it is imported on first use and runs in a worker thread, one look-up at a time.
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
    "Set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET in the environment of cams-mcp (in the "
    '"env" of the client\'s configuration), or run `aliyun configure`. To try without an account, start with --sandbox.'
)


_STATIC = frozenset({"env", "static_sts"})
"""Origins of temporary keys that stay until somebody changes them."""

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
"""Of a profile in ~/.aliyun/config.json, what chooses the account and the role."""

_VISIBLE_ASCII = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key, and the token that goes with it if it is temporary. The secrets stay out of `repr`.

    Attributes:
        origin: the part of the official chain it came from, e.g. cli_profile/static_ak.
        rotation: for a key that the chain replaces by itself, what the next one has in common with it: its origin and
            the settings that choose its role; else None.

    Raises:
        ConfigurationError: a part holds what cannot be part of a key, such as the line end of a file it came from.
    """

    id: str
    secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    origin: str | None = field(default=None, repr=False, compare=False)
    rotation: str | None = field(default=None, repr=False, compare=False)

    @property
    def identity(self) -> str:
        """What an approval is bound to: the id, or `rotation` for a key whose id changes by itself."""
        return self.rotation or self.id

    def __post_init__(self) -> None:
        for name, value in (("id", self.id), ("secret", self.secret), ("security token", self.security_token)):
            if value is not None and not _VISIBLE_ASCII.fullmatch(value):
                raise ConfigurationError(
                    f"The {name} of the access key is empty or has characters that no key has.",
                    hint="Copy it again, without spaces and line ends.",
                )


class CredentialSource(Protocol):
    """Anything that gives an access key."""

    async def __call__(self) -> AccessKey: ...


class ExplicitKey:
    """The access key of the settings."""

    def __init__(self, key: AccessKey) -> None:
        self._key = key

    async def __call__(self) -> AccessKey:
        return self._key


class OfficialChain:
    """The official credential chain; it refreshes temporary keys by itself.

    A look-up cannot be cancelled. One that takes long goes on in its thread when its caller gives up, and the next
    caller waits for the same one, so that hanging look-ups neither hold a call nor pile up.

    Raises:
        MissingCredentials: on call, when no part of the chain gives a key; names what was tried.
        ConfigurationError: on call, when the key it gives cannot be one.
    """

    def __init__(self) -> None:
        self._provider: Any = None
        self._pending: Future[AccessKey | CamsMcpError] | None = None

    async def __call__(self) -> AccessKey:
        pending = self._pending
        if pending is None or pending.done():
            pending = Future[AccessKey | CamsMcpError]()
            pending.set_running_or_notify_cancel()  # from here on, a caller who gives up cannot cancel it
            # A daemon: a look-up that hangs must not keep the program from ending.
            Thread(target=self._settle, args=(pending,), name="credentials", daemon=True).start()
            self._pending = pending
        found = await asyncio.wrap_future(pending)
        if isinstance(found, CamsMcpError):
            raise found
        return found

    def _settle(self, pending: Future[AccessKey | CamsMcpError]) -> None:
        try:
            pending.set_result(self._look_up())
        except CamsMcpError as error:
            # A result like a key: there may be nobody left to catch it.
            pending.set_result(error)

    def _look_up(self) -> AccessKey:
        # The chain's logger prints a traceback for every source that has no key, and sets its own level and handlers at
        # import; only `disabled` stands. What matters of it is in MissingCredentials.
        logging.getLogger("credentials").disabled = True
        try:
            if self._provider is None:
                # Imported here because it is slow.
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
            # The chain raises whatever its parts raise; none of it may reach the user raw (it can name secrets).
            raise MissingCredentials(f"No access key was found. Tried: {TRIED}.", hint=HOW_TO_SET) from error


def _rotation(origin: str) -> str | None:
    """What stays the same when the chain replaces a temporary key of this origin.

    None if the chain does not replace it, or if nothing is known to stay: then the key counts by its id.
    """
    source, _, kind = origin.rpartition("/")
    if kind in _STATIC:
        return None
    settings = {name: os.environ.get(name, "") for name in _ROLE_SETTINGS}
    if source:
        profile = _profile(source)
        if profile is None:
            return None
        settings |= profile
    return f"{origin} {json.dumps(settings, sort_keys=True)}"


def _profile(source: str) -> dict[str, str] | None:
    """What a profile says of the role it is for, without what changes with each key; None if it cannot be read."""
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
