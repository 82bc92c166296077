"""Quantity skew: stores of unequal size, each with the classes in their overall proportions.

NIID-Bench (Li et al. 2022, arXiv:2102.02079, "quantity skew"): sizes ~ Dir(alpha, ..., alpha) over
the stores, drawn again until every store has its minimum.
"""

import numpy as np

from fedshelf.simulations.partitions.dirichlet_draws import draw_counts, draw_until_minimum
from fedshelf.simulations.partitions.types import Owners, PartitionTask


def assign(task: PartitionTask, alpha: float) -> Owners:
    """Assign images to stores whose sizes are drawn from Dir(alpha).

    Args:
        task: the images and the stores.
        alpha: concentration, above 0; near 0 gives a few large stores, a large one equal sizes.

    Returns:
        The position of each image's store, int64 [N].

    >>> labels = np.repeat([0, 1], 500)
    >>> owners = assign(PartitionTask(labels, 2, 1, np.random.default_rng(0)), alpha=1e6)
    >>> abs(np.bincount(owners)[0].item() - 500) < 10  # images of the first store
    True
    """
    return draw_until_minimum(task, lambda: _draw_owners(task, alpha))


def _draw_owners(task: PartitionTask, alpha: float) -> Owners:
    counts = draw_counts(len(task.labels), alpha, np.full(task.stores, True), task.random)
    return task.random.permutation(np.repeat(np.arange(task.stores), counts))
