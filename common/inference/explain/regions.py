"""The place of a heat map's evidence in words."""

import numpy as np

from fedshelf.common.inference.predictors.predictor import Floats

# Windows of half a photo's height and width, at its edges and in its middle: they overlap.
_NAMES = (
    ("upper left", "top", "upper right"),
    ("left side", "middle", "right side"),
    ("lower left", "bottom", "lower right"),
)
_WINDOW = 0.5  # of a side, so a quarter of the photo
_MOST = 0.5  # share of the evidence that a window has, for "mostly"


def place_in_words(heat: Floats) -> str:
    """Return where the evidence for a class is, to end the sentence "It is a shirt, ...".

    The photo has nine overlapping windows, each a quarter of it. One that has at least half of all
    evidence for the class is named; an even map has a quarter in each.

    Args:
        heat: float32 [h, w], above 0 where a place speaks for the class
    """
    evidence = np.maximum(heat.astype(np.float64), 0)
    total = evidence.sum()
    if total <= 0:
        return "though no part of the photo speaks for it"
    shares = window_weights(heat.shape[0]) @ evidence @ window_weights(heat.shape[1]).T / total
    row, column = divmod(int(shares.argmax()), 3)
    if shares[row, column] < _MOST:
        return "because of features spread over the whole photo"
    return f"mostly because of the {_NAMES[row][column]}"


def window_weights(cells: int) -> Floats:
    """Return how much of each cell lies in the three windows along one side: float32 [3, cells]."""
    starts = np.arange(3)[:, None] * (1 - _WINDOW) / 2
    edges = np.arange(cells + 1) / cells
    lower = np.maximum(edges[None, :-1], starts)
    upper = np.minimum(edges[None, 1:], starts + _WINDOW)
    return np.asarray(np.maximum(upper - lower, 0) * cells, dtype=np.float32)
