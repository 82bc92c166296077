"""State that a strategy's client half keeps between a store's rounds, on the store's own disk.

A state file is named by the round that wrote it, and a round reads the latest one before it. So a
round that is trained again after a crash starts from the same state as the first time.
"""

import shutil
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fedshelf.common.errors import RunError
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import TrainOrder
from fedshelf.common.system.files import write_atomic

KEPT_RUNS = 8


class States(Protocol):
    """Storage of stores' states between rounds."""

    def load(self, run_id: str, store: str, round_number: int) -> Tensors:
        """Return the state before a round: that of the latest earlier round, or empty.

        Shapes are those that the strategy's client half gave them.
        """

    def save(self, order: TrainOrder, store: str, state: Tensors) -> None:
        """Keep `state` as that of the order's round.

        The states of the order's rounds `committed` and `best` must stay available.
        """


class StateStore:
    """The states of stores, as `directory/<run>/<store>/round-000012.safetensors`.

    It keeps the states since the last committed round, and the latest one up to that round and up
    to the best round, of the last `KEPT_RUNS` runs of the store: a server cannot fill the disk
    with invented runs.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, run_id: str, store: str, round_number: int) -> dict[str, Tensor]:
        """Return the state before a round: that of the latest earlier round, or empty.

        Shapes are those that the strategy's client half gave them.

        Raises RunError if the file is damaged.
        """
        earlier = [
            (earlier_round, path)
            for earlier_round, path in self._files(run_id, store)
            if earlier_round < round_number
        ]
        if not earlier:
            return {}
        try:
            return load_file(max(earlier)[1])
        except (SafetensorError, OSError) as error:
            raise RunError(
                f"The state that {store} kept of round {max(earlier)[0]} cannot be read: {error}."
            ) from error

    def save(self, order: TrainOrder, store: str, state: Tensors) -> None:
        """Keep `state` as that of the order's round. Raises OSError."""
        run_id = order.plan.run_id
        path = self._directory / run_id / store / f"round-{order.round:06d}.safetensors"
        if not path.parent.exists():
            self._forget_runs(store)
        content = save({name: tensor.contiguous().cpu() for name, tensor in state.items()})
        write_atomic(path, lambda file: file.write(content))
        settled = sorted(item for item in self._files(run_id, store) if item[0] <= order.committed)
        needed = [item for item in settled if item[0] <= order.best][-1:] + settled[-1:]
        for state_round, old in settled:
            if (state_round, old) not in needed:
                old.unlink(missing_ok=True)

    def _forget_runs(self, store: str) -> None:
        """Remove old runs to make room for one more."""
        folders = [run / store for run in self._directory.glob("*") if (run / store).is_dir()]
        for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime)[: 1 - KEPT_RUNS]:
            shutil.rmtree(folder, ignore_errors=True)

    def _files(self, run_id: str, store: str) -> list[tuple[int, Path]]:
        folder = self._directory / run_id / store
        # the usual case: most strategies keep no state, and this runs every round
        if not folder.is_dir():
            return []
        return [
            (int(path.stem.removeprefix("round-")), path)
            for path in folder.glob("round-*.safetensors")
        ]
