"""Shared steps of the partitions that draw proportions: whole images, and the minimum for every
store.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedshelf.simulations.partitions.types import Owners, PartitionTask

MAX_DRAWS = 20


def draw_counts(
    num_images: int, alpha: float, takers: NDArray[np.bool_], random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw how many of `num_images` images each store gets, in proportions from Dir(alpha).

    Args:
        num_images: images to give away.
        alpha: concentration, above 0.
        takers: bool [stores], the stores that may get any; at least one.
        random: the generator to draw from.

    Returns:
        Images of each store, int64 [stores]; their sum is `num_images`.

    >>> takers = np.array([True, False, True])
    >>> counts = draw_counts(100, 0.5, takers, np.random.default_rng(0))
    >>> counts.sum().item(), counts[1].item()
    (100, 0)
    """
    shares = random.dirichlet(np.full(len(takers), alpha)) * takers
    # in the limit of a tiny alpha all goes to one store, which may not be a taker
    if not shares.sum() > 0:
        shares = np.zeros(len(takers))
        shares[random.choice(np.flatnonzero(takers))] = 1
    ends = np.cumsum(shares)
    counts: NDArray[np.int64] = np.diff(
        np.floor(ends / ends[-1] * num_images).astype(np.int64), prepend=0
    )
    return counts


def draw_until_minimum(task: PartitionTask, draw: Callable[[], Owners]) -> Owners:
    """Draw until every store has `task.minimum` images; after `MAX_DRAWS` draws, top up the last.

    Published code draws until the minimum is met. With hundreds of stores, or a small alpha, that
    never happens; so the last draw is repaired, changing as few images as possible.

    Args:
        task: the images and the stores; there must be `task.stores * task.minimum` images.
        draw: draws the position of each image's store, int64 [N].

    Returns:
        The position of each image's store, int64 [N].
    """
    for _ in range(MAX_DRAWS):
        owners = draw()
        if np.bincount(owners, minlength=task.stores).min() >= task.minimum:
            return owners
    return _top_up(owners, task)


def _top_up(owners: Owners, task: PartitionTask) -> Owners:
    """Move random images from the largest stores, levelling these, to the stores below the
    minimum.
    """
    sizes = np.bincount(owners, minlength=task.stores)
    missing = np.maximum(task.minimum - sizes, 0)
    # at_least[t]: stores with t images or more; above[t]: images that stores hold beyond their
    # first t
    at_least = np.bincount(sizes)[::-1].cumsum()[::-1]
    above = at_least[::-1].cumsum()[::-1] - at_least
    level = int(np.flatnonzero(above >= missing.sum())[-1])
    shuffled = task.random.permutation(len(owners))
    grouped = shuffled[np.argsort(owners[shuffled], kind="stable")]
    rank = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    movable = task.random.permutation(grouped[rank >= level])[: missing.sum()]
    topped_up = owners.copy()
    topped_up[movable] = np.repeat(np.arange(task.stores), missing)
    return topped_up
