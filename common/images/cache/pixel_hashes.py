"""Hashes of the pixels of images, by which features of images are found again.

A pixel file has those of its rows in its trailer, and its mapping in this process is known by its
address: nobody reads all pixels of a folder to name what is known of them.
"""

import hashlib
import weakref
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.images.decoding.parallel import map_in_order

HASH_BYTES = 16
ROWS_PER_TASK = 64  # rows that a thread hashes at a time

PixelHashes = NDArray[np.uint8]
"""Hashes of the pixels of M images, uint8 [M, HASH_BYTES]."""

# address of a mapping -> the mapping while it lives, and the hashes of its rows
_mapped: dict[int, tuple[weakref.ref[NDArray[np.uint8]], PixelHashes]] = {}


def pixel_hash(pixels: NDArray[np.uint8]) -> bytes:
    """Return the hash of one image's pixels, uint8 [H, W, C] in C order."""
    return hashlib.blake2b(pixels.data, digest_size=HASH_BYTES).digest()


def pixel_hashes(pixels: NDArray[np.uint8]) -> PixelHashes:
    """Return the hashes of the pixels of images, uint8 [M, ...]; of a mapped file those it has."""
    mapping, hashes = _mapped.get(pixels.ctypes.data, (None, None))
    if mapping is not None and hashes is not None:
        mapped = mapping()
        # without a mapping that lives, the address may be another array's
        if mapped is not None and (mapped.shape, mapped.strides) == (pixels.shape, pixels.strides):
            return hashes

    def hash_rows(start: int) -> bytes:
        return b"".join(map(pixel_hash, pixels[start : start + ROWS_PER_TASK]))

    return joined(map_in_order(hash_rows, range(0, len(pixels), ROWS_PER_TASK)))


def joined(hashes: Iterable[bytes]) -> PixelHashes:
    """Return hashes as one array."""
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)


def remember(mapped: NDArray[np.uint8], hashes: PixelHashes) -> None:
    """Remember the hashes of the rows of a mapped file, uint8 [M, ...], for as long as it lives."""
    address = mapped.ctypes.data
    _mapped[address] = weakref.ref(mapped, lambda _: _mapped.pop(address, None)), hashes
