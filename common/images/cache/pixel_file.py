"""A file of decoded photos.

    rows of pixels, uint8 | JSON trailer | its length, 8 bytes | "fedshelf"

The trailer stands last, as it is known only when all photos are decoded; without it a file is not
whole.
"""

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.images.cache.pixel_hashes import joined, remember
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.system.files import cache_directory, private_directory, write_atomic

_FILE_MAGIC = b"fedshelf"
_RESERVED_BYTES = 2**28  # of a disk are left for more important files


def pixel_cache_directory() -> Path:
    """Return the directory of this user's pixel files and their indexes."""
    return cache_directory() / "images"


@dataclass(frozen=True)
class PixelFile:
    """The content of a pixel file.

    pixels:   uint8 [M, S, S, C], a row for each usable file
    digests:  hashes (hex) of all files, in the order of the rows
    unusable: hash -> reason, for files without a row
    hashes: of the pixels of each row (hex); None: the file of an earlier version has none
    """

    pixels: NDArray[np.uint8]
    digests: list[str]
    unusable: dict[str, str]
    hashes: list[str] | None = None

    def rows(self) -> dict[str, int]:
        """Return the row of each hash."""
        return {
            digest: row
            for row, digest in enumerate(d for d in self.digests if d not in self.unusable)
        }


def open_pixel_file(path: Path, form: PixelFormat) -> PixelFile | None:
    """Return a memory-mapped pixel file; None if it is absent, cut off or of another format."""
    try:
        with path.open("rb") as file:
            trailer, size = read_trailer(file)
            digests = trailer["digests"]
            unusable = trailer["unusable"]
            hashes = trailer.get("hashes")
            shape = (sum(digest not in unusable for digest in digests), *form.shape)
            if trailer["format"] != form.tag or int(np.prod(shape)) != size:
                return None
            # Mode "c": private to this process and writable, so torch takes it without copying or
            # warning.
            pixels = (
                np.memmap(file, np.uint8, "c", shape=shape)
                if shape[0]
                else np.empty(shape, np.uint8)
            )
            if hashes is not None and len(hashes) == len(pixels):
                remember(pixels, joined(map(bytes.fromhex, hashes)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return PixelFile(pixels, digests, unusable, hashes)


def read_verdicts(path: Path) -> dict[str, str]:
    """Return content's hash (hex) -> why the photo has no row, "" if it has one.

    {} if the file is absent or not whole.
    """
    try:
        with path.open("rb") as file:
            trailer, _ = read_trailer(file)
        return {
            str(digest): str(trailer["unusable"].get(digest, "")) for digest in trailer["digests"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def read_digests(path: Path) -> list[str]:
    """Return the hashes (hex) of all photos of a pixel file, in order.

    [] if the file is absent or not whole.
    """
    try:
        with path.open("rb") as file:
            return [str(digest) for digest in read_trailer(file)[0]["digests"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def read_pixels(path: Path, digests: Set[str]) -> NDArray[np.uint8]:
    """Return the pixels of some photos of a pixel file, in its order.

    Args:
        path: the pixel file
        digests: hashes (hex) of these photos

    Returns:
        uint8 [K, bytes of a photo]; K is 0 if the file is absent or not whole.
    """
    try:
        with path.open("rb") as file:
            trailer, size = read_trailer(file)
            rows = [digest for digest in trailer["digests"] if digest not in trailer["unusable"]]
            length = size // max(len(rows), 1)
            found = []
            for row, digest in enumerate(rows):
                if digest in digests:
                    file.seek(row * length)
                    found.append(np.frombuffer(file.read(length), np.uint8))
    except (OSError, ValueError, KeyError, TypeError):
        return np.empty((0, 0), np.uint8)
    return np.stack(found) if found else np.empty((0, 0), np.uint8)


def copy_without(gone: Set[str], source: Path, target: Path) -> None:
    """Write a pixel file again without some photos.

    Args:
        gone: hashes (hex) of these photos
        source: the pixel file
        target: path of the new one

    Raises:
        OSError: the disk is full, or `source` cannot be read
    """
    with source.open("rb") as file:
        trailer, size = read_trailer(file)
        unusable = {
            digest: reason for digest, reason in trailer["unusable"].items() if digest not in gone
        }
        rows = [digest for digest in trailer["digests"] if digest not in trailer["unusable"]]
        length = size // max(len(rows), 1)
        file.seek(0)

        def write(copy: BinaryIO) -> None:
            for digest in rows:
                row = file.read(length)
                if digest not in gone:
                    copy.write(row)
            kept: dict[str, Any] = {
                "format": trailer["format"],
                "digests": [digest for digest in trailer["digests"] if digest not in gone],
                "unusable": unusable,
            }
            if "hashes" in trailer:
                pairs = zip(rows, trailer["hashes"], strict=True)
                kept["hashes"] = [each for digest, each in pairs if digest not in gone]
            copy.write(trailer_bytes(kept))

        write_atomic(target, write, private=True)


def read_trailer(file: BinaryIO) -> tuple[Any, int]:
    """Return a cache file's trailer, and the number of bytes before it.

    Raises:
        ValueError: the file does not end with one
    """
    tail = 8 + len(_FILE_MAGIC)
    size = file.seek(0, 2)
    file.seek(max(0, size - tail))
    end = file.read()
    length = int.from_bytes(end[:8], "little")
    if end[8:] != _FILE_MAGIC or length > size - tail:
        raise ValueError("no trailer")
    file.seek(size - tail - length)
    return json.loads(file.read(length)), size - tail - length


def make_trailer(
    form: PixelFormat,
    digests: Sequence[str],
    unusable: Mapping[str, str],
    hashes: Sequence[str],
) -> bytes:
    """Return the end of a pixel file.

    Args:
        form: the format of its pixels
        digests: hashes (hex) of all photos, in the order of the rows
        unusable: hash -> why that photo has no row
        hashes: of the pixels (hex) of each row
    """
    values = {"digests": [*digests], "unusable": {**unusable}, "hashes": [*hashes]}
    return trailer_bytes({"format": form.tag, **values})


def trailer_bytes(values: Mapping[str, Any]) -> bytes:
    """Return the end of a cache file, from which `read_trailer` reads `values`."""
    text = json.dumps(values).encode()
    return text + len(text).to_bytes(8, "little") + _FILE_MAGIC


def check_room(directory: Path, size: int) -> None:
    """Check that a file of `size` bytes would not fill the disk; make the directory if need be.

    Raises:
        OSError: it would, or the directory cannot be made
    """
    private_directory(directory)
    if shutil.disk_usage(directory).free < size + _RESERVED_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))
