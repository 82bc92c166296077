"""Summary of the audit log for a person: messages received and sent, by day, and the latest
lines.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from fedshelf.client.audit.entry import AuditEntry
from fedshelf.client.audit.files import read_head
from fedshelf.client.audit.verify import entries
from fedshelf.common.text import printable

MAX_LATEST_LINES = 30  # lines


@dataclass
class Day:
    """Number and bytes of messages on one day."""

    received: int = 0
    down: int = 0
    sent: int = 0
    up: int = 0
    refused: int = 0

    def count(self, entry: AuditEntry) -> None:
        """Add a line."""
        if entry.event == "received":
            self.received = self.received + 1
            self.down = self.down + entry.size
        elif entry.event == "sent":
            self.sent = self.sent + 1
            self.up = self.up + entry.size
        elif entry.event == "refused":
            self.refused += 1


def show(path: Path, console: Console) -> None:
    """Print the log at `path`. Raises OSError."""
    days: dict[str, Day] = {}
    latest: deque[AuditEntry] = deque(maxlen=MAX_LATEST_LINES)
    for entry in entries(path):
        days.setdefault(entry.time[:10], Day()).count(entry)
        latest.append(entry)
    console.print(_day_table(days), _latest_lines_table(latest))
    head = read_head(path)
    console.print(
        f"Number {head.number if head else '?'} is the last one; its hash is"
        f" {head.hash if head else 'not known'}.\nIf you note it elsewhere, you can find it here"
        " later: --json shows all lines, --verify checks them.",
        soft_wrap=True,
    )


def _day_table(days: dict[str, Day]) -> Table:
    table = Table("day", title="What came and what left", title_justify="left")
    for header in ("received", "bytes", "sent", "bytes", "refused"):
        table.add_column(header, justify="right")
    for name, day in days.items():
        sizes = (
            str(day.received),
            decimal(day.down),
            str(day.sent),
            decimal(day.up),
            str(day.refused),
        )
        table.add_row(name, *sizes)
    return table


def _latest_lines_table(latest: Iterable[AuditEntry]) -> Table:
    table = Table(title="The latest lines", title_justify="left")
    table.add_column("number", justify="right")
    for header in ("time", "event", "kind", "round"):
        table.add_column(header, no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("SHA-256", no_wrap=True)
    table.add_column("what for")
    for entry in latest:
        round_number = str(entry.round or "")
        size = decimal(entry.size) if entry.size else ""
        row = (
            entry.time[:19].replace("T", " "),
            entry.event,
            entry.kind,
            round_number,
            size,
            entry.sha256[:8],
            entry.why,
        )
        table.add_row(str(entry.number), *(_in_table(cell) for cell in row))
    return table


def _in_table(text: str) -> str:
    """Return a cell without rich's markup: a server may have chosen the text."""
    return printable(text).replace("[", r"\[")
