"""What an operator can set. Each option is stated once, as a field; importing this is cheap."""

from cams_mcp.settings.http import MCP_PATH, HttpSettings
from cams_mcp.settings.options import GROUPS, Group, Option, options_of
from cams_mcp.settings.server import Program, Settings

OPTIONS: dict[str, Option] = options_of(Settings) | options_of(Program) | options_of(HttpSettings)
"""Every option, by its field's name."""

__all__ = [
    "GROUPS",
    "MCP_PATH",
    "OPTIONS",
    "Group",
    "HttpSettings",
    "Option",
    "Program",
    "Settings",
    "options_of",
]
