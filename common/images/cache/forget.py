"""Removal of photos that are gone from the caches: pixels, features, hashes and names.

Photos that cannot be reached for the moment stay in it, for a week: see
`common.images.listing.reachable`.
"""

import contextlib
import json
import time
from collections.abc import Collection
from pathlib import Path

from fedshelf.common.images.cache.cache import (
    index_path_of,
    pixel_file_name,
    read_index,
    remove_stale_builds,
)
from fedshelf.common.images.cache.feature_file import forget_features
from fedshelf.common.images.cache.pixel_file import (
    copy_without,
    pixel_cache_directory,
    read_digests,
)
from fedshelf.common.images.decoding import content_digests
from fedshelf.common.images.listing.reachable import UnreachableError, check_reachable
from fedshelf.common.system.files import write_atomic

# time for which pixels of photos that cannot be reached are kept
UNREACHABLE_SECONDS = 7 * 24 * 3600
# a pixel file that no index names is being built, or was left by a killed process
UNNAMED_SECONDS = 24 * 3600


def forget_deleted(root: Path, paths: Collection[Path], *, is_emptied: bool = False) -> int:
    """Remove photos that were deleted or changed from all pixel files of this user.

    Args:
        root: a folder of photos
        paths: all present and former files in it, as its index may not list them yet
        is_emptied: True if it is sure that there are no photos because they were deleted

    Returns:
        number of contents that were removed

    Raises:
        OSError: the disk is full; then some of the files are as they were
    """
    directory = pixel_cache_directory()
    root_index_path = index_path_of(root)
    gone = 0
    for path in sorted(directory.glob("*.json")):
        is_root = path == root_index_path
        gone += _forget_deleted_of(
            path, paths if is_root else (), is_emptied=is_emptied and is_root
        )
    _remove_unnamed(directory)
    remove_stale_builds(directory)
    return gone


def forget_all() -> int:
    """Remove all pixel files and indexes of this user; return their size in bytes.

    Raises:
        OSError: a file cannot be removed
    """
    directory = pixel_cache_directory()
    files = [path for path in directory.glob("*") if path.is_file()] if directory.is_dir() else []
    size = sum(path.stat().st_size for path in files)
    for path in files:
        path.unlink(missing_ok=True)
    return size


def _forget_deleted_of(index_path: Path, paths: Collection[Path], *, is_emptied: bool) -> int:
    """Remove deleted photos of one folder, whose index this is; return the number of contents.

    paths: files in it that the index may not list
    """
    index = read_index(index_path)
    files = sorted({*map(Path, index["files"]), *paths})
    hashed = content_digests.hash_files(files, index["files"], time.time_ns())
    missing = [
        path
        for path, digest in zip(files, hashed.digests, strict=True)
        if not isinstance(digest, bytes)
    ]
    had_any = bool(files) or any(
        read_digests(index_path.parent / Path(name).name) for name in index["pixels"].values()
    )
    marker = index_path.with_suffix(".unreachable")
    try:
        check_reachable(missing, is_any_left=hashed.has_any() or is_emptied or not had_any)
    except UnreachableError:
        if not marker.exists():
            marker.touch(mode=0o600)
        if marker.stat().st_mtime > time.time() - UNREACHABLE_SECONDS:
            return 0
    marker.unlink(missing_ok=True)
    present = {digest.hex() for digest in hashed.digests if isinstance(digest, bytes)}
    gone = set[str]()
    pixels = {}
    outdated = []
    for tag, name in index["pixels"].items():
        path = index_path.parent / Path(name).name
        digests = read_digests(path)
        lost = {digest for digest in digests if digest not in present}
        gone |= lost
        if lost:
            forget_features(path, lost)
            outdated.append(path)
            digests = [digest for digest in digests if digest not in lost]
            path = index_path.parent / pixel_file_name(tag, digests)
            if digests:
                copy_without(lost, outdated[-1], path)
        if digests:
            pixels[tag] = path.name
    if gone or hashed.known.keys() != index["files"].keys():
        _write_index(index_path, {"files": hashed.known, "pixels": pixels})
    for path in outdated:
        path.unlink(missing_ok=True)  # a process that has it mapped keeps it until it lets go
    return len(gone)


def _write_index(path: Path, index: "dict[str, Collection[str]]") -> None:
    if index["pixels"]:
        write_atomic(path, lambda file: file.write(json.dumps(index).encode()), private=True)
    else:
        path.unlink(missing_ok=True)


def _remove_unnamed(directory: Path) -> None:
    named = {
        Path(name).name
        for path in directory.glob("*.json")
        for name in read_index(path)["pixels"].values()
    }
    for path in directory.glob("*.pixels"):
        with contextlib.suppress(FileNotFoundError):  # another process may be removing it too
            if path.name not in named and path.stat().st_mtime < time.time() - UNNAMED_SECONDS:
                path.unlink()
