"""Label skew: each class is spread over the stores in proportions drawn from Dir(alpha).

The variant of FedMA (Wang et al. 2020, arXiv:2002.06440) and NIID-Bench (Li et al. 2022,
arXiv:2102.02079, "distribution-based label imbalance"): p_k ~ Dir(alpha, ..., alpha) over the
stores, for each class k; a store that has reached its fair share N / stores gets nothing of the
classes that follow; the whole draw is repeated until every store has its minimum. Not the variant
of Hsu et al. 2019, which draws proportions over classes for each store, all stores being of equal
size.
"""

import numpy as np

from fedshelf.simulations.partitions.dirichlet_draws import draw_counts, draw_until_minimum
from fedshelf.simulations.partitions.types import Owners, PartitionTask


def assign(task: PartitionTask, alpha: float) -> Owners:
    """Assign the images of each class to stores in proportions drawn from Dir(alpha).

    Args:
        task: the images and the stores.
        alpha: concentration, above 0; near 0 a store gets few classes, with a large one all.

    Returns:
        The position of each image's store, int64 [N].

    >>> labels = np.repeat([0, 1], 500)
    >>> owners = assign(PartitionTask(labels, 2, 1, np.random.default_rng(0)), alpha=1e6)
    >>> [round(owners[labels == label].mean().item(), 1) for label in (0, 1)]  # share of store 1
    [0.5, 0.5]
    """
    return draw_until_minimum(task, lambda: _draw_owners(task, alpha))


def _draw_owners(task: PartitionTask, alpha: float) -> Owners:
    owners = np.empty(len(task.labels), np.int64)
    sizes = np.zeros(task.stores, np.int64)
    fair_share = len(task.labels) / task.stores
    for label in np.unique(task.labels):
        images = task.random.permutation(np.flatnonzero(task.labels == label))
        counts = draw_counts(len(images), alpha, sizes < fair_share, task.random)
        owners[images] = np.repeat(np.arange(task.stores), counts)
        sizes += counts
    return owners
