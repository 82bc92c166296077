"""A compiler of our C files: shared libraries for this processor, compiled at first use and cached.

    NAME.c + constants --> cc -O3 -march=native --> CACHE/native/NAME-HASH.so --> ctypes

Each takes well under a second. Without a compiler, or after it has failed once, there is no
library, and callers do without. A library that is loaded is executed, so no other user may be able
to write to its folder.
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

from fedshelf.common.errors import ConfigError
from fedshelf.common.system.files import cache_directory, write_atomic
from fedshelf.common.text import sanitize

# The code never reads exceptions and errno of floating-point arithmetic, so comparisons may be
# vectors.
FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-std=gnu11",
    "-shared",
    "-fPIC",
)
COMPILERS = ("cc", "gcc", "clang")
COMPILE_TIMEOUT_SECONDS = 60

LOG = logging.getLogger("fedshelf.native")

# reasons why this process compiles no more: after one failure, no other shape is tried
_failures: list[str] = []


def load_library(source: Path, constants: Mapping[str, int]) -> ctypes.CDLL | None:
    """Return the compiled library of a C file; None if it cannot be compiled here.

    The reason is logged once; after it, this process compiles nothing more.

    Args:
        source: the C file
        constants: names and values of its macros
    """
    compiler = _compiler()
    if compiler is None or _failures:
        return None
    defines = [f"-D{name}={value}" for name, value in constants.items()]
    key = "\0".join([source.read_text(encoding="utf-8"), *compiler, *FLAGS, *defines, _processor()])
    path = (
        cache_directory()
        / "native"
        / f"{source.stem}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.so"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_own(path.parent)
        with suppress(OSError, ConfigError):  # missing, damaged, or not ours alone: compiled anew
            _check_own(path)
            return ctypes.CDLL(str(path))
        _compile([*compiler, *FLAGS, *defines, str(source)], path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError, ConfigError) as error:
        _failures.append(_failure_sentence(error, compiler[0]))
        LOG.warning("%s PyTorch's own, slower operations are used.", _failures[0])
        return None


def has_compiler() -> bool:
    """Return whether there is a compiler at all."""
    return _compiler() is not None


def tensor_address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return the address of the memory of a tensor of any shape; NULL for None."""
    return ctypes.c_void_p(tensor.data_ptr() if tensor is not None else None)


@lru_cache(maxsize=1)
def _compiler() -> tuple[str, ...] | None:
    """Return the command of `$CC` or of the first compiler found; None if there is none."""
    command = shlex.split(os.environ.get("CC", ""))
    path = (
        shutil.which(command[0])
        if command
        else next(filter(None, map(shutil.which, COMPILERS)), None)
    )
    return (path, *command[1:]) if path else None


def _compile(command: list[str], path: Path) -> None:
    """Compile into `path`.

    Raises SubprocessError if the compiler fails or hangs, OSError if the cache cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / path.name
        run = [*command, "-o", str(built)]
        subprocess.run(
            run,
            check=True,
            capture_output=True,
            timeout=COMPILE_TIMEOUT_SECONDS,
            text=True,
            errors="replace",
        )
        write_atomic(path, lambda file: file.write(built.read_bytes()), private=True)


def _check_own(path: Path) -> None:
    """Check that no other user owns `path` or can write to it.

    Raises ConfigError if one can, OSError if it is not there.
    """
    status = path.stat()
    if status.st_uid != os.getuid():
        raise ConfigError(
            f"{path} belongs to another user: what lies there is executed, so remove it."
        )
    if mode := status.st_mode & 0o022:
        raise ConfigError(
            f"{path} can be written by others (mode {status.st_mode & 0o777:03o}, expected no more"
            f" than {status.st_mode & 0o777 & ~mode:03o}), and what lies there is executed:"
            " remove it."
        )


def _failure_sentence(error: Exception, compiler: str) -> str:
    """Return why there is no library, in words."""
    match error:
        case subprocess.TimeoutExpired():
            return f"The C compiler {compiler} took longer than {COMPILE_TIMEOUT_SECONDS} s."
        case subprocess.CalledProcessError():
            lines = [line for line in (error.stderr or "").splitlines() if "error" in line.lower()]
            output = f", and said: {sanitize(lines[0].strip())}" if lines else ""
            return f"The C compiler {compiler} failed with exit code {error.returncode}{output}."
        case OSError():
            return (
                f"A compiled library cannot be kept in {cache_directory()}"
                f" ({error.strerror or error})."
            )
    return str(error)


@lru_cache(maxsize=1)
def _processor() -> str:
    """Return a description of the processor: `-march=native` depends on it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        return next(
            (
                line
                for line in info.read_text().splitlines()
                if line.startswith(("flags", "Features"))
            ),
            "",
        )
    return f"{platform.machine()} {platform.processor()}"
