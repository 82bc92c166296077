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
    matched = np.zeros((len(least_overlaps), len(found)), bool)
    if not len(true):
        return matched
    order = np.argsort(-found.scores, kind="stable")
    for row, least in enumerate(least_overlaps):
        left = shared.copy()
        for place in order:
            product = int(left[place].argmax())
            if left[place, product] >= least:
                matched[row, place] = True
                left[:, product] = -1
    return matched
