"""MCP itself, both protocol eras."""
