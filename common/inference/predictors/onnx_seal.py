"""The seal of our ONNX files: the SHA-256 of all that stands before it.

An ONNX file is a protobuf message, whose fields may be followed by more of them. Ours ends with one
more property in its metadata, `sha256`. Any reader of ONNX takes it for a text; here it tells
damaged files before anything in them is parsed, and files of others.
"""

import hashlib
from pathlib import Path

from fedshelf.common.errors import DataError

# ModelProto.metadata_props is field 14, its entries have key (1) and value (2), all with lengths
_PROPERTY = b"\x72\x4a" + b"\x0a\x06sha256" + b"\x12\x40"
_HEX_DIGITS = 64

BEGINNING = 9
"""Bytes at the beginning of a file that tell what it is."""

_VERSION_FIELD = b"\x08"  # ModelProto.ir_version comes first
_SAFETENSORS_HEADER = b"{"  # after eight bytes of length


def is_onnx(beginning: bytes) -> bool:
    """Return whether a file is ONNX rather than safetensors, by its first `BEGINNING` bytes."""
    return beginning.startswith(_VERSION_FIELD) and beginning[8:9] != _SAFETENSORS_HEADER


def sealed(content: bytes) -> bytes:
    """Return an ONNX file with its seal."""
    return content + _PROPERTY + hashlib.sha256(content).hexdigest().encode()


def seal_of(content: bytes) -> str:
    """Return the seal of a sealed ONNX file, 64 hex digits."""
    return content[-_HEX_DIGITS:].decode()


def check_seal(content: bytes, source: Path) -> None:
    """Check that an ONNX file is one of ours, and whole.

    Args:
        content: of the file
        source: its name, for errors

    Raises:
        DataError: it is not.
    """
    end = len(content) - len(_PROPERTY) - _HEX_DIGITS
    if end < 0 or content[end:-_HEX_DIGITS] != _PROPERTY:
        raise DataError(
            f"{source} is not an ONNX file that Fedshelf exported, or its end is missing; expected"
            " one made by: flower-client export-onnx."
        )
    if hashlib.sha256(memoryview(content)[:end]).hexdigest().encode() != content[-_HEX_DIGITS:]:
        raise DataError(f"{source} is damaged (its SHA-256 is another); copy it once more.")
