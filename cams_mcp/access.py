"""Who calls a server and what they may do there. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass

READ_SCOPE = "cams:read"
WRITE_SCOPE = "cams:write"
SCOPES = (READ_SCOPE, WRITE_SCOPE)
"""Reading, and the tools that write. The second does not include the first."""

LOCAL_PRINCIPAL = "local"
"""Who calls where there is no authentication: whoever can reach the server on this machine."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one caller may do.

    Attributes:
        principal: who is authenticated: a token's name, or issuer and subject.
        scopes: what the caller was granted.
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
