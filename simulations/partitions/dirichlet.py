"""Label skew: each class is spread over the stores in proportions drawn from Dir(alpha).

The variant of FedMA (Wang et al. 2020, arXiv:2002.06440) and NIID-Bench (Li et al. 2022,
arXiv:2102.02079, "distribution-based label imbalance"): p_k ~ Dir(alpha, ..., alpha) over the
stores, for each class k; a store that has reached its fair share N / stores gets nothing of the
classes that follow; the whole draw is repeated until every store has its minimum. Not the variant
of Hsu et al. 2019, which draws proportions over classes for each store, all stores being of equal
size.
"""

import numpy as np

from fedshelf.simulations.partitions.dirichlet_draws import portions, redraw
from fedshelf.simulations.partitions.types import Owners, PartitionTask


def deal(task: PartitionTask, alpha: float) -> Owners:
    """Return the store of each image: int64 [N]; `alpha` near 0 gives a store few classes, a large
    one all.
    """
    return redraw(task, lambda: _draw(task, alpha))


def _draw(task: PartitionTask, alpha: float) -> Owners:
    owners = np.empty(len(task.labels), np.int64)
    sizes = np.zeros(task.stores, np.int64)
    fair_share = len(task.labels) / task.stores
    for label in np.unique(task.labels):
        images = task.random.permutation(np.flatnonzero(task.labels == label))
        counts = portions(len(images), alpha, sizes < fair_share, task.random)
        owners[images] = np.repeat(np.arange(task.stores), counts)
        sizes += counts
    return owners
