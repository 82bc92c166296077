"""What a strategy's client half keeps between a store's rounds, on the store's own disk.

A state file is named by the round that wrote it, and a round reads the latest one before it. So a
round that is trained again after a crash starts from the same state as the first time.
"""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from common.errors import RunError
from common.files import write_atomic
from common.params import Tensors


class StateStore:
    """The states of stores, as `directory/<run>/<store>/round-000012.safetensors`; the latest two are kept."""

    KEEP = 2

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, run_id: str, store: str, round: int) -> dict[str, Tensor]:
        """The state before `round`: of the latest earlier round, or empty. Raises RunError if it is damaged."""
        earlier = [(number, path) for number, path in self._files(run_id, store) if number < round]
        if not earlier:
            return {}
        try:
            return load_file(max(earlier)[1])
        except (SafetensorError, OSError) as error:
            raise RunError(
                f"The state that {store} kept of round {max(earlier)[0]} cannot be read: {error}."
            ) from error

    def save(self, run_id: str, store: str, round: int, state: Tensors) -> None:
        """Keep `state` as that of `round`. Raises OSError."""
        path = self._directory / run_id / store / f"round-{round:06d}.safetensors"
        content = save({name: tensor.contiguous().cpu() for name, tensor in state.items()})
        write_atomic(path, lambda file: file.write(content))
        for number, old in sorted(self._files(run_id, store))[: -self.KEEP]:
            if number < round:
                old.unlink(missing_ok=True)

    def _files(self, run_id: str, store: str) -> list[tuple[int, Path]]:
        paths = (self._directory / run_id / store).glob("round-*.safetensors")
        return [(int(path.stem.removeprefix("round-")), path) for path in paths]
