"""The C library's allocator, set up for processes that train or evaluate.

glibc takes blocks of at least 32 MiB from the system one by one and gives each back when it is
freed; it also gives back the free end of its heap. A step of training frees and allocates hundreds
of MB, so the system zeroes the same pages again and again. Here freed memory is kept for the next
step, within bounds. Other C libraries are left alone. Figures are in docs/log.md.
"""

import ctypes
import os
from functools import cache

MAX_KEPT_BLOCK_BYTES = 256 << 20  # a larger block goes back to the system when it is freed
MAX_KEPT_FREE_BYTES = 512 << 20  # more free memory at the end of a heap goes back to the system
# the largest block that glibc before 2.35 agrees to keep
OLD_MAX_KEPT_BLOCK_BYTES = 32 << 20
# option -> the variable with which a user sets it; numbers are those of glibc's malloc.h
_MMAP_THRESHOLD = (-3, "MALLOC_MMAP_THRESHOLD_")
_TRIM_THRESHOLD = (-1, "MALLOC_TRIM_THRESHOLD_")
_TUNABLES = "GLIBC_TUNABLES"
_ARENA_MAX = -8  # also of malloc.h


@cache
def keep_freed_memory() -> tuple[str, ...]:
    """Let this process, its threads and its later forks keep freed memory for their next step.

    A second call does nothing. A setting that the environment has, as one of glibc's variables or
    tunables, stays as it is.

    Returns:
        The variables whose settings were changed; none on a system without glibc.
    """
    glibc = _glibc()
    if glibc is None or "glibc.malloc" in os.environ.get(_TUNABLES, ""):
        return ()
    changed = []
    for (option, variable), values in (
        (_MMAP_THRESHOLD, (MAX_KEPT_BLOCK_BYTES, OLD_MAX_KEPT_BLOCK_BYTES)),
        (_TRIM_THRESHOLD, (MAX_KEPT_FREE_BYTES,)),
    ):
        if variable not in os.environ and any(glibc.mallopt(option, value) for value in values):
            changed.append(variable)
    return tuple(changed)


def limit_arenas(count: int) -> None:
    """Let all threads share a few heaps, for a process that must stay small.

    Args:
        count: of heaps; those that other threads have already stay, so call it early
    """
    glibc = _glibc()
    if glibc is not None:
        glibc.mallopt(_ARENA_MAX, count)


def release_freed_memory() -> None:
    """Give freed memory back to the system, for a process that will be idle for some time."""
    glibc = _glibc()
    if glibc is not None:
        glibc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library of this process if it is glibc."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):  # Windows; musl and macOS
        return None
    return ctypes.CDLL(None) if name and name.startswith("glibc") else None
