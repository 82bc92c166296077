"""Quantity skew: stores of unequal size, each with the classes in their overall proportions.

NIID-Bench (Li et al. 2022, arXiv:2102.02079, "quantity skew"): sizes ~ Dir(alpha, ..., alpha) over
the stores, drawn again until every store has its minimum.
"""

import numpy as np

from fedshelf.simulations.partitions.dirichlet_draws import portions, redraw
from fedshelf.simulations.partitions.types import Owners, PartitionTask


def deal(task: PartitionTask, alpha: float) -> Owners:
    """Return the store of each image: int64 [N]; `alpha` near 0 gives a few large stores, a large
    one equal sizes.
    """
    return redraw(task, lambda: _draw(task, alpha))


def _draw(task: PartitionTask, alpha: float) -> Owners:
    counts = portions(len(task.labels), alpha, np.full(task.stores, True), task.random)
    return task.random.permutation(np.repeat(np.arange(task.stores), counts))
