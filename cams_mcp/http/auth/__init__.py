"""Authentication for the HTTP server: static bearer tokens, or access tokens from an OAuth authorization server."""

from cams_mcp.http.auth.jwt_tokens import JwtVerifier
from cams_mcp.http.auth.keys import KeySet
from cams_mcp.http.auth.principals import access_of, current_access
from cams_mcp.http.auth.token_file import TokenFile

__all__ = ["JwtVerifier", "KeySet", "TokenFile", "access_of", "current_access"]
