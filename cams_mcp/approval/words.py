"""What the approval page says besides the description of a write, in each language."""

from __future__ import annotations

from cams_mcp.facts import Language

PAGE: dict[Language, dict[str, str]] = {
    "en": {
        # The page
        "title": "Approve a request · cams-mcp",
        "title_busy": "Sending · cams-mcp",
        "title_none": "Nothing to approve · cams-mcp",
        "heading_none": "Nothing is waiting for you",
        "heading_busy": "Waiting for the outcome",
        "heading_one": "A request is waiting for your approval",
        "heading_many": "{n} requests are waiting for your approval",
        "lead": "Asked for by an AI assistant. Nothing is sent until you approve it.",
        "lead_busy": "The outcome appears here.",
        "lead_none": "You can close this tab.",
        "skip": "Skip to the requests",
        "door": "A decision on this page counts as yours and is recorded as made by {person}. Any program that can "
        "control this browser could decide here too.",
        "requests": "Requests",
        "reload": "Reload the page to see new requests and outcomes.",
        # A card
        "waiting": "Approval needed",
        "approved": "Approved",
        "declined": "Declined",
        "sending": "Sending",
        "sent": "Sent",
        "stopped": "Stopped",
        "refused": "Failed",
        "unknown": "Outcome unclear",
        "expired": "Expired",
        "warning": "Warning: ",
        "before": "{n} now",
        "before_unknown": "current size unknown",
        "added": "up to {n} added",
        "contents": "What is in it",
        "samples": "Examples, masked",
        "place": "Where it goes",
        "next": "What happens next",
        "once": "If you approve, the server sends this once, right away. If you decline, nothing is sent.",
        "approve": "Approve",
        "decline": "Decline",
        "until": "Expires at {time}",
        "left": "{time} left",
        "expired_outcome": "The time to decide is over. Unless it was approved elsewhere, nothing was sent. To be "
        "asked again, let the assistant make the call again.",
        # What scripts announce
        "new": "Another request is waiting.",
        "last_minute": "Less than a minute left to decide.",
        "gone": "The server does not answer, so this page cannot record a decision. If cams-mcp still runs elsewhere, "
        "decide in a terminal with:",
        "over": "This page is no longer connected. A newer tab may have replaced it. You can also decide in a terminal "
        "with:",
        "store": "The server cannot read its store at the moment, so this page may be out of date. It keeps trying.",
        "finished": "This page has finished its work and no longer updates.",
        # Notes after a decision that did not count
        "note_early": "Nothing was decided: the button was pressed less than a second after the request appeared. "
        "Check the request, then decide again.",
        "note_stale": "Nothing was decided: the button belonged to an earlier view of this page. Check the request, "
        "then decide again.",
        "note_expired": "Nothing was decided: the request has expired. Nothing was sent. To be asked again, let the "
        "assistant make the call again.",
        "note_store": "Your decision may not have been recorded: the server could not write to its store. What you see "
        "here is what the store has now.",
        # Errors
        "error_title": "This page cannot be shown · cams-mcp",
        "error_used": "This address has already been used",
        "error_used_why": "Each address opens the approval page once. If the page is open in another tab, decide "
        "there. If you did not open it, decline the request in a terminal and find out who else uses this computer.",
        "error_session": "This browser has no session here",
        "error_session_why": "The approval page opens from its own address, once, and needs a cookie for 127.0.0.1. "
        "Allow that cookie, or decide in a terminal.",
        "error_foreign": "This request did not come from the approval page",
        "error_foreign_why": "The server accepts requests from its own page only. Nothing was decided.",
        "error_missing": "There is nothing here",
        "error_missing_why": "The address is incomplete, or belongs to a page that has closed.",
        "error_method": "This address does not accept this kind of request",
        "error_method_why": "Nothing was decided.",
        "error_form": "The server could not read the form",
        "error_form_why": "Nothing was decided. Go back to the page and decide again.",
        "error_store": "The server cannot read its store",
        "error_store_why": "Nothing can be decided at the moment. Reload the page in a few seconds.",
        "terminal": "To decide in a terminal on this computer, run:",
    },
    "zh": {
        "title": "批准请求 · cams-mcp",
        "title_busy": "正在发送 · cams-mcp",
        "title_none": "没有待批准的请求 · cams-mcp",
        "heading_none": "目前没有等待您批准的请求",
        "heading_busy": "正在等待结果",
        "heading_one": "有一个请求等待您批准",
        "heading_many": "有 {n} 个请求等待您批准",
        "lead": "请求由 AI 助手发起。在您批准之前，不会发送任何数据。",
        "lead_busy": "结果会显示在这里。",
        "lead_none": "您可以关闭此标签页。",
        "skip": "跳到请求列表",
        "door": "在此页面做出的决定视为您本人的决定，并记录为由 {person} 做出。"
        "请注意：能够控制此浏览器的程序也可以在这里做出决定。",
        "requests": "请求列表",
        "reload": "刷新页面即可查看新的请求和结果。",
        "waiting": "需要您批准",
        "approved": "已批准",
        "declined": "已拒绝",
        "sending": "正在发送",
        "sent": "已发送",
        "stopped": "中途停止",
        "refused": "发送失败",
        "unknown": "结果不确定",
        "expired": "已过期",
        "warning": "警告：",
        "before": "当前 {n}",
        "before_unknown": "当前规模未知",
        "added": "最多新增 {n}",
        "contents": "数据概况",
        "samples": "脱敏样例",
        "place": "发送目标",
        "next": "接下来会发生什么",
        "once": "批准后，服务器会立即发送，且只发送一次。拒绝后，不会发送任何数据。",
        "approve": "批准",
        "decline": "拒绝",
        "until": "{time} 过期",
        "left": "剩余 {time}",
        "expired_outcome": "决定时限已过。除非已在别处批准，否则没有发送任何数据。如需再次询问，请让助手重新发起调用。",
        "new": "又有一个请求等待您批准。",
        "last_minute": "剩余时间不足一分钟。",
        "gone": "服务器没有响应，此页面无法记录您的决定。如果 cams-mcp 仍在别处运行，请在终端中用以下命令做出决定：",
        "over": "此页面已断开连接，可能已被新的标签页取代。您也可以在终端中用以下命令做出决定：",
        "store": "服务器暂时无法读取存储，页面内容可能不是最新的。页面会继续重试。",
        "finished": "此页面的任务已经完成，不再更新。",
        "note_early": "本次点击未生效：请求显示不到一秒就按下了按钮。请看清请求内容，再做决定。",
        "note_stale": "本次点击未生效：按钮属于此页面较早的内容。请看清请求内容，再做决定。",
        "note_expired": "本次点击未生效：该请求已过期，没有发送任何数据。如需再次询问，请让助手重新发起调用。",
        "note_store": "您的决定可能没有记录成功：服务器无法写入存储。此处显示的是存储中的当前状态。",
        "error_title": "无法显示此页面 · cams-mcp",
        "error_used": "此地址已经使用过",
        "error_used_why": "每个地址只能打开一次批准页面。如果页面已在另一个标签页中打开，请在那里做出决定。"
        "如果不是您打开的，请在终端中拒绝该请求，并查明还有谁在使用这台电脑。",
        "error_session": "此浏览器没有有效的会话",
        "error_session_why": "批准页面只能通过专用地址打开一次，并且需要 127.0.0.1 的 Cookie。"
        "请允许该 Cookie，或在终端中做出决定。",
        "error_foreign": "此请求并非来自批准页面",
        "error_foreign_why": "服务器只接受来自自己页面的请求。没有做出任何决定。",
        "error_missing": "这里没有内容",
        "error_missing_why": "地址不完整，或者对应的页面已经关闭。",
        "error_method": "此地址不接受这种请求",
        "error_method_why": "没有做出任何决定。",
        "error_form": "服务器无法读取提交的表单",
        "error_form_why": "没有做出任何决定。请返回页面重新决定。",
        "error_store": "服务器无法读取存储",
        "error_store_why": "目前无法做出决定。请过几秒钟刷新页面。",
        "terminal": "如需在这台电脑的终端中做出决定，请运行：",
    },
}
"""The approval page. Text in braces is filled in, and a test keeps the languages' keys and braces equal."""

TERMINAL_COMMAND = "cams-mcp approve"
