"""A second split of a data set, dealt as the first was, so that a store's validation resembles its
training.
"""

import numpy as np

from fedshelf.simulations.partitions.types import Labels, Rows


def follow(
    parts: list[Rows], labels: Labels, others: Labels, random: np.random.Generator
) -> list[Rows]:
    """Return for each store its ascending rows of `others` (labels, int64 [M]); every row goes to
    one store.

    An image goes where a random image of its class among `labels` (int64 [N], split into `parts`)
    went, a different one for each as long as there are; so each class is spread in the same
    proportions.
    """
    owner_of = np.empty(len(labels), np.int64)
    for store, rows in enumerate(parts):
        owner_of[rows] = store
    owners = random.integers(len(parts), size=len(others))  # for classes that `labels` lacks
    for label in np.intersect1d(labels, others):
        leaders = random.permutation(np.flatnonzero(labels == label))
        followers = np.flatnonzero(others == label)
        owners[followers] = owner_of[np.resize(leaders, len(followers))]
    sizes = np.bincount(owners, minlength=len(parts))
    return np.split(np.argsort(owners, kind="stable"), np.cumsum(sizes)[:-1])
