"""MCP server for Alibaba Cloud Chat App Message Service (CAMS, API 2020-06-06)."""

__version__ = "0.3.0"
