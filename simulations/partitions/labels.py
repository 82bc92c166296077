"""Label skew by number of classes: each store sells K classes.

NIID-Bench (Li et al. 2022, arXiv:2102.02079, "quantity-based label imbalance", #C=k): store i
holds class i modulo the number of classes and k - 1 others at random; the images of a class are
given in equal parts to the stores that hold it. With fewer stores than classes, the classes that
no store starts with are among the others first, so that no image is left over.
"""

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import ConfigError
from fedshelf.simulations.partitions.types import Owners, PartitionTask


def assign(task: PartitionTask, k: int) -> Owners:
    """Assign images so that every store has images of exactly `k` classes.

    Args:
        task: the images and the stores.
        k: classes of each store, at least 1.

    Returns:
        The position of each image's store, int64 [N].

    Raises:
        ConfigError: there are fewer than `k` classes, `k` classes a store cannot hold all classes,
            or a class has fewer images than stores that hold it.

    >>> labels = np.repeat([0, 1, 2, 3], 10)
    >>> owners = assign(PartitionTask(labels, 4, 1, np.random.default_rng(0)), k=2)
    >>> [len(np.unique(labels[owners == store])) for store in range(4)]
    [2, 2, 2, 2]
    """
    classes = np.unique(task.labels)
    if k > len(classes):
        raise ConfigError(
            f"Partition labels:{k} asks for {k} classes a store; the data set has {len(classes)}."
        )
    if task.stores * k < len(classes):
        raise ConfigError(
            f"Partition labels:{k} over {task.stores} stores holds at most {task.stores * k} of the"
            f" {len(classes)} classes; use more stores or a larger K."
        )
    owners = np.empty(len(task.labels), np.int64)
    holds_class = _draw_classes(task, k, len(classes))
    for class_index, label in enumerate(classes):
        images = task.random.permutation(np.flatnonzero(task.labels == label))
        holders = np.flatnonzero(holds_class[:, class_index])
        if len(images) < len(holders):
            raise ConfigError(
                f"Partition labels:{k} gives class {label} to {len(holders)} stores, but it has"
                f" only {len(images)} images; use fewer stores."
            )
        owners[images] = holders[np.arange(len(images)) % len(holders)]
    return owners


def _draw_classes(task: PartitionTask, k: int, num_classes: int) -> NDArray[np.bool_]:
    """Draw the classes of each store: bool [stores, classes], `k` true values a row, no column
    without one.
    """
    stores = np.arange(task.stores)
    # each store takes the k classes of highest priority: its own, those that nobody starts with,
    # then any at random
    priority = task.random.random((task.stores, num_classes))
    if task.stores < num_classes:
        without_store = np.arange(task.stores, num_classes)
        priority[(without_store - task.stores) // (k - 1), without_store] = 2
    priority[stores, stores % num_classes] = 3
    holds_class = np.zeros_like(priority, dtype=bool)
    np.put_along_axis(holds_class, np.argsort(-priority, axis=1)[:, :k], True, axis=1)
    return holds_class
