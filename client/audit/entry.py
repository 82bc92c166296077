"""One line of the audit log: JSON with the hash of the line before and the line's own hash.

The own hash comes last: the SHA-256 of everything before it.

{"number":7,"time":"2026-11-22T11:27:26.123+01:00","event":"sent",...,"previous":"<64
hex>","hash":"<64 hex>"}
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

FIRST_PREVIOUS_HASH = "0" * 64  # `previous` of the first line
MAX_TEXT_CHARACTERS = 300  # limit for a text that a server or an error puts into a line

Event = Literal[
    "joined",  # the connection to a server is open
    "left",  # and closed
    "policy",  # the policy in force; sha256 is its identity
    "received",  # a message from the server
    "refused",  # an order that the policy does not allow
    "sent",  # a message to the server, written before its first byte leaves
    "photos",  # the store's photos have changed
    "charged",  # an answer with noise is in the ledger; sha256 is the ledger's state
    "forgotten",  # a person began a new ledger
    "mended",  # half a line, which a killed process left behind, was cut off
    "broken",  # the existing log is not as it was written
]


@dataclass(frozen=True)
class AuditNote:
    """An event to be logged.

    Attributes:
        kind: Kind of the message: train, update, evaluate, ...
        run: The run's identity.
        round: From 1; 0 where there is none.
        size: Bytes of the content.
        sha256: Of the content, in hexadecimal.
        why: Purpose or reason, in plain words.
    """

    event: Event
    kind: str = ""
    run: str = ""
    round: int = 0
    size: int = 0
    sha256: str = ""
    why: str = ""


@dataclass(frozen=True)
class AuditEntry:
    """A note with its place in the hash chain.

    Attributes:
        number: From 1, without gaps.
        time: Local, ISO 8601 with the offset from UTC.
        previous: Hash of the line before.
        hash: Of this line.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)

    number: int
    time: str
    event: str
    kind: str
    run: str
    round: int
    size: int
    sha256: str
    why: str
    previous: str
    hash: str


_ENTRY = TypeAdapter(AuditEntry)
_HASH_FIELD_LENGTH = len(f',"hash":"{FIRST_PREVIOUS_HASH}"}}')


def encode(note: AuditNote, number: int, now: float, previous: str) -> tuple[bytes, str]:
    """Return the line, with its newline, and its hash. now: Unix time (s). Long texts are cut."""
    time = datetime.fromtimestamp(now).astimezone().isoformat(timespec="milliseconds")
    fields = {
        key: _shorten(value) if isinstance(value, str) else value
        for key, value in asdict(note).items()
    }
    body = json.dumps(
        {"number": number, "time": time, **fields, "previous": previous}, separators=(",", ":")
    )[:-1]
    line_hash = hashlib.sha256(body.encode()).hexdigest()
    return f'{body},"hash":"{line_hash}"}}\n'.encode(), line_hash


def decode(line: bytes) -> AuditEntry:
    """Decode a line, with or without its newline (inverse of `encode`).

    Raises ValueError if it was changed.
    """
    line = line.rstrip(b"\n")
    entry = _ENTRY.validate_json(line)
    if line[-_HASH_FIELD_LENGTH:] != f',"hash":"{entry.hash}"}}'.encode():
        raise ValueError("the hash is not at the end")
    if hashlib.sha256(line[:-_HASH_FIELD_LENGTH]).hexdigest() != entry.hash:
        raise ValueError("its hash does not belong to its content")
    return entry


def _shorten(value: str) -> str:
    """Cut a text to what fits, without lone surrogates, which UTF-8 cannot encode."""
    return value[:MAX_TEXT_CHARACTERS].encode(errors="replace").decode()
