"""Map verified tokens to callers."""

from __future__ import annotations

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, principal_components

from cams_mcp.access import NOBODY, Access


def access_of(token: AccessToken) -> Access:
    """Return the token's access. The principal is a static token's name, or an access token's issuer and subject."""
    client, issuer, subject = principal_components(token)
    return Access(f"{issuer} {subject}" if issuer else client, frozenset(token.scopes))


def current_access() -> Access:
    """Return the caller of the current HTTP request, or `NOBODY` if the request is not authenticated."""
    token = get_access_token()
    return NOBODY if token is None else access_of(token)
