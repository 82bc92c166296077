"""Limits on the size of photos and on the memory to decode them: a person's own, and strangers'.

A few kilobytes can claim any number of pixels. We measured the bytes of memory that decoding takes
per pixel, with 24 megapixels and Pillow 13: JPEG almost none, as it is decoded at a fraction of its
size, but progressive JPEG 6; PNG, TIFF, GIF, BMP, AVIF and HEIC 4 to 9, and up to 12 with
transparency or with 32 bits; WebP 16, for its decoder keeps two canvases.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

# most memory that decoding takes
_BYTES_PER_PIXEL = 12
_WEBP_BYTES_PER_PIXEL = 17


@dataclass(frozen=True)
class Limits:
    """Limits for decoding photos.

    max_pixels: pixels of a photo
    max_costly_pixels: pixels of a photo with transparency or in WebP
    memory_bytes: memory that all decodes under these limits take together, beside the files
        themselves; a photo that needs more is decoded alone
    max_decodes: decodes at a time; None: as many as the memory allows
    """

    max_pixels: int
    max_costly_pixels: int
    memory_bytes: int
    max_decodes: int | None = None

    def rejection_reason(self, width: int, height: int, *, is_costly: bool) -> str:
        """Return why a photo of this size (pixels) is not decoded; empty if it is."""
        max_pixels = self.max_costly_pixels if is_costly else self.max_pixels
        return f"too large: {width} x {height} pixels" if width * height > max_pixels else ""


# Pillow's own limit against decompression bombs: a quarter of a GiB of RGB
_PILLOW_MAX_PIXELS = 89_478_485

LOCAL_LIMITS = Limits(
    max_pixels=_PILLOW_MAX_PIXELS, max_costly_pixels=_PILLOW_MAX_PIXELS, memory_bytes=2**31
)
"""For a person's own photos: all that cameras write, in 2 GiB at most."""

SERVICE_LIMITS = Limits(
    max_pixels=25_000_000, max_costly_pixels=12_000_000, memory_bytes=600_000_000, max_decodes=2
)
"""For photos of strangers, some of whom try to crash the machine."""


def memory_needed(pixels: int, *, is_webp: bool) -> int:
    """Return the most memory, in bytes, that decoding so many pixels takes."""
    return pixels * (_WEBP_BYTES_PER_PIXEL if is_webp else _BYTES_PER_PIXEL)


@contextmanager
def reserve_memory(limits: Limits, needed: int) -> Iterator[None]:
    """Wait until a decode may begin; it ends with the context.

    Args:
        limits: those of this decode and of all others that are under way with them
        needed: bytes of memory that it takes
    """
    with _ledger(limits).entry(needed):
        yield


class _Ledger:
    """A count of the decodes under way under one set of limits, in all threads of this process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._decodes = 0
        self._memory_bytes = 0

    @contextmanager
    def entry(self, needed: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(needed))
            self._decodes += 1
            self._memory_bytes += needed
        try:
            yield
        finally:
            with self._changed:
                self._decodes -= 1
                self._memory_bytes -= needed
                self._changed.notify_all()

    def _has_room(self, needed: int) -> bool:
        if not self._decodes:
            return True
        max_decodes = self._limits.max_decodes
        return self._memory_bytes + needed <= self._limits.memory_bytes and (
            max_decodes is None or self._decodes < max_decodes
        )


@cache
def _ledger(limits: Limits) -> _Ledger:
    return _Ledger(limits)
