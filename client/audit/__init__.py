"""The store's audit log: a hash chain of all messages received and sent, so that no change goes
unnoticed.

`log` writes, `entry` is the form of a line, `files` finds the lines, `verify` verifies them, `show`
prints them.
"""

from fedshelf.client.audit.entry import AuditEntry, AuditNote, Event
from fedshelf.client.audit.log import AuditLog
from fedshelf.client.audit.verify import AuditVerdict, verify

AUDIT_FILE = "audit.jsonl"

__all__ = ["AUDIT_FILE", "AuditEntry", "AuditLog", "AuditNote", "AuditVerdict", "Event", "verify"]
