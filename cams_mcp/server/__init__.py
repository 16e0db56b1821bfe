"""The MCP server: both protocol eras, any transport."""
