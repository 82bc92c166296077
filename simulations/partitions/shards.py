"""Pathological label skew: sort by class, cut into equal shards, deal K shards to each store.

McMahan et al. 2017, section 3 (arXiv:1602.05629): 200 shards of 300 digits, 2 for each of 100
clients.
"""

import numpy as np

from fedshelf.common.errors import ConfigError
from fedshelf.simulations.partitions.types import Owners, PartitionTask


def deal(task: PartitionTask, k: int) -> Owners:
    """Return the store of each image: int64 [N].

    Raises ConfigError if there are fewer images than shards.
    """
    images = len(task.labels)
    shards = task.stores * k
    if images < shards:
        raise ConfigError(
            f"Partition shards:{k} over {task.stores} stores needs at least {shards} images, one a"
            f" shard; the data set has {images}. Use fewer stores or shards."
        )
    owner_of_shard = task.random.permutation(np.arange(shards) % task.stores)
    owners = np.empty(images, np.int64)
    owners[np.argsort(task.labels, kind="stable")] = owner_of_shard[
        np.arange(images) * shards // images
    ]
    return owners
