"""Remote checks of `cams-mcp doctor`: access key, endpoint, clock and a signed call.

Their output never contains secrets, or messages from CAMS, which can name the account.
"""

from __future__ import annotations

import datetime as dt

import anyio
import anyio.to_thread
import httpx

from cams_mcp import __version__
from cams_mcp.api.credentials import AccessKey, OfficialChain
from cams_mcp.api.responses import server_date
from cams_mcp.app import endpoint_of, open_toolbox
from cams_mcp.cli.checks import Check
from cams_mcp.confirmation import Caller, Question
from cams_mcp.errors import CamsMcpError, PermissionDenied, ServiceError, clock_hint
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.redaction import scrub
from cams_mcp.settings import OPTIONS, Settings

CLOSE_SECONDS = 60
ACCEPTED_SECONDS = 900
"""Clock difference that the service tolerates."""
SHOWN_OF_KEY = 12
"""Shorter access key ids are masked more heavily."""

PROXY_HINT = "Check the network, --endpoint and --region, and the proxy settings (HTTPS_PROXY, NO_PROXY)."


async def check_credentials(settings: Settings) -> Check:
    """Check that an access key is available, and report its source. Never shows the secret."""
    if settings.sandbox:
        return Check("credentials", "ok", "The sandbox has its own credentials.")
    if settings.access_key_id:
        option, shown = OPTIONS["access_key_id"], mask(settings.access_key_id)
        return Check("credentials", "ok", f"{shown}, from {option.flag} or {option.variable}.")

    def look_up() -> AccessKey:
        return anyio.run(OfficialChain())

    try:
        # The chain cannot be cancelled, so run it in a thread that can be abandoned on timeout.
        key = await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True)
    except CamsMcpError as error:
        return Check("credentials", "failure", error.message, error.hint)
    kind = ", temporary" if key.security_token else ""
    return Check("credentials", "ok", f"{mask(key.id)}{kind}, from the default credential chain ({key.origin}).")


def mask(key_id: str) -> str:
    """Mask an access key id except for its first and last characters."""
    return f"{key_id[:4]}***{key_id[-3:]}" if len(key_id) >= SHOWN_OF_KEY else f"{key_id[:2]}***"


async def check_endpoint(settings: Settings, answered: list[dt.datetime | None]) -> Check:
    """Check that the endpoint is reachable, using the proxies and CA bundles configured in the environment.

    Appends the response's `Date`, or None, to `answered`.
    """
    if settings.sandbox:
        return Check("endpoint", "ok", "Using the embedded sandbox, without network access.")
    endpoint = endpoint_of(settings)
    url = endpoint.url
    try:
        async with httpx.AsyncClient(timeout=settings.timeout) as client, client.stream("GET", url) as response:
            answered.append(server_date(response.headers.get("date")))
    except httpx.TimeoutException:
        return Check("endpoint", "failure", f"{url} did not respond within {settings.timeout:g} s.", PROXY_HINT)
    except httpx.TransportError as error:
        if "CERTIFICATE" in str(error).upper():
            return Check(
                "endpoint",
                "failure",
                f"{url} presents an untrusted certificate.",
                "If your network inspects TLS, set SSL_CERT_FILE to its CA bundle. Otherwise do not proceed.",
            )
        return Check(
            "endpoint", "failure", f"Cannot connect to {url} ({scrub(str(error)) or 'no reason given'}).", PROXY_HINT
        )
    except (OSError, ImportError, ValueError, httpx.InvalidURL):
        # Don't show the error message; a proxy URL may contain a password.
        return Check(
            "endpoint",
            "failure",
            "The proxy or CA bundle configured in the environment is unusable.",
            "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR.",
        )
    return Check(
        "endpoint",
        "ok",
        f"{url} is reachable" + (", and its certificate is trusted." if endpoint.scheme == "https" else "."),
    )


def check_clock(settings: Settings, theirs: dt.datetime | None, ours: dt.datetime) -> Check:
    """Compare this machine's clock with the `Date` of the endpoint's response."""
    if settings.sandbox:
        return Check("clock", "ok", "The embedded sandbox uses this machine's clock.")
    if theirs is None:
        return Check("clock", "warning", "Not checked: the endpoint returned no time.", "Fix the endpoint check first.")
    off = abs((ours - theirs).total_seconds())
    if off <= CLOSE_SECONDS:
        return Check("clock", "ok", f"Within {CLOSE_SECONDS} s of the service's clock.")
    detail, _, action = clock_hint(theirs, ours).partition(". ")
    return Check("clock", "failure" if off > ACCEPTED_SECONDS else "warning", f"{detail}.", action)


async def check_read(settings: Settings) -> Check:
    """Make one signed read call, the same way as a tool."""
    action = LIST_INSTANCE.ram_action
    try:
        async with open_toolbox(settings) as toolbox:
            outcome = await toolbox.call(LIST_INSTANCE.name, {"page_size": 1}, Caller(client=f"doctor {__version__}"))
    except PermissionDenied as error:
        return Check(
            "read",
            "failure",
            f"The access key lacks permission for {action} (request id {error.request_id}).",
            "Run `cams-mcp ram-policy` and attach the policy to the RAM user or role.",
        )
    except ServiceError as error:
        code = scrub(error.code or "no code")
        message = f"ListInstance: CAMS returned an error: {code} (request id {error.request_id})."
        return Check("read", "failure", message, error.hint)
    except CamsMcpError as error:
        return Check("read", "failure", error.message, error.hint)
    assert not isinstance(outcome, Question)
    return Check(
        "read", "ok", f"{action} is allowed; {outcome.content.get('total', 'an unknown number of')} channel instances."
    )
