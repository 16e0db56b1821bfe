"""What must outlive a call: approvals, the ledger of writes, the audit trail, upload jobs."""

from cams_mcp.store.database import FILE_NAME
from cams_mcp.store.records import Earlier, Event, Outcome, Write
from cams_mcp.store.sqlite import Store

__all__ = ["FILE_NAME", "Earlier", "Event", "Outcome", "Store", "Write"]
