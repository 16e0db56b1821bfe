"""What the guard's own doors say besides the description of a write: how sure they are, and what else there is."""

from __future__ import annotations

from collections.abc import Mapping

from cams_mcp.facts import Language

ELICITATION: Mapping[Language, str] = {
    "en": "This question is shown by {client}. The server cannot see who answers it.",
    "zh": "此确认由{client}显示，服务器无法得知由谁作答。",
}
TOKEN: Mapping[Language, str] = {
    "en": "Your answer reaches the server through the assistant.",
    "zh": "您的答复将由 AI 助手转达给服务器。",
}
TERMINAL: Mapping[Language, str] = {
    "en": "To approve or decline it yourself, run in a terminal: {command}",
    "zh": "如需亲自批准或拒绝，请在终端运行：{command}",
}
CLIENT: Mapping[Language, str] = {"en": "the client", "zh": "客户端"}
BOX: Mapping[Language, str] = {"en": "Send it", "zh": "确认发送"}
