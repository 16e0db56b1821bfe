"""The operations of CAMS that cams-mcp offers. To add one: one file beside this, one line here."""

from cams_mcp.operation import AnyOperation
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.operations.list_chat_group import LIST_CHAT_GROUP
from cams_mcp.operations.list_custom_audience import LIST_CUSTOM_AUDIENCE
from cams_mcp.operations.list_instance import LIST_INSTANCE
from cams_mcp.operations.list_message_campaign import LIST_MESSAGE_CAMPAIGN

OPERATIONS: tuple[AnyOperation, ...] = (
    LIST_INSTANCE,
    LIST_CUSTOM_AUDIENCE,
    LIST_MESSAGE_CAMPAIGN,
    LIST_CHAT_GROUP,
    ADD_CUSTOM_AUDIENCE_USER,
)
"""In the order in which a client lists them."""

__all__ = [
    "ADD_CUSTOM_AUDIENCE_USER",
    "LIST_CHAT_GROUP",
    "LIST_CUSTOM_AUDIENCE",
    "LIST_INSTANCE",
    "LIST_MESSAGE_CAMPAIGN",
    "OPERATIONS",
]
