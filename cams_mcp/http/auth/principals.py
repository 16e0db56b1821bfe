"""The caller behind a verified token."""

from __future__ import annotations

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, principal_components

from cams_mcp.access import NOBODY, Access


def access_of(token: AccessToken) -> Access:
    """The principal is the token's name, or for an access token its issuer and subject."""
    client, issuer, subject = principal_components(token)
    return Access(f"{issuer} {subject}" if issuer else client, frozenset(token.scopes))


def current_access() -> Access:
    """The caller of the HTTP request that is being answered; nobody, if it was not authenticated."""
    token = get_access_token()
    return NOBODY if token is None else access_of(token)
