"""Pairs of classes that a model takes for each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

MAX_CONFUSIONS = 10


def most_confused(
    classes: Sequence[str], confusion: ArrayLike, max_pairs: int = MAX_CONFUSIONS
) -> list[dict[str, Any]]:
    """Return the pairs of classes with the most mistakes between them, most mistakes first.

    Args:
        classes: names of the C classes
        confusion: counts [C, C], row = true class, column = predicted class
        max_pairs: largest number of pairs to return; pairs without a mistake are left out

    Returns:
        For each pair {"images": mistakes both ways, "ways": [{"class", "taken_for", "images", "of",
        "share"}, the other way round]}, the way with more mistakes first.
    """
    counts = np.asarray(confusion, dtype=np.int64).reshape(len(classes), len(classes))
    between = np.triu(counts + counts.T, 1)
    ranked = sorted(zip(*np.nonzero(between), strict=True), key=lambda pair: (-between[pair], pair))
    pairs = []
    for first, second in ranked[:max_pairs]:
        ways = [_way(classes, counts, first, second), _way(classes, counts, second, first)]
        ways.sort(key=lambda way: -way["images"])
        pairs.append({"images": int(between[first, second]), "ways": ways})
    return pairs


def _way(classes: Sequence[str], counts: np.ndarray, truth: int, guess: int) -> dict[str, Any]:
    """Return the mistakes of one way: images of class `truth` that were predicted as `guess`."""
    images = int(counts[truth, guess])
    images_of_class = int(counts[truth].sum())
    share = images / images_of_class if images_of_class else 0.0
    return {
        "class": classes[truth],
        "taken_for": classes[guess],
        "images": images,
        "of": images_of_class,
        "share": share,
    }
