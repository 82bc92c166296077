"""One answer in a file: the pieces of it, written by the gateway and read by the app.

The file begins with the identity of the message. Then each piece follows: its identity, its length,
its bytes.
"""

import hashlib
import os
import re
from pathlib import Path

LENGTH = 8  # bytes of a piece's length, big-endian
DIGITS = 64  # hexadecimal digits of an identity, a SHA-256
_MESSAGE_ID_PATTERN = re.compile(r"[0-9a-f]{64}")


def is_identity(text: str) -> bool:
    """Return whether `text` can be the identity of a message or of a piece, and so a file name."""
    return _MESSAGE_ID_PATTERN.fullmatch(text) is not None


def begin(path: Path, message_id: str) -> None:
    """Begin the file of an answer. Raises OSError."""
    path.write_bytes(message_id.encode("ascii"))


def add(path: Path, piece: str, content: bytes) -> bool:
    """Add a piece, and return whether its content matches its identity.

    Raises:
        OSError: the file could not take all of it
    """
    if hashlib.sha256(content).hexdigest() != piece:
        return False
    data = piece.encode("ascii") + len(content).to_bytes(LENGTH, "big") + content
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        if os.write(file, data) < len(data):
            raise OSError("The disk is full.")
    finally:
        os.close(file)
    return True


def read(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return the message's identity and the contents of its pieces, by identity. Raises OSError."""
    data = path.read_bytes()
    message_id = data[:DIGITS].decode("ascii")
    at = DIGITS
    pieces = dict[str, bytes]()
    while at < len(data):
        begin_of = at + DIGITS + LENGTH
        end = begin_of + int.from_bytes(data[at + DIGITS : begin_of], "big")
        pieces[data[at : at + DIGITS].decode("ascii")] = data[begin_of:end]
        at = end
    return message_id, pieces
