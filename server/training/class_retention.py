"""Accuracy on the old classes, before and after a run that goes on from a finished model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshelf.server.results.checkpoints import TrainingState
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.results.scores import Scores
from fedshelf.server.training.resume_model import Origin
from fedshelf.server.training.round_loop import RoundLoop

BEFORE_FILE = "before.json"

Confusions = Mapping[str, NDArray[np.int64]]
"""Confusion matrices [C, C]: the server's under "", or each store's under its name."""


def judge(
    origin: Origin | None, round_loop: RoundLoop, directory: RunDirectory
) -> Confusions | None:
    """Return the confusion matrices of the finished model on the test images.

    The result is None if there is no model.

    The model is judged once, before round 1; later calls read the result from the run directory.

    Raises OSError.
    """
    if origin is None or origin.params is None:
        return None
    path = directory.path / BEFORE_FILE
    if not path.exists():
        matrices = confusions(round_loop.scores(TrainingState(0, origin.params, {})))
        directory.write(BEFORE_FILE, {name: matrix.tolist() for name, matrix in matrices.items()})
    matrices = json.loads(path.read_text(encoding="utf-8"))
    return {name: np.array(matrix, dtype=np.int64) for name, matrix in matrices.items()}


def confusions(scores: Scores) -> Confusions:
    """Return the server's confusion matrix if it has test images, else the stores' raw ones.

    The raw ones are of the model without class offsets: for the earlier model no store has an
    adjustment.
    """
    if scores.test is not None:
        return {"": scores.test.confusion}
    return {name: counts.confusion for name, counts in scores.raw.items()}


def to_summary(
    old: Sequence[str], classes: Sequence[str], before: Confusions | None, after: Confusions
) -> dict[str, Any]:
    """Return the accuracy on old and new classes before and after a run, both on the same images.

    Only the images of those (server or stores) that judged both models count. The old model can
    choose only among the old classes, the new one among all.
    """
    is_old = np.array([name in old for name in classes])
    both = sorted(after.keys() if before is None else before.keys() & after.keys())
    shape = (len(classes), len(classes))
    later = sum((after[name] for name in both), start=np.zeros(shape, np.int64))
    earlier = (
        None
        if before is None
        else sum((before[name] for name in both), start=np.zeros(shape, np.int64))
    )
    return {
        "classes": list(old),
        "new": [name for name in classes if name not in old],
        "on": "server" if both == [""] else "stores",
        "images": int(later[is_old].sum()),
        "before": None if earlier is None else _accuracy(earlier, is_old),
        "after": _accuracy(later, is_old),
        "new_after": _accuracy(later, ~is_old),
        "per_class": {
            name: {
                "images": int(later[label].sum()),
                "before": (
                    None
                    if earlier is None
                    else _accuracy(earlier, np.arange(len(classes)) == label)
                ),
                "after": _accuracy(later, np.arange(len(classes)) == label),
            }
            for label, name in enumerate(classes)
            if name in old
        },
    }


def _accuracy(confusion: NDArray[np.int64], rows: NDArray[np.bool_]) -> float | None:
    """Return the accuracy on the images of the classes `rows` (bool [C]).

    It is None if there are no images.

    Args:
        confusion: int64 [C, C]
    """
    images = int(confusion[rows].sum())
    return float(confusion.diagonal()[rows].sum() / images) if images else None
