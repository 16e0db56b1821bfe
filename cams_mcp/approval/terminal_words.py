"""What `cams-mcp approve` says besides the description of a write, in each language."""

from __future__ import annotations

from cams_mcp.facts import Language

TERMINAL: dict[Language, dict[str, str]] = {
    "en": {
        "nothing": "Nothing is waiting.",
        "sure": "Your answer is recorded as made by {person}. Any program that can type here could give it.",
        "prompt": "Approve? [y = approve, n = decline, Enter = decide later]: ",
        "undecided": "Nothing was decided. The write is still waiting.",
        "approved": "Approved. Waiting for the server to send it.",
    },
    "zh": {
        "nothing": "没有待审批的请求。",
        "sure": "您的答复将记录为由 {person} 作出。任何能在此终端中输入的程序都可以代为作答。",
        "prompt": "是否批准？[y 批准 / n 拒绝 / 回车稍后决定]: ",
        "undecided": "未作出决定，该请求仍在等待。",
        "approved": "已批准，正在等待服务器发送。",
    },
}
