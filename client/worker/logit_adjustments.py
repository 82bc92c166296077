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

    def save(self, run_id: str, classes: Sequence[str], adjustment: Tensor | None) -> None:
        """Keep a run's adjustment (float32 [C]); None: the store has none. Raises OSError."""
        path = self._path(run_id)
        if adjustment is None:
            path.unlink(missing_ok=True)
            return
        self._directory.mkdir(mode=0o700, exist_ok=True)
        write_json(path, dict(zip(classes, adjustment.tolist(), strict=True)))
        others = [file for file in self._directory.glob("*.json") if file != path]
        for old in sorted(others, key=lambda file: file.stat().st_mtime)[: 1 - KEPT_RUNS]:
            old.unlink(missing_ok=True)

    def load(self, run_id: str, classes: Sequence[str]) -> Tensor | None:
        """Return a run's adjustment (float32 [C]), in the order of `classes`; None: none was kept.

        Raises DataError.
        """
        path = self._path(run_id)
        if not path.exists():
            return None
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            adjustment = [float(stored[name]) for name in classes]
            if len(stored) != len(classes) or not all(map(math.isfinite, adjustment)):
                raise ValueError(f"{len(stored)} classes, or values that are not numbers")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"Cannot read {path} ({error}); it holds what this store adds to the scores of"
                f" {len(classes)} classes."
            ) from error
        return torch.tensor(adjustment)

    def _path(self, run_id: str) -> Path:
        return self._directory / f"{run_id}.json"
