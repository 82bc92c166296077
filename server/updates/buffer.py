"""Where updates wait until their round has all of them: as they came, or on disk, in constant memory.

An update on disk is read anew at each access, as memory that the system pages in and forgets again. Whoever looks at
updates one after the other, or at `common.parameters.aggregation.blocks` of all, never has them all in memory.
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
        """Forget all of them."""

    def put(self, update: Update) -> None:
        """Hold an update. Raises OSError."""

    def drop(self, store: str) -> None:
        """Forget the update of a store that has one."""

    def updates(self) -> Sequence[Update]:
        """Those held, in store order."""


class InMemoryBuffer:
    """Updates that stay where they are: a simulation's are in memory that its engine owns."""

    def __init__(self) -> None:
        self._updates: dict[str, Update] = {}

    def clear(self) -> None:
        """Forget all of them."""
        self._updates = {}

    def put(self, update: Update) -> None:
        """Hold it as it is."""
        self._updates[update.store] = update

    def drop(self, store: str) -> None:
        """Forget it."""
        del self._updates[store]

    def updates(self) -> list[Update]:
        """In store order."""
        return [self._updates[store] for store in sorted(self._updates)]


class DiskBuffer:
    """Updates in files below `directory`, which is emptied before each round and removed with `clear`.

    Files are named by numbers, so that nothing of what a store sends becomes a name.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._kept: dict[str, _Kept] = {}
        self._files = 0

    def clear(self) -> None:
        """Forget all of them, and remove what an earlier process left. Raises OSError."""
        self._kept, self._files = {}, 0
        if self._directory.exists():
            shutil.rmtree(self._directory)

    def put(self, update: Update) -> None:
        """Write the update's tensors; nothing of them stays in memory. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        extras = {name: self._write(tensor) for name, tensor in update.extras.items()}
        told = replace(update, params=torch.empty(0), extras={})
        self._kept[update.store] = _Kept(told, self._write(update.params), extras)

    def drop(self, store: str) -> None:
        """Forget it and remove its files."""
        kept = self._kept.pop(store)
        for file in (kept.params, *kept.extras.values()):
            file.path.unlink()

    def updates(self) -> "Spooled":
        """In store order, each read at every access."""
        return Spooled([self._kept[store] for store in sorted(self._kept)])

    def _write(self, tensor: Tensor) -> "_VectorFile":
        path = self._directory / f"{self._files:06d}"
        self._files += 1
        with path.open("xb") as file:
            file.write(tensor.detach().cpu().contiguous().numpy().data)
        return _VectorFile(path, tensor.dtype, tensor.shape)


@dataclass(frozen=True)
class _VectorFile:
    """One tensor's bytes, in this machine's order: who wrote them reads them."""

    path: Path
    dtype: torch.dtype
    shape: torch.Size

    def read(self) -> Tensor:
        """The tensor, as pages of the file that are let go with it; writing to it changes nothing on disk.

        The system decides how many pages around those looked at it shows as this process's: up to 2 MiB.
        """
        if not self.shape.numel():
            return torch.empty(self.shape, dtype=self.dtype)
        return torch.from_file(str(self.path), shared=False, size=self.shape.numel(), dtype=self.dtype).view(self.shape)

    def piece(self, begin: int, end: int) -> Tensor:
        """Elements [begin, end) of a vector, in memory of their own."""
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

    def piece(self, begin: int, end: int) -> Tensor:
        assert self.file is not None
        return self.file.piece(begin, end)


@dataclass(frozen=True)
class _Kept:
    """told: the update without its tensors"""

    told: Update
    params: _VectorFile
    extras: Mapping[str, _VectorFile]

    def read(self) -> Update:
        told = {each.name: getattr(self.told, each.name) for each in fields(self.told)}
        read = {"params": self.params.read(), "extras": {name: file.read() for name, file in self.extras.items()}}
        return _OnDisk(**{**told, **read, "file": self.params})


class Spooled(Sequence[Update]):
    """Updates on disk, each read at every access."""

    def __init__(self, kept: Sequence[_Kept]) -> None:
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
