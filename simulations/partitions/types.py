"""The task of a partition and the types of its result."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
"""The class of each image, as an index: [N]."""

Owners = NDArray[np.int64]
"""The store of each image, as a position from 0 to stores - 1, or NO_STORE: [N]."""

NO_STORE = -1
"""The owner of an image that no store gets."""

Rows = NDArray[np.int64]
"""The images of one store, as ascending positions from 0 to N - 1."""


@dataclass(frozen=True)
class PartitionTask:
    """Images to be assigned to stores.

    labels:  int64 [N], the class of each image
    stores:  number of stores; each `Owners` holds positions 0..stores-1
    minimum: images, the least a store should get
    random:  the generator to draw from
    """

    labels: Labels
    stores: int
    minimum: int
    random: np.random.Generator
