"""The allocator keeps freed memory where the C library is glibc, unless the user decides."""

import os
import subprocess
import sys

import pytest

VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
# 128 MiB are freed and taken again, written to each time; a page that the system has to give anew
# counts as a fault
FAULTS_OF_A_LARGE_BLOCK = """
import ctypes, resource, sys
from fedshelf.common.system.allocator import keep_freed_memory, release_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
size = 128 << 20

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(block, 1, size)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = keep_freed_memory()
assert keep_freed_memory() == first, "a second call changes nothing"
print(*first, sep=",")
faults()
print(faults())
release_freed_memory()
print(faults())
"""


def has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):
        return False


def run(**environment: str) -> tuple[str, int, int]:
    """The changes of a fresh process, its page faults for a block it had before, and after release.

    The environment is ours without what decides about the allocator, and with `environment`.
    """
    clean = {
        key: value
        for key, value in os.environ.items()
        if key != "GLIBC_TUNABLES" and not key.startswith("MALLOC_")
    }
    done = subprocess.run(
        [sys.executable, "-c", FAULTS_OF_A_LARGE_BLOCK],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    changed, again, released = done.stdout.splitlines()
    return changed, int(again), int(released)


pytestmark = pytest.mark.skipif(not has_glibc(), reason="the C library is not glibc")
# the fewest faults of 128 MiB: huge pages have 2 MiB, and a block may begin and end within one
FEWEST_FAULTS = 60


def test_a_freed_block_is_taken_again_without_faults_until_it_is_released() -> None:
    changed, again, released = run()
    assert changed == ",".join(VARIABLES)
    assert again < FEWEST_FAULTS // 2
    assert released >= FEWEST_FAULTS


def test_settings_of_the_user_stay() -> None:
    changed, again, _ = run(MALLOC_MMAP_THRESHOLD_="65536")
    assert changed == "MALLOC_TRIM_THRESHOLD_"
    assert again >= FEWEST_FAULTS  # 64 KiB and more go back at once, as the user wants
    assert run(**dict.fromkeys(VARIABLES, "65536"))[0] == ""
    assert run(GLIBC_TUNABLES="glibc.malloc.trim_threshold=65536")[0] == ""
