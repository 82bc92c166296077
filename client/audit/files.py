"""Files of an audit log: `audit.jsonl`, the full files and `audit.head`.

A full file has the number of its last line in its name, such as `audit-000012345.jsonl`.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fedshelf.client.audit.entry import FIRST_PREVIOUS_HASH
from fedshelf.common.system.files import write_private


@dataclass(frozen=True)
class LogHead:
    """The last line that was written, kept in a second file to detect a log that was cut short.

    Attributes:
        first: Number of the first line that was written; 0: unknown (head of an earlier version).
        rotations: Number of full files were set aside.
        signer: Public key of the store (OpenSSH); empty: it has none.
        signature: Of all of these by that key, in base64; see `client.audit.seal`.
    """

    number: int
    hash: str
    first: int = field(default=0, compare=False)
    rotations: int = field(default=0, compare=False)
    signer: str = field(default="", compare=False)
    signature: str = field(default="", compare=False)


EMPTY_LOG_HEAD = LogHead(0, FIRST_PREVIOUS_HASH, first=1)
_HEAD = TypeAdapter(LogHead)


def read_head(path: Path) -> LogHead | None:
    """Return the head beside the log `path`; None if it is missing or damaged."""
    try:
        return _HEAD.validate_json(_head_path(path).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_head(path: Path, head: LogHead) -> None:
    """Write the head beside the log `path`, readable by this user only. Raises OSError."""
    write_private(_head_path(path), json.dumps(asdict(head), indent=2) + "\n")


def full_name(path: Path, last: int) -> Path:
    """Return the name of the log `path` once it is full; `last` is the number of its last line."""
    return path.with_name(f"{path.stem}-{last:09}{path.suffix}")


def full_files(path: Path) -> list[Path]:
    """Return the full files, the oldest first."""
    return sorted(path.parent.glob(f"{path.stem}-{'[0-9]' * 9}{path.suffix}"))


def lines(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Yield all lines, each with its file's name and its line number there (from 1).

    Another process may be writing. A last line without a newline is left out: it is being written,
    or its process died.
    """
    with ExitStack() as stack:
        current = None
        with suppress(FileNotFoundError):  # no log yet, or it has just become a full file
            current = stack.enter_context(path.open("rb"))
        # it may become a full file at any moment
        current_status = os.fstat(current.fileno()) if current else None
        for full in full_files(path):
            if current_status is None or not os.path.samestat(current_status, full.stat()):
                with full.open("rb") as file:
                    yield from (
                        (full.name, line_number, line) for line_number, line in enumerate(file, 1)
                    )
        if current:
            yield from (
                (path.name, line_number, line)
                for line_number, line in enumerate(current, 1)
                if line.endswith(b"\n")
            )


def _head_path(path: Path) -> Path:
    return path.with_suffix(".head")
