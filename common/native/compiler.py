"""C files of ours as shared libraries for this very processor, compiled at first use and kept in the cache.

Each takes well under a second. Without a compiler there is no library, and callers do without.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from common.files import cache_directory, write_atomic

# Exceptions and errno of floating-point arithmetic are never looked at, so comparisons may be vectors.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=gnu11", "-shared", "-fPIC")
COMPILERS = ("cc", "gcc", "clang")
SECONDS = 60

LOG = logging.getLogger("fedshelf.native")


def library(source: Path, constants: Mapping[str, int]) -> ctypes.CDLL | None:
    """The library of `source` with `constants` defined, or None if it cannot be compiled here."""
    compiler = _compiler()
    if compiler is None:
        return None
    defines = [f"-D{name}={value}" for name, value in constants.items()]
    key = "\0".join([source.read_text(encoding="utf-8"), *compiler, *FLAGS, *defines, _processor()])
    path = cache_directory() / "native" / f"{source.stem}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.so"
    with suppress(OSError):  # missing, or damaged
        if path.stat().st_uid == os.getuid():  # what is loaded is executed: nobody else may have put it there
            return ctypes.CDLL(str(path))
    try:
        _compile([*compiler, *FLAGS, *defines, str(source)], path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        LOG.warning("%s cannot be compiled here (%s); PyTorch's own, slower operations are used.", source.name, error)
        return None


def is_available() -> bool:
    """Whether there is a compiler at all."""
    return _compiler() is not None


def address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's memory begins, for a library's function; NULL for None."""
    return ctypes.c_void_p(tensor.data_ptr() if tensor is not None else None)


@lru_cache(maxsize=1)
def _compiler() -> tuple[str, ...] | None:
    """The command of `$CC` or of the first compiler found."""
    chosen = shlex.split(os.environ.get("CC", ""))
    found = shutil.which(chosen[0]) if chosen else next(filter(None, map(shutil.which, COMPILERS)), None)
    return (found, *chosen[1:]) if found else None


def _compile(command: list[str], path: Path) -> None:
    """Raises SubprocessError if the compiler fails or hangs, OSError if the cache cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / path.name
        subprocess.run([*command, "-o", str(built)], check=True, capture_output=True, timeout=SECONDS)
        write_atomic(path, lambda file: file.write(built.read_bytes()))


@lru_cache(maxsize=1)
def _processor() -> str:
    """What `-march=native` depends on."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        return next((line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()}"
