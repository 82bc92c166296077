"""A cache of decoded photos: a memory-mapped file of pixels on disk, whose name is a hash of all
its inputs.

`images/KEY.pixels` is a `pixel_file`. KEY is a hash of the contents of all files in order and of
the pixel format, so a file can never be stale; class names are not in it. It is written under a
temporary name and renamed, so it is whole or absent, and two processes that build it at once write
the same bytes. `images/ROOT.json` keeps, for one folder, the hashes of unchanged files and its
latest pixel file, whose rows are copied when the folder grows. Both are for this user only;
`common.images.cache.forget` removes the rows of photos that are gone.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.images.cache.location import pixel_folder
from fedshelf.common.images.cache.pixel_file import (
    PixelFile,
    make_trailer,
    open_pixel_file,
    read_verdicts,
)
from fedshelf.common.images.decoding import content_digests
from fedshelf.common.images.decoding.decode import (
    NotUsableError,
    PixelFormat,
    decode,
    decoder_versions,
)
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.listing.reachable import check_reachable
from fedshelf.common.system.files import private_directory, write_atomic

Progress = Callable[[int, int], None]

# pixel files of a folder: a server that asks for ever new sizes does not fill the disk ...
_KEPT_FORMS = 4
_RESERVE = 2**28  # bytes, and leaves room for more important files
# no build takes a day; an older temporary file is from an interrupted one
_STALE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class DecodedPhotos:
    """Files and their pixels.

    pixels:  uint8 [M, S, S, C], memory-mapped; the files that are usable, in order
    digests: per file its content's hash, or the reason why it is not usable
    """

    pixels: NDArray[np.uint8]
    digests: tuple[bytes | NotUsableError, ...]


@dataclass(frozen=True)
class CachedFacts:
    """Facts about a folder's files, kept since its photos were last opened.

    known:    fingerprints and hashes of files that had settled; see `content_digests.hash_files`
    verdicts: content's hash (hex) -> why such a photo cannot be decoded; empty if it can
    """

    known: content_digests.KnownFiles
    verdicts: Mapping[str, str]

    def digest(self, path: Path) -> bytes | None:
        """Return the content's hash of a file that has not changed; None if it has, or is not
        known.
        """
        return (
            bytes.fromhex(self.known[str(path)][1])
            if content_digests.is_unchanged(path, self.known)
            else None
        )


@dataclass(frozen=True)
class _CachedFile:
    """A file to be decoded.

    digest: its content's hash
    known:  fingerprints of files that had settled when they were hashed
    """

    path: Path
    digest: bytes
    form: PixelFormat
    known: content_digests.KnownFiles


def open_pixels(
    root: Path, paths: Sequence[Path], form: PixelFormat, progress: Progress | None = None
) -> DecodedPhotos:
    """Return the pixels of these files of the folder (or CSV file) `root`; decode those that are
    not in the cache.

    progress: gets (done, total) while files are decoded; if none has to be, it is not called

    Raises DataError if the cache cannot be written or a file changes while it is read,
    UnreachableError if photos in the cache may still exist where they cannot be read.
    """
    directory = pixel_folder()
    index_path = index_path_of(root)
    index = read_index(index_path)
    read = content_digests.hash_files(paths, index["files"], time.time_ns())
    check_reachable(
        content_digests.unconfirmed_files(index["files"], read),
        is_any_left=read.has_any() or not index["files"],
    )
    files = [
        (path, digest)
        for path, digest in zip(paths, read.digests, strict=True)
        if isinstance(digest, bytes)
    ]
    digests = [digest.hex() for _, digest in files]
    pixel_path = directory / pixel_file_name(form.tag, digests)
    earlier_path = directory / index["pixels"].get(form.tag, pixel_path.name)
    stored = open_pixel_file(pixel_path, form)
    try:
        if stored is None or stored.digests != digests:
            remove_stale_builds(directory)
            earlier = open_pixel_file(earlier_path, form)
            sources = [_CachedFile(path, digest, form, read.known) for path, digest in files]
            _check_room(directory, len(sources) * math.prod(form.shape))
            write_atomic(
                pixel_path,
                lambda file: _write(file, sources, form, earlier, progress),
                private=True,
            )
            stored = open_pixel_file(pixel_path, form)
            if stored is None:
                raise DataError(
                    f"The image cache {pixel_path} was removed while it was being built; try again."
                )
        pixels = {tag: name for tag, name in index["pixels"].items() if tag != form.tag} | {
            form.tag: pixel_path.name
        }
        dropped = [pixels.pop(tag) for tag in list(pixels)[:-_KEPT_FORMS]]
        updated = {"files": read.known, "pixels": pixels}
        if list(pixels) != list(index["pixels"]) or updated != index:
            write_atomic(
                index_path, lambda file: file.write(json.dumps(updated).encode()), private=True
            )
        for name in dropped:
            (directory / Path(name).name).unlink(missing_ok=True)
        if earlier_path != pixel_path:
            earlier_path.unlink(missing_ok=True)  # a process that has it mapped keeps it
    except OSError as error:
        raise DataError(
            f"Cannot write the image cache in {directory}: {error.strerror or error}. "
            "Make room there, or set FEDSHELF_CACHE to a folder that can be written."
        ) from error
    reasons = {digest: NotUsableError(reason) for digest, reason in stored.unusable.items()}
    results = tuple(reasons.get(d.hex(), d) if isinstance(d, bytes) else d for d in read.digests)
    return DecodedPhotos(stored.pixels, results)


def cached_facts(root: Path) -> CachedFacts:
    """Return the facts about the files of `root` from when its photos were last opened; empty if
    they never were.
    """
    index = read_index(index_path_of(root))
    verdicts: dict[str, str] = {}
    for tag, name in index["pixels"].items():
        if tag.endswith(decoder_versions()):  # another decoder may read other photos
            verdicts |= read_verdicts(pixel_folder() / Path(name).name)
    return CachedFacts(index["files"], verdicts)


def _check_room(directory: Path, size: int) -> None:
    """Raise OSError if a file of so many bytes would fill the disk."""
    private_directory(directory)
    if shutil.disk_usage(directory).free < size + _RESERVE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def _write(
    file: BinaryIO,
    sources: Sequence[_CachedFile],
    form: PixelFormat,
    earlier: PixelFile | None,
    progress: Progress | None,
) -> None:
    """Write rows in order, copied from `earlier` if it has them; then the trailer."""
    rows = earlier.rows() if earlier else {}
    unusable = dict(earlier.unusable) if earlier else {}
    known = rows.keys() | unusable.keys()
    fresh = [source for source in sources if source.digest.hex() not in known]
    decoded = _counted(map_in_order(_decode, fresh), len(fresh), progress)
    waiting = {source.digest for source in fresh}
    for digest in (source.digest for source in sources):
        if digest in waiting:
            result = next(decoded)
            if isinstance(result, NotUsableError):
                unusable[digest.hex()] = str(result)
            else:
                file.write(result.data)
        elif (row := rows.get(digest.hex())) is not None:
            assert earlier is not None
            file.write(earlier.pixels[row].data)
    digests = [source.digest.hex() for source in sources]
    kept = {digest: unusable[digest] for digest in digests if digest in unusable}
    file.write(make_trailer(form, digests, kept))


def _decode(source: _CachedFile) -> NDArray[np.uint8] | NotUsableError:
    path = source.path
    try:
        if path.stat().st_size > content_digests.MAX_PHOTO_BYTES:
            return NotUsableError(f"larger than {content_digests.MAX_PHOTO_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError:
        data = b""
    # Hashing a large photo again would take a tenth of the time that decoding it takes.
    if (
        not content_digests.is_unchanged(path, source.known)
        and content_digests.content_digest(data) != source.digest
    ):
        raise DataError(
            f"{path} changed while its folder was being read; try again when copying has finished."
        )
    try:
        return decode(data, source.form)
    except NotUsableError as error:
        return error


def _counted(results: Iterator[Any], total: int, progress: Progress | None) -> Iterator[Any]:
    for done, result in enumerate(results, start=1):
        if progress:
            progress(done, total)
        yield result


def index_path_of(root: Path) -> Path:
    """Return the path of the index of a folder's, or a CSV file's, photos."""
    return pixel_folder() / f"{_hash(str(root.resolve()))}.json"


def pixel_file_name(tag: str, digests: Sequence[str]) -> str:
    """Return the name of the pixel file for contents with these hashes (hex), in order, in a
    format's `tag`.
    """
    return f"{_hash(tag, *digests)}.pixels"


def read_index(path: Path) -> dict[str, Any]:
    """Return an index; empty if it is damaged.

    It has `files`, see `content_digests.KnownFiles`, and `pixels`, format -> name of a pixel file.
    """
    try:
        index = json.loads(path.read_bytes())
        files = {
            name: (list(fingerprint), str(digest))
            for name, (fingerprint, digest) in index["files"].items()
        }
        return {"files": files, "pixels": dict(index["pixels"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"files": {}, "pixels": {}}


def remove_stale_builds(directory: Path) -> None:
    """Remove temporary files of builds that were killed long ago."""
    for left in directory.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # another process may be removing it too
            if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                left.unlink()


def _hash(*texts: str) -> str:
    return hashlib.blake2b(
        "\0".join(texts).encode("utf-8", "surrogateescape"), digest_size=20
    ).hexdigest()
