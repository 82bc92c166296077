"""Pairs of classes that a model takes for each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

MAX_CONFUSIONS = 10


def most_confused(
    classes: Sequence[str], confusion: ArrayLike, most: int = MAX_CONFUSIONS
) -> list[dict[str, Any]]:
    """Return the pairs of classes with the most mistakes between them, most first; pairs without
    any are left out.

    confusion: counts [C, C], row = true class

    Each pair is {"images": mistakes both ways, "ways": [{"class", "taken_for", "images", "of",
    "share"}, the other way round]}, the way with more mistakes first.
    """
    counts = np.asarray(confusion, dtype=np.int64).reshape(len(classes), len(classes))
    between = np.triu(counts + counts.T, 1)
    ranked = sorted(zip(*np.nonzero(between), strict=True), key=lambda pair: (-between[pair], pair))
    found = []
    for one, other in ranked[:most]:
        ways = [_way(classes, counts, one, other), _way(classes, counts, other, one)]
        ways.sort(key=lambda way: -way["images"])
        found.append({"images": int(between[one, other]), "ways": ways})
    return found


def _way(classes: Sequence[str], counts: np.ndarray, truth: int, guess: int) -> dict[str, Any]:
    images = int(counts[truth, guess])
    of = int(counts[truth].sum())
    share = images / of if of else 0.0
    return {
        "class": classes[truth],
        "taken_for": classes[guess],
        "images": images,
        "of": of,
        "share": share,
    }
