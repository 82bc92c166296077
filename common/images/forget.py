"""Photos that are gone leave the pixel cache, too: their rows, their hashes and their names."""

import contextlib
import json
import time
from collections.abc import Collection
from pathlib import Path

from common.files import cache_directory, write_atomic
from common.images import contents
from common.images.cache import index_path_of, pixel_name, read_index, remove_interrupted
from common.images.pixel_file import copy_without, digests_of

UNNAMED_SECONDS = 24 * 3600  # a pixel file that no index names is being built, or was left by a killed process


def forget_deleted(root: Path, paths: Collection[Path]) -> int:
    """Take photos that were deleted or changed out of all pixel files of this user; return how many contents went.

    root, paths: a folder of photos and all files in it, for those of them that no index tells of yet

    Raises OSError (disk full): then some of the files are as they were.
    """
    directory, own = cache_directory() / "images", index_path_of(root)
    gone = sum(_forget_deleted_of(path, paths if path == own else ()) for path in sorted(directory.glob("*.json")))
    _remove_unnamed(directory)
    remove_interrupted(directory)
    return gone


def forget_all() -> int:
    """Remove all pixel files of this user with all that is remembered of photos; return the bytes. Raises OSError."""
    directory = cache_directory() / "images"
    files = [path for path in directory.glob("*") if path.is_file()] if directory.is_dir() else []
    size = sum(path.stat().st_size for path in files)
    for path in files:
        path.unlink(missing_ok=True)
    return size


def _forget_deleted_of(index_path: Path, paths: Collection[Path]) -> int:
    """Do so for one folder of photos, whose index this is; paths: files in it that the index need not tell of."""
    index = read_index(index_path)
    read = contents.read({*map(Path, index["files"]), *paths}, index["files"], time.time_ns())
    present = {digest.hex() for digest in read.digests if isinstance(digest, bytes)}
    gone = set[str]()
    pixels, old = {}, []
    for tag, name in index["pixels"].items():
        path = index_path.parent / Path(name).name
        digests = digests_of(path)
        lost = {digest for digest in digests if digest not in present}
        gone |= lost
        if lost:
            old.append(path)
            digests = [digest for digest in digests if digest not in lost]
            path = index_path.parent / pixel_name(tag, digests)
            if digests:
                copy_without(lost, old[-1], path)
        if digests:
            pixels[tag] = path.name
    if gone or read.known.keys() != index["files"].keys():
        _write_index(index_path, {"files": read.known, "pixels": pixels})
    for path in old:
        path.unlink(missing_ok=True)  # whoever has it mapped keeps it until he lets go
    return len(gone)


def _write_index(path: Path, index: "dict[str, Collection[str]]") -> None:
    if index["pixels"]:
        write_atomic(path, lambda file: file.write(json.dumps(index).encode()), private=True)
    else:
        path.unlink(missing_ok=True)


def _remove_unnamed(directory: Path) -> None:
    named = {Path(name).name for path in directory.glob("*.json") for name in read_index(path)["pixels"].values()}
    for path in directory.glob("*.pixels"):
        with contextlib.suppress(FileNotFoundError):  # another process may be removing it too
            if path.name not in named and path.stat().st_mtime < time.time() - UNNAMED_SECONDS:
                path.unlink()
