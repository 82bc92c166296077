"""The store's audit log: all that was received and all that left, in lines that none can change unseen.

`log` writes, `entry` is the form of a line, `files` finds the lines, `verify` verifies them, `show` prints them.
"""

from fedshelf.client.audit.entry import AuditEntry, AuditNote, Event
from fedshelf.client.audit.log import AuditLog
from fedshelf.client.audit.verify import AuditVerdict, verify

AUDIT_FILE = "audit.jsonl"

__all__ = ["AUDIT_FILE", "AuditEntry", "AuditLog", "AuditNote", "AuditVerdict", "Event", "verify"]
