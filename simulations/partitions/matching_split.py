"""A second split of a data set, assigned to stores as the first was, so that a store's validation
images resemble its training images.
"""

import numpy as np

from fedshelf.simulations.partitions.types import NO_STORE, Labels, Rows


def assign_alike(
    parts: list[Rows], labels: Labels, others: Labels, random: np.random.Generator
) -> list[Rows]:
    """Assign other images to stores in the proportions in which a first split was assigned.

    An image goes where a random image of its class in the first split went, a different one for
    each as long as there are; so each class is spread in the same proportions. Images of the first
    split that are at no store lead nobody.

    Args:
        parts: of each store, the positions of its images in the first split.
        labels: classes of the first split's images, int64 [N].
        others: classes of the images to assign, int64 [M].
        random: the generator to draw from.

    Returns:
        Of each store, the ascending positions of its images in `others`; each goes to one store.

    >>> parts = [np.array([0, 1]), np.array([2, 3])]  # one store has class 5, the other class 7
    >>> train_labels = np.array([5, 5, 7, 7])
    >>> validation_labels = np.array([7, 5])
    >>> validation = assign_alike(
    ...     parts, train_labels, validation_labels, np.random.default_rng(0)
    ... )
    >>> [rows.tolist() for rows in validation]
    [[1], [0]]
    """
    owner_of = np.full(len(labels), NO_STORE, np.int64)
    for store, rows in enumerate(parts):
        owner_of[rows] = store
    owners = random.integers(len(parts), size=len(others))  # for classes that `labels` lacks
    is_dealt = owner_of != NO_STORE
    for label in np.intersect1d(labels[is_dealt], others):
        leaders = random.permutation(np.flatnonzero((labels == label) & is_dealt))
        followers = np.flatnonzero(others == label)
        owners[followers] = owner_of[np.resize(leaders, len(followers))]
    sizes = np.bincount(owners, minlength=len(parts))
    return np.split(np.argsort(owners, kind="stable"), np.cumsum(sizes)[:-1])
