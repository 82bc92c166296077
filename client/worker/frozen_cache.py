"""Frozen parameters that a store has received: kept in memory and on disk, so that they are sent
once.
"""

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models import published_weights
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.serialization import frozen_sha256
from fedshelf.common.system.files import cache_directory, write_atomic
from fedshelf.common.training.fit import Network

# vectors on disk: a run has one, and a server cannot fill the disk with more
MAX_FROZEN_VECTORS = 2


class FrozenCache:
    """A `common.protocol.serialization.FrozenStore`: the latest vector in memory, the latest few
    under `directory`.

    `directory` defaults to "frozen" in the cache directory. A file that is damaged counts as
    absent.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or cache_directory() / "frozen"
        self._latest: tuple[str, Tensor] | None = None

    def get(self, sha256: str, spec: ModelSpec) -> Tensor | None:
        """Return the vector (float32 [F]) with this SHA-256, or None.

        Args:
            sha256: what the order names.
            spec: the network whose part it is; its published weights may be installed here.
        """
        if self._latest is None or self._latest[0] != sha256:
            if (vector := self._read(sha256)) is None:
                vector = _installed(spec)
                if vector is None or frozen_sha256(vector) != sha256:
                    return None
            self._latest = (sha256, vector)
        return self._latest[1]

    def put(self, sha256: str, vector: Tensor) -> None:
        """Keep `vector` (float32 [F]), on a full disk in memory only."""
        self._latest = (sha256, vector)
        try:
            write_atomic(self._path(sha256), lambda file: file.write(save({"frozen": vector})))
            for old in sorted(
                self._directory.glob("*.safetensors"), key=lambda path: path.stat().st_mtime
            )[:-MAX_FROZEN_VECTORS]:
                old.unlink(missing_ok=True)
        except OSError:
            return

    def _read(self, sha256: str) -> Tensor | None:
        if not re.fullmatch("[0-9a-f]{64}", sha256):  # it becomes a file name
            return None
        try:
            vector = load(self._path(sha256).read_bytes())["frozen"]
        except (OSError, SafetensorError, KeyError):
            return None
        return vector if frozen_sha256(vector) == sha256 else None

    def _path(self, sha256: str) -> Path:
        return self._directory / f"{sha256}.safetensors"


def _installed(spec: ModelSpec) -> Tensor | None:
    """Return the frozen part (float32 [F]) of a network with the published weights on this machine.

    None if there are none, or nothing of the network is frozen.
    """
    try:
        weights = published_weights.find(spec.name, may_fetch=False)
        return Network(spec, torch.device("cpu"), weights=weights).frozen()
    except (ConfigError, DataError):
        return None
