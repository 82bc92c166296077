"""Matches of a network's boxes with products, as the COCO challenge counts them.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and its detection evaluation,
cocodataset.org/#detection-eval: the boxes of a photo, the surest first, each take the product that
they overlap most, among those that are not taken yet, if the overlap is large enough.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.scenes.boxes import Boxes, overlaps


def match(found: Boxes, true: Boxes, least_overlap: float) -> NDArray[np.bool_]:
    """Return which boxes found a product, bool [K].

    Args:
        found: K boxes of a network
        true: those of the products
        least_overlap: intersection over union from which a box has found a product

    >>> true = Boxes.drawn(np.array([[0, 0, 10, 10]]))
    >>> twice = Boxes.drawn(np.array([[0, 0, 10, 9], [0, 0, 10, 10]]))
    >>> match(twice, true, 0.5).tolist()
    [True, False]
    """
    matched: NDArray[np.bool_] = match_at(found, true, [least_overlap])[0]
    return matched


def match_at(found: Boxes, true: Boxes, least_overlaps: Sequence[float]) -> NDArray[np.bool_]:
    """Return which boxes found a product, for each of T least overlaps: bool [T, K]."""
    is_matched: NDArray[np.bool_] = _taken(found, true, least_overlaps) >= 0
    return is_matched


def found_products(found: Boxes, true: Boxes, least_overlap: float) -> NDArray[np.int64]:
    """Return the place of the product that each box found, int64 [K]; -1: none.

    >>> true = Boxes.drawn(np.array([[0, 0, 10, 10], [20, 0, 30, 10]]))
    >>> found = Boxes.drawn(np.array([[20, 0, 30, 9], [20, 0, 30, 10]]))
    >>> found_products(found, true, 0.5).tolist()
    [1, -1]
    """
    products: NDArray[np.int64] = _taken(found, true, [least_overlap])[0]
    return products


def _taken(found: Boxes, true: Boxes, least_overlaps: Sequence[float]) -> NDArray[np.int64]:
    """Return the product that each of K boxes takes, for each of T least overlaps.

    Returns:
        Places of products, int64 [T, K]; -1: none.
    """
    shared = overlaps(found, true)
    least = np.array(least_overlaps, shared.dtype)
    taken = np.full((len(least), len(found)), -1, np.int64)
    if not len(true):
        return taken
    is_left = np.ones((len(least), len(true)), bool)
    for place in np.argsort(-found.scores, kind="stable"):
        if shared[place].max() < least.min():  # as of most boxes
            continue
        left = np.where(is_left, shared[place], -1)
        products = left.argmax(1)
        takes = np.flatnonzero(left.max(1) >= least)
        taken[takes, place] = products[takes]
        is_left[takes, products[takes]] = False
    return taken
