"""Pathological label skew: sort by class, cut into equal shards, give K shards to each store.

McMahan et al. 2017, section 3 (arXiv:1602.05629): 200 shards of 300 digits, 2 for each of 100
clients.
"""

import numpy as np

from fedshelf.common.errors import ConfigError
from fedshelf.simulations.partitions.types import Owners, PartitionTask


def assign(task: PartitionTask, k: int) -> Owners:
    """Assign `k` shards, runs of images sorted by class, to each store at random.

    Args:
        task: the images and the stores.
        k: shards of each store, at least 1.

    Returns:
        The position of each image's store, int64 [N].

    Raises:
        ConfigError: there are fewer images than shards.

    >>> labels = np.array([1, 0, 1, 0])
    >>> owners = assign(PartitionTask(labels, 2, 1, np.random.default_rng(0)), k=1)
    >>> bool(owners[0] == owners[2] != owners[1] == owners[3])  # one class for each store
    True
    """
    num_images = len(task.labels)
    num_shards = task.stores * k
    if num_images < num_shards:
        raise ConfigError(
            f"Partition shards:{k} over {task.stores} stores needs at least {num_shards} images,"
            f" one a shard; the data set has {num_images}. Use fewer stores or shards."
        )
    owner_of_shard = task.random.permutation(np.arange(num_shards) % task.stores)
    shard_of_sorted_image = np.arange(num_images) * num_shards // num_images
    owners = np.empty(num_images, np.int64)
    owners[np.argsort(task.labels, kind="stable")] = owner_of_shard[shard_of_sorted_image]
    return owners
