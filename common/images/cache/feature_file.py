"""Files of features: what the frozen part of a network makes of each image, computed once.

    features, float32 | per row: hash of its pixels, checksum of its features | trailer as in
                        `pixel_file`: key and shape

A file is named by a hash of its key (the weights and the preprocessing) and of all its pixels, so
it can never be stale. Rows are written in place, in any order, and a row counts once its checksum
fits: a killed process loses no more than the rows it was computing. When images are added, the rows
of the others are copied from earlier files of the same key.
"""

import contextlib
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.images.cache.pixel_file import (
    check_room,
    pixel_cache_directory,
    read_pixels,
    read_trailer,
    trailer_bytes,
)
from fedshelf.common.images.cache.pixel_hashes import (
    HASH_BYTES,
    ROWS_PER_TASK,
    PixelHashes,
    pixel_hashes,
)
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.system.files import private_directory, write_atomic, writing_cache

Compute = Callable[[Sequence[int]], Iterator[NDArray[np.float32]]]
"""Returns the features of the images in these rows, in this order."""

Progress = Callable[[int, int], None]
"""Gets the number of images that are done, and of all that have to be computed."""

# the least recently used files beyond it are removed
MAX_BYTES = 8 * 2**30
ROW_ENTRY = np.dtype([("pixels", np.uint8, HASH_BYTES), ("checksum", np.uint64)])


@dataclass(frozen=True)
class _FeatureFile:
    """The content of a file, whose rows may be missing.

    Attributes:
        path: the file
        key: names weights and preprocessing
        features: float32 [M, ...], memory-mapped
        entries: `ROW_ENTRY` [M]
    """

    path: Path
    key: str
    features: NDArray[np.float32]
    entries: NDArray[np.void]

    def has(self, rows: NDArray[np.int64]) -> bool:
        """Return whether these rows are whole."""
        return bool(self.present()[rows].all())

    def present(self) -> NDArray[np.bool_]:
        """Return which rows are whole: bool [M]."""
        written: NDArray[np.bool_] = self.entries["checksum"] != 0
        written[written] = (
            _checksums(self.features, written.nonzero()[0]) == (self.entries["checksum"][written])
        )
        return written


def open_features(
    key: str,
    digests: PixelHashes,
    rows: NDArray[np.int64],
    shape: Sequence[int],
    compute: Compute,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return the features of images; compute those that are in no file yet.

    Two processes that want the same features take turns: the second one finds them computed.

    Args:
        key: names all that features depend on but the pixels
        digests: of the pixels of M images
        rows: the images whose features are wanted
        shape: shape of the features of an image
        compute: computes features of images, given their rows
        progress: called while features are computed; if none have to be, it is not called

    Returns:
        float32 [M, *shape], memory-mapped; rows that are not wanted may be zeros.

    Raises:
        DataError: features are missing, and the cache cannot be written.
    """
    directory = pixel_cache_directory()
    path = directory / _file_name(key, digests)
    with writing_cache("feature", directory):
        complete = _read(path)
        if complete is None or not complete.has(rows):
            private_directory(directory)
            # whoever computes features uses all cores, so one process at a time does
            with FileLock(directory / "features.lock", mode=0o600), _opened(path) as file:
                _Filling(path, key, digests, shape).fill(file, rows, compute, progress)
            complete = _read(path)
            if complete is None:
                raise DataError(
                    f"The feature cache {path} was removed while it was being built; try again."
                )
            _remove_others(complete)
    with contextlib.suppress(OSError):  # a cache that has all of it may be read-only
        os.utime(path)
    return complete.features


def forget_features(pixel_path: Path, lost: Set[str]) -> None:
    """Remove the features of photos from all files.

    Args:
        pixel_path: the pixel file that still has the photos
        lost: hashes (hex) of the contents of the photos that are gone

    Raises:
        OSError: the disk is full, or a file cannot be read.
    """
    paths = list(pixel_cache_directory().glob("*.features"))
    gone = {digest.tobytes() for digest in pixel_hashes(read_pixels(pixel_path, lost))}
    for path in paths if gone else ():
        features = _read(path)
        if features is None:
            continue
        digests = features.entries["pixels"]
        kept = np.array([digest.tobytes() not in gone for digest in digests], dtype=bool)
        if not kept.all():
            if kept.any():
                _write_rows(features, kept.nonzero()[0])
            path.unlink(missing_ok=True)  # a process that has it mapped keeps it until it lets go


def _file_name(key: str, digests: PixelHashes) -> str:
    content = hashlib.blake2b(key.encode(), digest_size=20)
    content.update(digests.tobytes())
    return f"{content.hexdigest()}.features"


def _read(path: Path) -> _FeatureFile | None:
    """Return a file's content; None if it is absent or was not made to its full length."""
    try:
        with path.open("rb") as file:
            trailer, end = read_trailer(file)
            shape = [int(length) for length in trailer["shape"]]
            size = math.prod(shape) * 4
            if size + shape[0] * ROW_ENTRY.itemsize != end:
                return None
            # mode "c": private to this process and writable, so torch takes it without a warning
            features = np.memmap(file, np.float32, "c", shape=tuple(shape))
            file.seek(size)
            entries = np.frombuffer(file.read(end - size), ROW_ENTRY)
            return _FeatureFile(path, str(trailer["key"]), features, entries)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _opened(path: Path) -> BinaryIO:
    """Open a file to fill it, made if need be, for this user only."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")


@dataclass(frozen=True)
class _Filling:
    """A file that is being filled.

    Attributes:
        path: the file
        key: names weights and preprocessing
        digests: hashes of the pixels of all M images
        shape: shape of the features of an image
    """

    path: Path
    key: str
    digests: PixelHashes
    shape: Sequence[int]

    def fill(
        self, file: BinaryIO, rows: NDArray[np.int64], compute: Compute, progress: Progress | None
    ) -> None:
        """Write the rows that the file lacks: copied from others of the same key, or computed."""
        begun = _read(self.path)
        if begun is None:
            self._begin(file)
        missing = rows if begun is None else rows[~begun.present()[rows]]
        known = _known_rows(self.path, self.key, self.shape)
        fresh = []
        for row in missing.tolist():
            found = known.get(self.digests[row].tobytes())
            if found is None:
                fresh.append(row)
            else:
                self._write(file, row, found)
        for done, (row, features) in enumerate(zip(fresh, compute(fresh), strict=True), start=1):
            self._write(file, row, features)
            if progress:
                progress(done, len(fresh))

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.shape) * 4

    def _begin(self, file: BinaryIO) -> None:
        """Give the file its length, with no row in it; on most disks it takes no room yet."""
        length = len(self.digests) * self._row_bytes
        check_room(self.path.parent, length)
        entries = np.zeros(len(self.digests), ROW_ENTRY)
        entries["pixels"] = self.digests
        shape = [len(self.digests), *self.shape]
        file.truncate(0)
        _write_at(
            file, length, entries.tobytes() + trailer_bytes({"key": self.key, "shape": shape})
        )

    def _write(self, file: BinaryIO, row: int, features: NDArray[np.float32]) -> None:
        """Write one row, then its checksum, with which it counts."""
        _write_at(file, row * self._row_bytes, features.tobytes())
        entry = np.zeros(1, ROW_ENTRY)
        entry["pixels"] = self.digests[row]
        entry["checksum"] = _checksum(features)
        table = len(self.digests) * self._row_bytes
        _write_at(file, table + row * ROW_ENTRY.itemsize, entry.tobytes())


def _write_at(file: BinaryIO, offset: int, content: bytes) -> None:
    file.seek(offset)
    file.write(content)
    file.flush()


def _known_rows(path: Path, key: str, shape: Sequence[int]) -> dict[bytes, NDArray[np.float32]]:
    """Return the hash of pixels -> features, from all other files of this key."""
    known = dict[bytes, NDArray[np.float32]]()
    for other_path in path.parent.glob("*.features"):
        other = _read(other_path) if other_path != path else None
        if other is not None and other.key == key and other.features.shape[1:] == tuple(shape):
            for row in other.present().nonzero()[0].tolist():
                known[other.entries["pixels"][row].tobytes()] = other.features[row]
    return known


def _remove_others(latest: _FeatureFile) -> None:
    """Remove files whose rows the latest one has, and the least recently used beyond a bound."""
    inside = {digest.tobytes() for digest in latest.entries["pixels"]}
    others = []
    for path in latest.path.parent.glob("*.features"):
        other = _read(path) if path != latest.path else None
        if other is None:
            continue
        if other.key == latest.key and all(
            digest.tobytes() in inside for digest in other.entries["pixels"]
        ):
            path.unlink(missing_ok=True)
        else:
            others.append(path)
    total = latest.path.stat().st_size
    with contextlib.suppress(FileNotFoundError):  # another process may be removing it, too
        for path in sorted(others, key=lambda other: -other.stat().st_mtime):
            total += path.stat().st_size
            if total > MAX_BYTES:
                path.unlink()


def _write_rows(source: _FeatureFile, rows: NDArray[np.int64]) -> None:
    """Write a new file with some rows of another one."""
    digests = source.entries["pixels"][rows]
    shape = [len(rows), *source.features.shape[1:]]

    def write(file: BinaryIO) -> None:
        for row in rows.tolist():
            file.write(source.features[row].tobytes())
        file.write(source.entries[rows].tobytes())
        file.write(trailer_bytes({"key": source.key, "shape": shape}))

    write_atomic(source.path.with_name(_file_name(source.key, digests)), write, private=True)


def _checksums(features: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the checksums of some rows: uint64 [K]."""

    def checksums(start: int) -> list[int]:
        return [_checksum(features[row]) for row in rows[start : start + ROWS_PER_TASK].tolist()]

    parts = map_in_order(checksums, range(0, len(rows), ROWS_PER_TASK))
    return np.array([checksum for part in parts for checksum in part], np.uint64)


def _checksum(features: NDArray[np.float32]) -> int:
    """Return a checksum of a row that is not 0, the mark of a row that is missing."""
    digest = hashlib.blake2b(features.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") | 1
