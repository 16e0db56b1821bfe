"""Callers of a server and their permissions. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass

READ_SCOPE = "cams:read"
WRITE_SCOPE = "cams:write"
SCOPES = (READ_SCOPE, WRITE_SCOPE)
"""All scopes. The write scope does not include the read scope, and writing requires both."""

LOCAL_PRINCIPAL = "local"
"""The principal when authentication is off: any process that can reach the server on this machine."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one caller may do.

    Attributes:
        principal: the authenticated identity: a static token's name, or issuer and subject.
        scopes: the scopes granted to the caller.
    """

    principal: str = LOCAL_PRINCIPAL
    scopes: frozenset[str] = frozenset(SCOPES)

    @property
    def may_read(self) -> bool:
        return READ_SCOPE in self.scopes

    @property
    def may_write(self) -> bool:
        return self.may_read and WRITE_SCOPE in self.scopes


LOCAL = Access()
NOBODY = Access("", frozenset())
