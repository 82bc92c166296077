"""Independent and identically distributed: shuffle, then give equal parts to the stores.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
section 3 (arXiv:1602.05629).
"""

import numpy as np

from fedshelf.simulations.partitions.types import Owners, PartitionTask


def assign(task: PartitionTask) -> Owners:
    """Assign images to stores at random; the stores' sizes differ by one image at most.

    Args:
        task: the images and the stores.

    Returns:
        The position of each image's store, int64 [N].

    >>> labels = np.array([0, 0, 0, 1, 1])
    >>> owners = assign(PartitionTask(labels, 2, 1, np.random.default_rng(0)))
    >>> np.bincount(owners).tolist()  # images of each store
    [3, 2]
    """
    return task.random.permutation(np.arange(len(task.labels)) % task.stores)
