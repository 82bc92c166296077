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
    shared = overlaps(found, true)
    order = np.argsort(-found.scores, kind="stable")
    taken = [_take(shared, order, least) for least in least_overlaps]
    return np.array(taken).reshape(len(least_overlaps), len(found)) >= 0


def found_products(found: Boxes, true: Boxes, least_overlap: float) -> NDArray[np.int64]:
    """Return the place of the product that each box found, int64 [K]; -1: none.

    >>> true = Boxes.drawn(np.array([[0, 0, 10, 10], [20, 0, 30, 10]]))
    >>> found = Boxes.drawn(np.array([[20, 0, 30, 9], [20, 0, 30, 10]]))
    >>> found_products(found, true, 0.5).tolist()
    [1, -1]
    """
    order = np.argsort(-found.scores, kind="stable")
    return _take(overlaps(found, true), order, least_overlap)


def _take(
    shared: NDArray[np.float32], order: NDArray[np.int64], least_overlap: float
) -> NDArray[np.int64]:
    """Return the product that each box takes, int64 [K]; -1: none.

    Args:
        shared: overlaps of K boxes and L products, float32 [K, L]
        order: int64 [K], the boxes in the order in which they take products
        least_overlap: see `match`
    """
    taken = np.full(len(shared), -1, np.int64)
    if not shared.shape[1]:
        return taken
    left = shared.copy()
    for place in order:
        product = int(left[place].argmax())
        if left[place, product] >= least_overlap:
            taken[place] = product
            left[:, product] = -1
    return taken
