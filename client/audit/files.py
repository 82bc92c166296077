"""The files of an audit log: `audit.jsonl`, full ones such as `audit-000012345.jsonl` (its last line), `audit.head`."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fedshelf.client.audit.entry import NOTHING
from fedshelf.common.system.files import write_private


@dataclass(frozen=True)
class LogHead:
    """The last line that was written, kept in a second file so that a log which was cut short shows.

    first:     number of the first line that was written; 0: not told, by an earlier version
    rotations: how many full files were set aside
    signer:    public key of the store (OpenSSH); empty: it has none
    signature: of all of these by that key, in base64; see `client.audit.seal`
    """

    number: int
    hash: str
    first: int = field(default=0, compare=False)
    rotations: int = field(default=0, compare=False)
    signer: str = field(default="", compare=False)
    signature: str = field(default="", compare=False)


EMPTY_LOG_HEAD = LogHead(0, NOTHING, first=1)
_HEAD = TypeAdapter(LogHead)


def read_head(path: Path) -> LogHead | None:
    """The head beside the log `path`; None if it is missing or damaged."""
    try:
        return _HEAD.validate_json(_head_path(path).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_head(path: Path, head: LogHead) -> None:
    """Keep the head beside the log `path`, for this user only. Raises OSError."""
    write_private(_head_path(path), json.dumps(asdict(head), indent=2) + "\n")


def full_name(path: Path, last: int) -> Path:
    """Where the log `path` goes when it is full, `last` being the number of its last line."""
    return path.with_name(f"{path.stem}-{last:09}{path.suffix}")


def full_files(path: Path) -> list[Path]:
    """The files that were full, the oldest first."""
    return sorted(path.parent.glob(f"{path.stem}-{'[0-9]' * 9}{path.suffix}"))


def lines(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """All lines with the file's name and the place in it (from 1), also while another process writes.

    A last line without an end is left out: it is being written, or was when its process died.
    """
    with ExitStack() as stack:
        current = None
        with suppress(FileNotFoundError):  # none yet, or the last one has just become a full file
            current = stack.enter_context(path.open("rb"))
        known = os.fstat(current.fileno()) if current else None  # which may become a full file at any moment
        for full in full_files(path):
            if known is None or not os.path.samestat(known, full.stat()):
                with full.open("rb") as file:
                    yield from ((full.name, place, line) for place, line in enumerate(file, 1))
        if current:
            yield from ((path.name, place, line) for place, line in enumerate(current, 1) if line.endswith(b"\n"))


def _head_path(path: Path) -> Path:
    return path.with_suffix(".head")
