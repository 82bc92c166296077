"""Verification that an audit log is as it was written.

Detected from the files alone: a line changed, removed, inserted or moved, from the first line that
`audit.head` names to the last one. Without the store's key nobody can make a head for another log.

Not detected: a log that somebody with that key wrote anew as a whole, head included; and a log
that was set back, head included, to an earlier state. To detect these, note the hash of the last
line elsewhere: it stays in the log for ever.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedshelf.client.audit.entry import FIRST_PREVIOUS_HASH, AuditEntry, decode
from fedshelf.client.audit.files import LogHead, full_files, lines, read_head
from fedshelf.client.audit.seal import fingerprint, is_genuine


@dataclass(frozen=True)
class AuditVerdict:
    """Result of a verification.

    Attributes:
        first: Number of the first line present.
        head: The last line that follows from those before it.
        fault: The first fault, in plain words; empty if there is none.
        signer: Public key (OpenSSH) that signed `audit.head`; empty: none.
    """

    first: int
    head: LogHead
    fault: str = ""
    signer: str = ""


def verify(path: Path, key: str = "") -> AuditVerdict:
    """Verify the log at `path`, from its first line to its last, or to the first fault.

    Raises OSError.

    Args:
        key: The store's public key (OpenSSH), which must have signed the head; empty: any key, or
            none.
    """
    written = read_head(path)  # read before the lines: another process may be writing more of them
    first = 0
    last = LogHead(0, FIRST_PREVIOUS_HASH)
    is_head_seen = written is not None and written.number == 0
    for file, line_number, line in lines(path):
        where = f"line {line_number} of {file}"
        try:
            entry = decode(line)
        except ValueError:
            return AuditVerdict(first, last, f"{where} is not as it was written")
        if fault := _link_fault(entry, last, is_first=not first):
            return AuditVerdict(first, last, f"{where} {fault}")
        first = first or entry.number
        last = LogHead(entry.number, entry.hash)
        is_head_seen |= last == written
    if written is None:
        return AuditVerdict(
            first, last, "audit.head is missing or damaged, so lines may be missing at the end"
        )
    if not is_head_seen:
        return AuditVerdict(first, last, _describe_missing_end(last, written))
    if first and written.first and first != written.first:
        return AuditVerdict(
            first, last, _describe_missing_start(first, written, len(full_files(path)))
        )
    return AuditVerdict(first, last, _signature_fault(written, key), written.signer)


def entries(path: Path) -> Iterator[AuditEntry]:
    """Yield all intact lines in order, whether or not they follow from each other."""
    for _, _, line in lines(path):
        try:
            yield decode(line)
        except ValueError:
            continue


def _link_fault(entry: AuditEntry, last: LogHead, *, is_first: bool) -> str:
    """Return the fault of an entry that comes after `last`; empty if there is none."""
    if entry.event == "broken":
        return f"says: {entry.why}"
    if is_first:
        return (
            ""
            if entry.number > 1 or entry.previous == FIRST_PREVIOUS_HASH
            else "is not the first one that was written"
        )
    if entry.number != last.number + 1:
        return f"has number {entry.number} after number {last.number}"
    return "" if entry.previous == last.hash else "does not follow the line before it"


def _describe_missing_start(first: int, written: LogHead, full: int) -> str:
    fault = (
        f"it begins with number {first}, but number {written.first} is the first that was written"
    )
    missing = f"{written.rotations - full} of its {written.rotations} full files are not here"
    return (
        f"{fault} ({missing}: put them back if they were moved)"
        if full < written.rotations
        else fault
    )


def _signature_fault(written: LogHead, key: str) -> str:
    """Return the fault of the head's signature; empty if there is none."""
    if (written.signer or written.signature) and not is_genuine(written):
        return "audit.head is not as it was signed, so lines may be missing at the end"
    if not key or written.signer == key:
        return ""
    if not written.signer:
        return (
            "audit.head is not signed, though this store has a key; if an earlier version wrote it,"
            " join signs it"
        )
    return f"audit.head is signed by another key than this store's ({fingerprint(written.signer)})"


def _describe_missing_end(last: LogHead, written: LogHead) -> str:
    if last.number < written.number:
        return f"it ends with number {last.number}, but number {written.number} had been written"
    return f"number {written.number} is not the one that had been written"
