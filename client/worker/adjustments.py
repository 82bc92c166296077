"""A store's logit adjustments of models, one for each run; they stay at the store.

See `common.strategies.shared.class_skew`.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fedshelf.client.worker.state_store import KEPT_RUNS
from fedshelf.common.errors import DataError
from fedshelf.common.system.files import write_json

ADJUSTMENTS_FOLDER = "adjustments"  # in a store's home


class Adjustments:
    """One file for each of the last `KEPT_RUNS` runs, `directory/<run>.json`, as of the store's
    last training.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, run_id: str, classes: Sequence[str], added: Tensor | None) -> None:
        """Keep a run's adjustment (float32 [C]); None: the store has none. Raises OSError."""
        path = self._path(run_id)
        if added is None:
            path.unlink(missing_ok=True)
            return
        self._directory.mkdir(mode=0o700, exist_ok=True)
        write_json(path, dict(zip(classes, added.tolist(), strict=True)))
        others = [file for file in self._directory.glob("*.json") if file != path]
        for old in sorted(others, key=lambda file: file.stat().st_mtime)[: 1 - KEPT_RUNS]:
            old.unlink(missing_ok=True)

    def of(self, run_id: str, classes: Sequence[str]) -> Tensor | None:
        """Return a run's adjustment (float32 [C]), in the order of `classes`; None: none was kept.

        Raises DataError.
        """
        path = self._path(run_id)
        if not path.exists():
            return None
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            added = [float(told[name]) for name in classes]
            if len(told) != len(classes) or not all(map(math.isfinite, added)):
                raise ValueError(f"{len(told)} classes, or numbers that are none")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"Cannot read {path} ({error}); it holds what this store adds to the scores of"
                f" {len(classes)} classes."
            ) from error
        return torch.tensor(added)

    def _path(self, run_id: str) -> Path:
        return self._directory / f"{run_id}.json"
