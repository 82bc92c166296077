"""Label skew by number of classes: each store sells K classes.

NIID-Bench (Li et al. 2022, arXiv:2102.02079, "quantity-based label imbalance", #C=k): store i
holds class i modulo the number of classes and k - 1 others at random; the images of a class are
dealt in equal parts to the stores that hold it. With fewer stores than classes, the classes that
no store starts with are among the others first, so that no image is left over.
"""

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import ConfigError
from fedshelf.simulations.partitions.types import Owners, PartitionTask


def deal(task: PartitionTask, k: int) -> Owners:
    """Return the store of each image: int64 [N]; every store has images of exactly `k` classes.

    Raises ConfigError if there are fewer than `k` classes, if `k` classes a store cannot hold all
    classes, or if a class has fewer images than stores that hold it.
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
    holds = _assortments(task, k, len(classes))
    for column, label in enumerate(classes):
        images = task.random.permutation(np.flatnonzero(task.labels == label))
        holders = np.flatnonzero(holds[:, column])
        if len(images) < len(holders):
            raise ConfigError(
                f"Partition labels:{k} gives class {label} to {len(holders)} stores, but it has"
                f" only {len(images)} images; use fewer stores."
            )
        owners[images] = holders[np.arange(len(images)) % len(holders)]
    return owners


def _assortments(task: PartitionTask, k: int, classes: int) -> NDArray[np.bool_]:
    """Return which store holds which class: bool [stores, classes], `k` true values a row, no
    column without one.
    """
    stores = np.arange(task.stores)
    urgency = task.random.random((task.stores, classes))
    if task.stores < classes:
        waiting = np.arange(task.stores, classes)
        urgency[(waiting - task.stores) // (k - 1), waiting] = 2
    urgency[stores, stores % classes] = 3
    holds = np.zeros_like(urgency, dtype=bool)
    np.put_along_axis(holds, np.argsort(-urgency, axis=1)[:, :k], True, axis=1)
    return holds
