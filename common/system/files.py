"""Files that are never half-written, and the directories of this user.

    write --> .NAME.xyz.tmp --> fsync --> rename to NAME --> fsync of the directory

A reader sees the old file or the new one, also after a power cut.
"""

import errno
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fedshelf.common.errors import ConfigError, DataError


def write_atomic(path: Path, write: Callable[[BinaryIO], object], *, private: bool = False) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`.

    Args:
        path: its folder is made if need be
        write: gets the open file; it may raise
        private: only this user can read the file (mode 0600), from its first byte on

    Raises:
        OSError: disk full, permission; the old file is then untouched and the temporary one removed
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside the file: a rename is atomic within one file system alone
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if not private:  # mkstemp made it private
            temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write bytes atomically.

    Args:
        path: its folder is made if need be
        content: the bytes
        private: see `write_atomic`

    Raises:
        OSError: see `write_atomic`
    """
    write_atomic(path, lambda file: file.write(content), private=private)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically.

    Raises:
        OSError: see `write_atomic`
    """
    write_bytes(path, text.encode())


def write_private(path: Path, text: str) -> None:
    """Write UTF-8 text atomically into a file for this user only (mode 0600).

    Raises:
        OSError: see `write_atomic`
    """
    write_bytes(path, text.encode(), private=True)


def private_directory(path: Path) -> Path:
    """Return the directory, made if need be, that this user alone can enter (mode 0700).

    Raises:
        OSError: it cannot be made
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix" and path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
        path.chmod(0o700)
    return path


def check_private(path: Path) -> None:
    """Check that no other user may read or write `path` (on POSIX).

    Raises:
        ConfigError: another user may
        OSError: there is no such file
    """
    mode = path.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        needed = "700" if path.is_dir() else "600"
        raise ConfigError(
            f"{path} can be used by others on this machine (mode {mode:03o}, expected {needed}); "
            f"keep it to yourself: chmod {needed} {shlex.quote(str(path))}"
        )


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a whole folder: it is there with all its files, or not at all.

    Args:
        path: of the folder; there must be nothing yet
        files: the contents by their names, which may have folders: "release/model.onnx"

    Raises:
        OSError: it is there already, or cannot be written
    """
    if path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        for name, content in files.items():
            write_bytes(unfinished / name, content)
        unfinished.chmod(0o777 & ~_umask())  # mkdtemp made it private
        unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically, a list of plain values on one line.

    Raises:
        OSError: see `write_atomic`
        ValueError: NaN or an infinity, which JSON does not have
    """
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return indented JSON, a list of plain values on one line.

    Raises:
        ValueError: NaN or an infinity, which JSON does not have
    """
    return _indented(value, "\n") + "\n"


def sync_directory(directory: Path) -> None:
    """Make renames in `directory` durable (POSIX; a no-op if directories cannot be opened)."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_directory() -> Path:
    """Return the directory for files that Fedshelf can make again; it may be deleted at any time.

    `FEDSHELF_CACHE` if set, else `$XDG_CACHE_HOME/fedshelf`, else `~/.cache/fedshelf`.
    """
    if directory := os.environ.get("FEDSHELF_CACHE"):
        return Path(directory)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedshelf"


@contextmanager
def writing_cache(name: str, directory: Path) -> Iterator[None]:
    """Turn an error of the disk into a sentence for a person, who can move the cache.

    Args:
        name: the cache, as the sentence calls it
        directory: where it is written

    Raises:
        DataError: for an OSError within the context
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"Cannot write the {name} cache in {directory}: {error.strerror or error}. "
            "Make room there, or set FEDSHELF_CACHE to a folder that can be written."
        ) from error


def state_directory() -> Path:
    """Return the directory for files that must survive: a store's key, policy and audit log.

    `FEDSHELF_HOME` if set, else `$XDG_STATE_HOME/fedshelf`, else `~/.local/state/fedshelf`.
    """
    if directory := os.environ.get("FEDSHELF_HOME"):
        return Path(directory)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fedshelf"


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _indented(value: Any, margin: str) -> str:
    """Return JSON of a value whose lines begin with `margin`, which begins with a line break."""
    inner = margin + "  "
    if isinstance(value, dict) and value:
        assert all(isinstance(name, str) for name in value), "JSON has names, no other keys"
        members = [
            f"{_on_one_line(name)}: {_indented(part, inner)}" for name, part in value.items()
        ]
        return "{" + inner + f",{inner}".join(members) + margin + "}"
    if isinstance(value, list | tuple) and any(
        isinstance(part, dict | list | tuple) for part in value
    ):
        return (
            "[" + inner + f",{inner}".join(_indented(part, inner) for part in value) + margin + "]"
        )
    return _on_one_line(value)


def _on_one_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
