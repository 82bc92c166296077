"""Cache of decoded data sets: arrays on disk, memory-mapped, named by the hash of the source files.

`datasets/KEY.json` describes a data set whose files hash to KEY; `datasets/KEY-FORMAT/` holds its
pixels and labels in one pixel format. Both are written under another name and renamed, so they are
whole or absent.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding import content_digests
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.types import Images
from fedshelf.common.system.files import cache_directory, write_json, writing_cache

_CACHE_NAME = "data set"  # of this cache, in sentences

Chunk = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class CachedPart:
    """One split to be written to the cache.

    Attributes:
        count: number of rows
        chunks: pixels (uint8 [n, S, S, C]) and labels (int64 [n]) in order; label -1: not usable
        annotations: of scenes, arrays of `count` rows by their names
    """

    count: int
    chunks: Iterable[Chunk]
    annotations: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def key_of(files: Iterable[Path]) -> str:
    """Return a hash of the files' contents, in order.

    Unchanged files are not read again.

    Raises:
        DataError: a file cannot be read, or the cache cannot be written.
    """
    files = [file.resolve() for file in files]
    memory = cache_directory() / "datasets" / "files.json"
    try:
        known_files = content_digests.parse_known_files(json.loads(memory.read_bytes()))
    except (OSError, ValueError):
        known_files = {}
    hashes = content_digests.hash_files(files, known_files, time.time_ns())
    for file, digest in zip(files, hashes.digests, strict=True):
        if not isinstance(digest, bytes):
            raise DataError(f"Cannot use {file}: {digest}.")
    if not known_files.items() >= hashes.known.items():
        with writing_cache(_CACHE_NAME, cache_directory()):
            write_json(memory, known_files | dict(hashes.known))
    return hashlib.blake2b(
        b"".join(d for d in hashes.digests if isinstance(d, bytes)), digest_size=20
    ).hexdigest()


def described(key: str, describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the description of a data set, computed once.

    Args:
        key: the hash of its files
        describe: computes the description, JSON values

    Raises:
        DataError: it cannot be computed, or the cache cannot be written.
    """
    path = cache_directory() / "datasets" / f"{key}.json"
    try:
        description: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        description = describe()
        with writing_cache(_CACHE_NAME, cache_directory()):
            write_json(path, description)
    return description


def decoded(
    key: str, form: PixelFormat, parts: Callable[[], Mapping[str, CachedPart]]
) -> dict[str, Images]:
    """Return the splits of a data set in one pixel format, decoded once.

    Args:
        key: the hash of its files
        form: the pixel format
        parts: decodes the splits if the cache does not have them

    Returns:
        Split -> images, whose pixels are mapped from the cache's files.

    Raises:
        DataError: the cache cannot be written.
    """
    folder = _folder(key, form)
    if not folder.is_dir():
        with writing_cache(_CACHE_NAME, cache_directory()):
            _write(folder, parts())
    return {path.name: _open(path) for path in sorted(folder.iterdir())}


def annotations(key: str, form: PixelFormat, name: str) -> dict[str, Tensor]:
    """Return annotations of a data set that `decoded` has put into the cache: split -> array.

    Args:
        key: the hash of its files
        form: the pixel format
        name: of the annotations (`CachedPart.annotations`)
    """
    paths = sorted(_folder(key, form).glob(f"*/{name}.npy"))
    return {path.parent.name: torch.from_numpy(np.load(path, mmap_mode="c")) for path in paths}


def _folder(key: str, form: PixelFormat) -> Path:
    tag = hashlib.blake2b(form.tag.encode(), digest_size=8).hexdigest()
    return cache_directory() / "datasets" / f"{key}-{tag}"


def _write(folder: Path, parts: Mapping[str, CachedPart]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, part in parts.items():
            (aside / name).mkdir()
            _write_part(aside / name, part)
        with contextlib.suppress(OSError):  # another process built the same: keep its files
            aside.rename(folder)
        if not folder.is_dir():
            raise OSError(f"could not rename {aside} to {folder}")
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_part(folder: Path, part: CachedPart) -> None:
    labels = np.empty(part.count, np.int64)
    done = 0
    with (folder / "pixels.npy").open("wb") as file:
        for pixels, chunk_labels in part.chunks:
            if done == 0:
                header = {
                    "descr": "|u1",
                    "fortran_order": False,
                    "shape": (part.count, *pixels.shape[1:]),
                }
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(pixels).data)
            labels[done : done + len(pixels)] = chunk_labels
            done += len(pixels)
        assert done == part.count > 0, (done, part.count)
        file.flush()
        os.fsync(file.fileno())
    for name, array in {"labels": labels, **part.annotations}.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())


def _open(folder: Path) -> Images:
    labels = torch.from_numpy(np.load(folder / "labels.npy"))
    # Mode "c": private to this process and writable, so torch takes it without copying or warning.
    pixels = torch.from_numpy(np.load(folder / "pixels.npy", mmap_mode="c"))
    return Images(pixels, labels, torch.nonzero(labels >= 0).squeeze(1))
