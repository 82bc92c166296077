"""Whether an audit log is as it was written.

Found without any witness: a line changed, removed, inserted or moved; lines cut off the end, as long as `audit.head` is
not forged along. Not found: a log that someone with the store's rights wrote anew as a whole, head and all. For that a
person has to note the hash of the last line elsewhere: it stands in the log for ever.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from client.audit.chain import NOTHING, Entry, decode
from client.audit.files import Head, lines, read_head


@dataclass(frozen=True)
class Verdict:
    """What was found.

    first: number of the first line that is here; above 1 where older files were taken away
    head:  the last line that follows from those before it
    fault: the first thing that is wrong, in plain words; empty if nothing is
    """

    first: int
    head: Head
    fault: str = ""


def verify(path: Path) -> Verdict:
    """Go through the log at `path`, from its first line to its last, or to the first that is wrong. Raises OSError."""
    written = read_head(path)  # before the lines, of which another process may be writing more
    first, last, is_head_seen = 0, Head(0, NOTHING), written is not None and written.number == 0
    for file, place, line in lines(path):
        where = f"line {place} of {file}"
        try:
            entry = decode(line)
        except ValueError:
            return Verdict(first, last, f"{where} is not as it was written")
        if fault := _fault(entry, last, is_first=not first):
            return Verdict(first, last, f"{where} {fault}")
        first, last = first or entry.number, Head(entry.number, entry.hash)
        is_head_seen |= last == written
    if written is None:
        return Verdict(first, last, "audit.head is missing or damaged, so lines may be missing at the end")
    if not is_head_seen:
        return Verdict(first, last, _cut(last, written))
    return Verdict(first, last)


def entries(path: Path) -> Iterator[Entry]:
    """All lines that are as they were written, in order, whether they follow from each other or not."""
    for _, _, line in lines(path):
        try:
            yield decode(line)
        except ValueError:
            continue


def _fault(entry: Entry, last: Head, *, is_first: bool) -> str:
    """What is wrong with an entry after `last`, or empty."""
    if entry.event == "broken":
        return f"says: {entry.why}"
    if is_first:
        return "" if entry.number > 1 or entry.previous == NOTHING else "is not the first one that was written"
    if entry.number != last.number + 1:
        return f"has number {entry.number} after number {last.number}"
    return "" if entry.previous == last.hash else "follows another line than the one before it"


def _cut(last: Head, written: Head) -> str:
    if last.number < written.number:
        return f"it ends with number {last.number}, but number {written.number} had been written"
    return f"number {written.number} is not the one that had been written"
