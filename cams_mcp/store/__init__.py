"""What must outlive a call: approvals, the ledger of writes, the audit trail, upload jobs."""

from cams_mcp.models import Outcome
from cams_mcp.store.database import FILE_NAME
from cams_mcp.store.journal import Job, Journal
from cams_mcp.store.records import Earlier, Event, Write
from cams_mcp.store.sqlite import Store

__all__ = ["FILE_NAME", "Earlier", "Event", "Job", "Journal", "Outcome", "Store", "Write"]
