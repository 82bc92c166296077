"""Buffer for a round's updates until all are there, in memory or on disk.

In memory they stay as they came. On disk they take constant memory.

An update on disk is read again at each access, as memory pages that the system loads and drops.
Iterate one update at a time, or use `common.parameters.aggregation.blocks`: then at most one
update, or one block of all, is in memory.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol, overload

import torch
from torch import Tensor

from fedshelf.common.protocol.messages import Update


class UpdateBuffer(Protocol):
    """Updates of one round, by store."""

    def clear(self) -> None:
        """Drop all updates."""

    def put(self, update: Update) -> None:
        """Hold an update. Raises OSError."""

    def drop(self, store: str) -> None:
        """Drop the update of a store that has one."""

    def updates(self) -> Sequence[Update]:
        """Return the updates, in store order."""


class InMemoryBuffer:
    """Updates that stay in memory: those of a simulation are in memory that its engine owns."""

    def __init__(self) -> None:
        self._updates: dict[str, Update] = {}

    def clear(self) -> None:
        """Drop all updates."""
        self._updates = {}

    def put(self, update: Update) -> None:
        """Hold the update as it is."""
        self._updates[update.store] = update

    def drop(self, store: str) -> None:
        """Drop the update of a store."""
        del self._updates[store]

    def updates(self) -> list[Update]:
        """Return the updates, in store order."""
        return [self._updates[store] for store in sorted(self._updates)]


class DiskBuffer:
    """Updates in files below `directory`, which is removed by `clear` before each round.

    Files are named by numbers, so that nothing that a store sends becomes a file name.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stored: dict[str, _StoredUpdate] = {}
        self._files = 0

    def clear(self) -> None:
        """Drop all updates, and remove the files that an earlier process left. Raises OSError."""
        self._stored = {}
        self._files = 0
        if self._directory.exists():
            shutil.rmtree(self._directory)

    def put(self, update: Update) -> None:
        """Write the update's tensors; nothing of them stays in memory. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        extras = {name: self._write(tensor) for name, tensor in update.extras.items()}
        without_tensors = replace(update, params=torch.empty(0), extras={})
        self._stored[update.store] = _StoredUpdate(
            without_tensors, self._write(update.params), extras
        )

    def drop(self, store: str) -> None:
        """Drop the update of a store, and remove its files."""
        stored = self._stored.pop(store)
        for file in (stored.params, *stored.extras.values()):
            file.path.unlink()

    def updates(self) -> "Spooled":
        """Return the updates in store order, each read at every access."""
        return Spooled([self._stored[store] for store in sorted(self._stored)])

    def _write(self, tensor: Tensor) -> "_VectorFile":
        path = self._directory / f"{self._files:06d}"
        self._files += 1
        with path.open("xb") as file:
            file.write(tensor.detach().cpu().contiguous().numpy().data)
        return _VectorFile(path, tensor.dtype, tensor.shape)


@dataclass(frozen=True)
class _VectorFile:
    """A file with one tensor's bytes, in this machine's byte order: the same process reads them."""

    path: Path
    dtype: torch.dtype
    shape: torch.Size

    def read(self) -> Tensor:
        """Return the tensor as pages of the file, which are released with it.

        Writing to it changes nothing on disk.

        The system decides how many pages around an accessed one count as this process's memory: up
        to 2 MiB.
        """
        if not self.shape.numel():
            return torch.empty(self.shape, dtype=self.dtype)
        return torch.from_file(
            str(self.path), shared=False, size=self.shape.numel(), dtype=self.dtype
        ).view(self.shape)

    def piece(self, begin: int, end: int) -> Tensor:
        """Return the elements [begin, end) of a vector, in memory of their own."""
        count = max(0, min(end, self.shape.numel()) - begin)
        piece = torch.empty(count, dtype=self.dtype)
        with self.path.open("rb", buffering=0) as file:
            file.seek(begin * self.dtype.itemsize)
            read = file.readinto(piece.view(torch.uint8).numpy().data) if count else 0
        if read != piece.nbytes:
            raise OSError(f"{self.path} is cut short.")
        return piece


@dataclass(frozen=True)
class _OnDisk(Update):
    """An update whose parameters are pages of `file`."""

    file: _VectorFile | None = None

    def params_slice(self, begin: int, end: int) -> Tensor:
        assert self.file is not None
        return self.file.piece(begin, end)


@dataclass(frozen=True)
class _StoredUpdate:
    """An update on disk.

    Attributes:
        without_tensors: the update without its tensors
    """

    without_tensors: Update
    params: _VectorFile
    extras: Mapping[str, _VectorFile]

    def read(self) -> Update:
        without_tensors = {
            field.name: getattr(self.without_tensors, field.name)
            for field in fields(self.without_tensors)
        }
        read = {
            "params": self.params.read(),
            "extras": {name: file.read() for name, file in self.extras.items()},
        }
        return _OnDisk(**{**without_tensors, **read, "file": self.params})


class Spooled(Sequence[Update]):
    """Updates on disk, each read at every access."""

    def __init__(self, kept: Sequence[_StoredUpdate]) -> None:
        self._kept = kept

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> Update: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Update]: ...

    def __getitem__(self, index: int | slice) -> Update | Sequence[Update]:
        if isinstance(index, slice):
            return Spooled(self._kept[index])
        return self._kept[index].read()


__all__ = ["DiskBuffer", "InMemoryBuffer", "Spooled", "UpdateBuffer"]
