"""What `cams-mcp approve` says besides the description of a write, in each language."""

from __future__ import annotations

from cams_mcp.facts import Language

TERMINAL: dict[Language, dict[str, str]] = {
    "en": {
        "nothing": "Nothing is waiting.",
        "sure": "Your answer is recorded as made by {person}. Any program that can type here could give it.",
        "prompt": "Approve it? [y/N]: ",
        "undecided": "Nothing was decided. It keeps waiting.",
        "approved": "Approved. Waiting for the server to send it.",
        "again": "No running server holds this list. To send it, make the same call again.",
    },
    "zh": {
        "nothing": "没有待审批的请求。",
        "sure": "您的答复将记录为由 {person} 作出。任何能在此终端中输入的程序都可以代为作答。",
        "prompt": "是否批准？[y/N]: ",
        "undecided": "未作出决定，该请求将继续等待。",
        "approved": "已批准，正在等待服务器发送。",
        "again": "没有正在运行的服务器持有该名单。如需发送，请重新发起相同的调用。",
    },
}
