"""A cache of decoded photos: memory-mapped files of pixels, named by a hash of their inputs.

    folder of photos ----> ROOT.json     photos' hashes while they are unchanged; name of KEY.pixels
      |                       |
      v                       v
    hashes of contents --> KEY.pixels    a row of pixels for each photo; see `pixel_file`

KEY is a hash of the contents of all photos in order and of the pixel format, so a file can never be
stale; class names are not in it. It is written under a temporary name and renamed, so it is whole
or absent, and two processes that build it at once write the same bytes. When a folder grows, the
rows of its latest pixel file are copied. Both files are for this user only;
`common.images.cache.forget` removes the rows of photos that are gone.
"""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.images.cache.feature_file import forget_features
from fedshelf.common.images.cache.pixel_file import (
    PixelFile,
    check_room,
    make_trailer,
    open_pixel_file,
    pixel_cache_directory,
    read_digests,
    read_verdicts,
)
from fedshelf.common.images.cache.pixel_hashes import pixel_hash
from fedshelf.common.images.decoding import content_digests
from fedshelf.common.images.decoding.decode import (
    NotUsableError,
    PixelFormat,
    decode,
    decoder_versions,
)
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.listing.reachable import check_reachable
from fedshelf.common.system.files import write_atomic, writing_cache

Progress = Callable[[int, int], None]
"""Gets the number of photos that are decoded, and of all that have to be."""

# pixel files of a folder: a server that asks for ever new sizes does not fill the disk
_MAX_FORMATS = 4
# no build takes a day; an older temporary file is from an interrupted one
_STALE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class DecodedPhotos:
    """Photos and their pixels.

    pixels:  uint8 [M, S, S, C], memory-mapped; the photos that are usable, in order
    digests: per photo its content's hash, or the reason why it is not usable
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
        """Return the content's hash of a file that is known and has not changed, else None."""
        if content_digests.is_unchanged(path, self.known):
            return bytes.fromhex(self.known[str(path)][1])
        return None


@dataclass(frozen=True)
class _PhotoFile:
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
    """Return the pixels of photos; decode those that are not in the cache.

    Args:
        root: the folder, or CSV file, to which the photos belong
        paths: the photos
        form: the format of the pixels, S x S x C
        progress: called while photos are decoded; if none has to be, it is not called

    Raises:
        DataError: the cache cannot be written, or a file changes while it is read
        UnreachableError: photos in the cache may still exist where they cannot be read
    """
    directory = pixel_cache_directory()
    index_path = index_path_of(root)
    index = read_index(index_path)
    hashed = content_digests.hash_files(paths, index["files"], time.time_ns())
    check_reachable(
        content_digests.unconfirmed_files(index["files"], hashed),
        is_any_left=hashed.has_any() or not index["files"],
    )
    photos = [
        _PhotoFile(path, digest, form, hashed.known)
        for path, digest in zip(paths, hashed.digests, strict=True)
        if isinstance(digest, bytes)
    ]
    pixel_path = directory / pixel_file_name(form.tag, [photo.digest.hex() for photo in photos])
    earlier_path = directory / index["pixels"].get(form.tag, pixel_path.name)
    with writing_cache("image", directory):
        pixel_file = _open_or_build(pixel_path, earlier_path, photos, form, progress)
        obsolete = _update_index(index_path, index, hashed.known, form.tag, pixel_path.name)
        if earlier_path != pixel_path:
            obsolete.append(earlier_path.name)
        kept = set(pixel_file.digests)
        for name in obsolete:
            obsolete_path = directory / Path(name).name
            # features of deleted photos tell as much as their pixels
            if lost := set(read_digests(obsolete_path)) - kept:
                forget_features(obsolete_path, lost)
            # a process that has the file mapped keeps it until it lets go
            obsolete_path.unlink(missing_ok=True)
    reasons = {digest: NotUsableError(reason) for digest, reason in pixel_file.unusable.items()}
    digests = tuple(
        reasons.get(digest.hex(), digest) if isinstance(digest, bytes) else digest
        for digest in hashed.digests
    )
    return DecodedPhotos(pixel_file.pixels, digests)


def cached_facts(root: Path) -> CachedFacts:
    """Return the facts about the files of `root` from when its photos were last opened.

    They are empty if the photos never were opened.
    """
    index = read_index(index_path_of(root))
    verdicts: dict[str, str] = {}
    for tag, name in index["pixels"].items():
        if tag.endswith(decoder_versions()):  # another decoder may read other photos
            verdicts |= read_verdicts(pixel_cache_directory() / Path(name).name)
    return CachedFacts(index["files"], verdicts)


def index_path_of(root: Path) -> Path:
    """Return the path of the index of a folder's, or a CSV file's, photos."""
    return pixel_cache_directory() / f"{_hash(str(root.resolve()))}.json"


def pixel_file_name(tag: str, digests: Sequence[str]) -> str:
    """Return the name of the pixel file of some photos.

    Args:
        tag: `PixelFormat.tag`
        digests: hashes (hex) of the photos' contents, in order
    """
    return f"{_hash(tag, *digests)}.pixels"


def read_index(path: Path) -> dict[str, Any]:
    """Return an index; an empty one if it is absent or damaged.

    Returns:
        `files`: see `content_digests.KnownFiles`; `pixels`: a format's tag -> name of a pixel file,
        the latest last
    """
    try:
        index = json.loads(path.read_bytes())
        files = content_digests.parse_known_files(index["files"])
        return {"files": files, "pixels": dict(index["pixels"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"files": {}, "pixels": {}}


def remove_stale_builds(directory: Path) -> None:
    """Remove temporary files of builds that were killed long ago."""
    for temporary in directory.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # another process may be removing it too
            if temporary.stat().st_mtime < time.time() - _STALE_SECONDS:
                temporary.unlink()


def _open_or_build(
    path: Path,
    earlier_path: Path,
    photos: Sequence[_PhotoFile],
    form: PixelFormat,
    progress: Progress | None,
) -> PixelFile:
    """Return the pixel file `path` of these photos, built first if it is not there.

    earlier_path: the folder's latest pixel file, whose rows are copied

    Raises DataError, OSError.
    """
    pixel_file = open_pixel_file(path, form)
    if pixel_file is not None and pixel_file.digests == [photo.digest.hex() for photo in photos]:
        return pixel_file
    remove_stale_builds(path.parent)
    earlier = open_pixel_file(earlier_path, form)
    # a full disk in an hour helps nobody: it is known now
    check_room(path.parent, len(photos) * math.prod(form.shape))
    write_atomic(
        path, lambda file: _write_rows(file, photos, form, earlier, progress), private=True
    )
    pixel_file = open_pixel_file(path, form)
    if pixel_file is None:
        raise DataError(f"The image cache {path} was removed while it was being built; try again.")
    return pixel_file


def _update_index(
    path: Path, index: dict[str, Any], known: content_digests.KnownFiles, tag: str, name: str
) -> list[str]:
    """Write what changed in an index; return the names of pixel files that are one too many.

    tag, name: the latest pixel file's format and name

    Raises OSError.
    """
    others = {other_tag: other for other_tag, other in index["pixels"].items() if other_tag != tag}
    pixels = others | {tag: name}
    dropped = [pixels.pop(oldest) for oldest in list(pixels)[:-_MAX_FORMATS]]
    updated = {"files": known, "pixels": pixels}
    # the order of formats counts, too: it is the order of their last use
    if list(pixels) != list(index["pixels"]) or updated != index:
        write_atomic(path, lambda file: file.write(json.dumps(updated).encode()), private=True)
    return dropped


def _write_rows(
    file: BinaryIO,
    photos: Sequence[_PhotoFile],
    form: PixelFormat,
    earlier: PixelFile | None,
    progress: Progress | None,
) -> None:
    """Write rows in order, copied from `earlier` if it has them; then the trailer."""
    rows = earlier.rows() if earlier else {}
    unusable = dict(earlier.unusable) if earlier else {}
    known = rows.keys() | unusable.keys()
    fresh = [photo for photo in photos if photo.digest.hex() not in known]
    decoded = _with_progress(map_in_order(_decode, fresh), len(fresh), progress)
    waiting = {photo.digest for photo in fresh}
    hashes = []
    for photo in photos:
        digest = photo.digest.hex()
        if photo.digest in waiting:
            pixels = next(decoded)
            if isinstance(pixels, NotUsableError):
                unusable[digest] = str(pixels)
            else:
                file.write(pixels.data)
                hashes.append(pixel_hash(pixels).hex())
        elif (row := rows.get(digest)) is not None:
            assert earlier is not None
            file.write(earlier.pixels[row].data)
            known_hash = earlier.hashes[row] if earlier.hashes else None
            hashes.append(known_hash or pixel_hash(earlier.pixels[row]).hex())
    digests = [photo.digest.hex() for photo in photos]
    reasons = {digest: unusable[digest] for digest in digests if digest in unusable}
    file.write(make_trailer(form, digests, reasons, hashes))


def _decode(photo: _PhotoFile) -> NDArray[np.uint8] | NotUsableError:
    """Return the pixels, uint8 [S, S, C], or why there are none. Raises DataError."""
    path = photo.path
    try:
        if path.stat().st_size > content_digests.MAX_PHOTO_BYTES:
            return NotUsableError(f"larger than {content_digests.MAX_PHOTO_BYTES >> 20} MiB")
        content = path.read_bytes()
    except OSError:
        content = b""
    # Hashing a large photo again would take a tenth of the time that decoding it takes.
    if (
        not content_digests.is_unchanged(path, photo.known)
        and content_digests.content_digest(content) != photo.digest
    ):
        raise DataError(
            f"{path} changed while its folder was being read; try again when copying has finished."
        )
    try:
        return decode(content, photo.form)
    except NotUsableError as error:
        return error


def _with_progress(results: Iterator[Any], total: int, progress: Progress | None) -> Iterator[Any]:
    for done, result in enumerate(results, start=1):
        if progress:
            progress(done, total)
        yield result


def _hash(*texts: str) -> str:
    return hashlib.blake2b(
        "\0".join(texts).encode("utf-8", "surrogateescape"), digest_size=20
    ).hexdigest()
