"""Independent and identically distributed: shuffle, then deal equal parts.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
section 3 (arXiv:1602.05629).
"""

import numpy as np

from fedshelf.simulations.partitions.types import Owners, PartitionTask


def deal(task: PartitionTask) -> Owners:
    """Return the store of each image: int64 [N]; sizes differ by one image at most."""
    return task.random.permutation(np.arange(len(task.labels)) % task.stores)
