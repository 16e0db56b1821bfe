"""What the card in the chat says besides the description of the write, in each language."""

from __future__ import annotations

from cams_mcp.approval.words import PAGE
from cams_mcp.facts import Language

_SHARED = (
    *("waiting", "approved", "declined", "sending", "sent", "stopped", "refused", "unknown", "expired"),
    *("warning", "before", "before_unknown", "added", "samples", "id", "approve", "decline", "left", "last_minute"),
)
"""Words that the card has in common with the approval page."""

_OWN: dict[Language, dict[str, str]] = {
    "en": {
        "loading": "Loading the request…",
        "nothing": "Nothing to approve for this call.",
        "none": "Nothing is waiting for your approval.",
        "several": "{n} requests are waiting for your approval",
        "already": "This request has already been decided.",
        "recording": "Recording your decision…",
        "trust": "This card is as trustworthy as the app that shows it.",
        "unsent": "If it is not sent soon, ask the assistant to make the same call again. You will not be asked again.",
        "time_over": "This request expired. Unless it was approved elsewhere, nothing was sent.",
        "gone": "This request has expired or does not exist. Ask the assistant to make the call again.",
        "not_recorded": "Your decision may not have been recorded.",
        "no_tools": "This app does not let the card contact the server.",
        "no_answer": "The app did not answer.",
        "no_host": "This card works only inside an app that supports MCP Apps.",
        "unavailable": "The card could not load the request.",
        "reported": "Reported reason: {why}",
        "instead": "Decide in a terminal on the computer that runs cams-mcp:",
        "again": "Try again",
    },
    "zh": {
        "loading": "正在加载请求…",
        "nothing": "此次调用没有待批准的请求。",
        "none": "目前没有等待您批准的请求。",
        "several": "有 {n} 个请求等待您批准",
        "already": "该请求已处理。",
        "recording": "正在提交您的决定…",
        "trust": "此卡片的可信程度取决于显示它的应用。",
        "unsent": "如果迟迟没有发送，请让助手再次发起相同的调用，届时不会再次询问您。",
        "time_over": "审批时限已过。除非已在别处批准，否则没有发送任何数据。",
        "gone": "该请求已过期或不存在。请让助手重新发起调用。",
        "not_recorded": "您的决定可能没有提交成功。",
        "no_tools": "此应用不允许卡片与服务器通信。",
        "no_answer": "应用没有响应。",
        "no_host": "此卡片只能在支持 MCP Apps 的应用中使用。",
        "unavailable": "卡片无法加载该请求。",
        "reported": "返回的原因：{why}",
        "instead": "请在运行 cams-mcp 的电脑上打开终端，用以下命令作出决定：",
        "again": "重试",
    },
}

WORDS: dict[Language, dict[str, str]] = {
    language: {**{key: PAGE[language][key] for key in _SHARED}, **own} for language, own in _OWN.items()
}

FOR_MODEL: dict[str, str] = {
    "approved": "The person approved the write {id}{count}, but it has not been sent yet. "
    "Make the same call again, with exactly the same arguments, to send it.",
    "declined": "The person declined the write {id}{count}. Nothing was sent. "
    "Do not try again unless the person asks for it.",
    "sent": "The person approved the write {id}{count}, and the server sent it. Do not send it again.",
    "refused": "The person approved the write {id}{count}, but it failed, and nothing was sent. "
    "Make the same call again to get the recorded error; that sends nothing either.",
    "stopped": "The person approved the write {id}{count}, but sending stopped before the end. "
    "Make the same call again to get the recorded result; that sends nothing.",
    "unknown": "The person approved the write {id}{count}. The outcome is uncertain: it may have been applied. "
    "Do not send it again; tell the person.",
    "count": " (total: {n})",
}
"""What the card tells the model about an outcome: only the id, the total, and these sentences of our own."""
