"""The task of a partition and the types of its answer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Owners = NDArray[np.int64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PartitionTask:
    """Images to be dealt to stores.

    labels:  int64 [N], the class of each image
    stores:  number of stores; an answer holds numbers 0..stores-1
    minimum: images, the least a store should get
    random:  the generator to draw from
    """

    labels: Labels
    stores: int
    minimum: int
    random: np.random.Generator
