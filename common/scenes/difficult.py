"""Products that are hardly seen: a box around one is neither asked for nor wrong.

Everingham et al. 2010, "The Pascal Visual Object Classes (VOC) Challenge", Section 3.3 and 4.2:
objects that are marked as difficult count neither as missed nor, if they are found, as false.
"""

import numpy as np

from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.matching import match

DIFFICULT = -2
"""The class of a product that is hardly seen."""

LEAST_OVERLAP = 0.5  # of a box with a product that it has found


def counted(found: Boxes, true: Boxes) -> tuple[Boxes, Boxes]:
    """Return the boxes of a network, and the products, by which it is judged.

    Products that are hardly seen are left out, and so are the boxes that have found one of them
    and no other product.

    Args:
        found: boxes of a network
        true: those of the products

    >>> true = Boxes.drawn(np.array([[0, 0, 10, 10], [20, 0, 30, 10]]), np.array([-1, DIFFICULT]))
    >>> found = Boxes.drawn(np.array([[20, 0, 30, 9], [20, 0, 30, 10], [0, 0, 9, 10]]))
    >>> found, true = counted(found, true)
    >>> found.corners.tolist()
    [[20.0, 0.0, 30.0, 10.0], [0.0, 0.0, 9.0, 10.0]]
    >>> true.corners.tolist()
    [[0.0, 0.0, 10.0, 10.0]]
    """
    is_difficult = true.classes == DIFFICULT
    difficult, products = true.select(is_difficult), true.select(~is_difficult)
    without_product = np.flatnonzero(~match(found, products, LEAST_OVERLAP))
    is_left_out = match(found.select(without_product), difficult, LEAST_OVERLAP)
    is_counted = np.ones(len(found), bool)
    is_counted[without_product[is_left_out]] = False
    return found.select(is_counted), products
