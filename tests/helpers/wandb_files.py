"""The files of offline runs of Weights & Biases, by the library's own messages.

A file is a log as LevelDB writes it, of blocks of 32 KiB after a header of 7 bytes
(https://github.com/google/leveldb/blob/main/doc/log_format.md); its records are protobuf messages.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK_BYTES = 32 * 1024
FILE_HEADER_BYTES = 7
RECORD_HEADER_BYTES = 7  # checksum (4), length (2), type (1)
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> list[Any]:
    """All messages of a file `run-ID.wandb`."""
    from wandb.proto.wandb_internal_pb2 import Record

    return [Record.FromString(content) for content in _contents(path.read_bytes())]


def _contents(data: bytes) -> Iterator[bytes]:
    place = FILE_HEADER_BYTES
    begun = b""
    while place + RECORD_HEADER_BYTES <= len(data):
        left = BLOCK_BYTES - place % BLOCK_BYTES
        if left < RECORD_HEADER_BYTES:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        place += RECORD_HEADER_BYTES
        begun += data[place : place + length]
        place += length
        assert kind in (FULL, FIRST, MIDDLE, LAST)
        if kind in (FULL, LAST):
            yield begun
            begun = b""


def history(path: Path) -> list[dict[str, Any]]:
    """The figures that were logged, one dict for each call of `log`."""
    return [
        {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}
        for record in records(path)
        if (items := record.history.item)
    ]
