"""What `cams-mcp doctor` checks beyond this machine: the access key, the endpoint, the clock, a call.

Nothing it says holds a secret, or words of CAMS, which can name the account.
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
from cams_mcp.operations import LIST_INSTANCE
from cams_mcp.redaction import scrub
from cams_mcp.settings import OPTIONS, Settings

CLOSE_SECONDS = 60
ACCEPTED_SECONDS = 900
"""How far the service lets a clock be off."""
SHOWN_OF_KEY = 12
"""A shorter access key id shows less of itself."""

PROXY_HINT = "Check the network, --endpoint and --region, and the proxy settings (HTTPS_PROXY, NO_PROXY)."


async def check_credentials(settings: Settings) -> Check:
    """Where the access key comes from; never its secret."""
    if settings.sandbox:
        return Check("credentials", "ok", "The sandbox has its own.")
    if settings.access_key_id:
        option, shown = OPTIONS["access_key_id"], mask(settings.access_key_id)
        return Check("credentials", "ok", f"{shown}, from {option.flag} or {option.variable}.")

    def look_up() -> AccessKey:
        return anyio.run(OfficialChain())

    try:
        # In a thread of its own that is left alone if it takes too long: the chain cannot be cancelled.
        key = await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True)
    except CamsMcpError as error:
        return Check("credentials", "failure", error.message, error.hint)
    kind = ", temporary" if key.security_token else ""
    return Check("credentials", "ok", f"{mask(key.id)}{kind}, from the official chain ({key.origin}).")


def mask(key_id: str) -> str:
    """The first and last characters of an access key id."""
    return f"{key_id[:4]}***{key_id[-3:]}" if len(key_id) >= SHOWN_OF_KEY else f"{key_id[:2]}***"


async def check_endpoint(settings: Settings, answered: list[dt.datetime | None]) -> Check:
    """Whether anything answers at the endpoint, through proxies and CA bundles of the environment.

    Puts the time of the answer, if it told one, into `answered`.
    """
    if settings.sandbox:
        return Check("endpoint", "ok", "The embedded sandbox; no network is used.")
    endpoint = endpoint_of(settings)
    url = endpoint.url
    try:
        async with httpx.AsyncClient(timeout=settings.timeout) as client, client.stream("GET", url) as response:
            answered.append(server_date(response.headers.get("date")))
    except httpx.TimeoutException:
        return Check("endpoint", "failure", f"{url} did not answer within {settings.timeout:g} s.", PROXY_HINT)
    except httpx.TransportError as error:
        if "CERTIFICATE" in str(error).upper():
            return Check(
                "endpoint",
                "failure",
                f"{url} shows a certificate that is not trusted.",
                "Set SSL_CERT_FILE to the CA bundle of your network, if it inspects TLS; else do not go on.",
            )
        return Check("endpoint", "failure", f"No connection to {url} ({scrub(str(error)) or 'no reason'}).", PROXY_HINT)
    except (OSError, ImportError, ValueError, httpx.InvalidURL):
        # Not the error's text: a proxy's address can hold a password.
        return Check(
            "endpoint",
            "failure",
            "The proxy or the CA bundle of the environment cannot be used.",
            "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR.",
        )
    return Check(
        "endpoint",
        "ok",
        f"{url} answers" + (", its certificate is trusted." if endpoint.scheme == "https" else "."),
    )


def check_clock(settings: Settings, theirs: dt.datetime | None, ours: dt.datetime) -> Check:
    """The clock of this machine against the `Date` of the endpoint's answer."""
    if settings.sandbox:
        return Check("clock", "ok", "The embedded sandbox has this machine's.")
    if theirs is None:
        return Check("clock", "warning", "Not checked: the endpoint told no time.", "Have the endpoint answer first.")
    off = abs((ours - theirs).total_seconds())
    if off <= CLOSE_SECONDS:
        return Check("clock", "ok", f"Within {CLOSE_SECONDS} s of the service's.")
    detail, _, action = clock_hint(theirs, ours).partition(". ")
    return Check("clock", "failure" if off > ACCEPTED_SECONDS else "warning", f"{detail}.", action)


async def check_read(settings: Settings) -> Check:
    """One signed call that reads, as a tool makes it."""
    action = LIST_INSTANCE.ram_action
    try:
        async with open_toolbox(settings) as toolbox:
            outcome = await toolbox.call(LIST_INSTANCE.name, {"page_size": 1}, Caller(client=f"doctor {__version__}"))
    except PermissionDenied as error:
        return Check(
            "read",
            "failure",
            f"The access key may not do {action} (request id {error.request_id}).",
            "Attach the policy that `cams-mcp ram-policy` prints to its RAM user or role.",
        )
    except ServiceError as error:
        told = f"ListInstance: CAMS refused with {scrub(error.code or 'no code')} (request id {error.request_id})."
        return Check("read", "failure", told, error.hint)
    except CamsMcpError as error:
        return Check("read", "failure", error.message, error.hint)
    assert not isinstance(outcome, Question)
    return Check(
        "read", "ok", f"{action} is allowed; {outcome.content.get('total', 'no number of')} channel instances."
    )
