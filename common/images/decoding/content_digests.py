"""Hashes of files' contents; files that did not change since the last time are not read again.

A file is taken as unchanged if its size, modification time, change time and inode are the known
ones. The change time is the kernel's: unlike the modification time nobody can set it back.
Like Git with its index ("racy Git", https://git-scm.com/docs/racy-git), we do not trust a file that
had just changed when it was hashed: a second change within one tick of the clock would not show.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedshelf.common.images.decoding import formats
from fedshelf.common.images.decoding.decode import NotUsableError
from fedshelf.common.images.decoding.parallel import map_in_order

CONTENT_DIGEST_BYTES = 20
# a photo has a few MiB; a larger file is a stray film, and decoding needs it in memory
MAX_PHOTO_BYTES = 2**28
_START_BYTES = 512
SETTLED_NS = 2_000_000_000  # the coarsest clock of a file system in use: two seconds, FAT's

NO_SUCH_FILE = "no such file"

KnownFiles = Mapping[str, tuple[list[int], str]]
"""Path -> fingerprint (size in bytes, modification and change time in ns, inode), hash (hex)."""


@dataclass(frozen=True)
class ContentDigests:
    """The hashes of some files.

    digests: per file, its content's hash (BLAKE2b, 20 bytes), or the reason why it could not be
        read
    known: the files that had settled; `hash_files` takes them the next time
    """

    digests: tuple[bytes | NotUsableError, ...]
    known: KnownFiles

    def has_any(self) -> bool:
        """Return whether any of the files could be read."""
        return any(isinstance(digest, bytes) for digest in self.digests)


def parse_known_files(value: Any) -> dict[str, tuple[list[int], str]]:
    """Return the `KnownFiles` that were written as JSON.

    Raises:
        ValueError: `value` is no such mapping
    """
    try:
        return {
            path: (list(fingerprint), str(digest)) for path, (fingerprint, digest) in value.items()
        }
    except (TypeError, AttributeError) as error:
        raise ValueError("not a mapping from paths to fingerprints and hashes") from error


def unconfirmed_files(known: KnownFiles, now: ContentDigests) -> list[Path]:
    """Return the files of `known` that `now` does not know.

    They are missing, cannot be read, or have just changed.
    """
    return [Path(name) for name in known if name not in now.known]


def hash_files(paths: Iterable[Path], known: KnownFiles, now_ns: int) -> ContentDigests:
    """Hash files, except those that are unchanged since `known`.

    Args:
        paths: the files; a path may be there twice
        known: `ContentDigests.known` of the last time
        now_ns: the time at the start (Unix, ns)
    """
    paths = list(paths)
    digests: dict[Path, bytes | NotUsableError] = {}
    settled: dict[str, tuple[list[int], str]] = {}
    changed = []
    for path in dict.fromkeys(paths):
        if is_unchanged(path, known):
            fingerprint, hexadecimal = known[str(path)]
            settled[str(path)] = (fingerprint, hexadecimal)
            digests[path] = bytes.fromhex(hexadecimal)
        else:
            changed.append(path)
    for path, (digest, fingerprint) in zip(changed, map_in_order(_hash, changed), strict=True):
        digests[path] = digest
        if isinstance(digest, bytes) and fingerprint and fingerprint[2] < now_ns - SETTLED_NS:
            settled[str(path)] = fingerprint, digest.hex()
    return ContentDigests(tuple(digests[path] for path in paths), settled)


def read_photo(path: Path) -> bytes:
    """Return the bytes of a file that may be a photo.

    Raises:
        NotUsableError: it cannot be one, or cannot be read
    """
    if reason := rejection_reason(path):
        raise NotUsableError(reason)
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotUsableError(f"unreadable: {error.strerror}") from error


def rejection_reason(path: Path) -> str:
    """Return why a file cannot be a photo, by its size and first bytes; empty if it may be one."""
    try:
        if not path.is_file():  # before opening it: a named pipe would wait for ever
            return "not a file" if path.exists() else _missing(path)
        if path.stat().st_size > MAX_PHOTO_BYTES:
            return f"larger than {MAX_PHOTO_BYTES >> 20} MiB"
        with path.open("rb") as file:
            return formats.rejection_reason(file.read(_START_BYTES))
    except OSError as error:
        return f"unreadable: {error.strerror}"
    except ValueError:  # a CSV file's cell that cannot be a file name
        return "not a file name"


def is_unchanged(path: Path, known: KnownFiles) -> bool:
    """Return whether the file is still the one in `known`; False if it is not in it."""
    entry = known.get(str(path))
    return entry is not None and _fingerprint_now(path) == entry[0]


def content_digest(data: bytes) -> bytes:
    """Return the hash of a file that holds `data`: `CONTENT_DIGEST_BYTES` bytes."""
    return hashlib.blake2b(data, digest_size=CONTENT_DIGEST_BYTES).digest()


def _hash(path: Path) -> tuple[bytes | NotUsableError, list[int]]:
    """Return a file's hash and fingerprint, which is empty if the file changed meanwhile."""
    try:
        # before opening it: a named pipe would wait for ever
        if not stat.S_ISREG(path.stat().st_mode):
            return NotUsableError("not a file"), []
        with path.open("rb") as file:
            before = _fingerprint(os.fstat(file.fileno()))
            digest = hashlib.file_digest(
                file, lambda: hashlib.blake2b(digest_size=CONTENT_DIGEST_BYTES)
            ).digest()
            after = _fingerprint(os.fstat(file.fileno()))
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        return NotUsableError(_missing(path) if is_missing else f"unreadable: {error.strerror}"), []
    return digest, after if before == after else []


def _missing(path: Path) -> str:
    return "a link that leads nowhere" if path.is_symlink() else NO_SUCH_FILE


def _fingerprint_now(path: Path) -> list[int]:
    try:
        return _fingerprint(path.stat())
    except OSError:
        return []


def _fingerprint(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
