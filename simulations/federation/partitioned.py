"""Stores that are selections of one shared array, described when asked for, so that thousands of
them cost little.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.seeding import rng
from fedshelf.simulations.partitions.types import Rows


@dataclass(frozen=True)
class PartitionedImages:
    """Images dealt to S stores: store i has rows[ends[i]:ends[i + 1]].

    images: the shared pixels and labels
    rows:   int64 [N], rows of `images.inputs`, store after store
    ends:   int64 [S + 1], from 0 to N
    """

    images: Images
    rows: Tensor
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, images: Images, parts: Sequence[Rows]) -> "PartitionedImages":
        """Return the images at these positions (int64, counted within `images`), a part for each
        store.
        """
        sizes = [len(part) for part in parts]
        return cls(
            images, images.rows[torch.from_numpy(np.concatenate(parts))], np.cumsum([0, *sizes])
        )

    def __getitem__(self, store: int) -> Images:
        """Return the images of the store with this number."""
        return self.images.at(self.rows[self.ends[store] : self.ends[store + 1]])

    def map_images(self, change: Callable[[Images], Images]) -> "PartitionedImages":
        """Return the same parts after a change of the images, whose rows stay where they are."""
        changed = change(self.images.at(self.rows))
        return replace(self, images=changed)

    def table(self, classes: int) -> list[list[int]]:
        """Count the images of each store and class: S lists of `classes` counts."""
        stores = len(self.ends) - 1
        labels = self.images.labels[self.rows].numpy()
        owners = np.repeat(np.arange(stores), np.diff(self.ends))
        counts = np.bincount(owners * classes + labels, minlength=stores * classes).reshape(
            stores, classes
        )
        table: list[list[int]] = counts.tolist()
        return table

    def hold_out(
        self, share: float, seed: int, names: Sequence[str]
    ) -> tuple["PartitionedImages", "PartitionedImages"]:
        """Split off `share` of each store's images at random, leaving at least one: (kept, held
        out).
        """
        sizes = np.diff(self.ends)
        counts = np.minimum((share * sizes).astype(np.int64), sizes - 1)
        held = np.zeros(len(self.rows), bool)
        for store in np.flatnonzero(counts > 0).tolist():
            order = rng(seed, "holdout", names[store]).permutation(sizes[store])
            held[self.ends[store] + order[: counts[store]]] = True
        return self._select(~held, sizes - counts), self._select(held, counts)

    def _select(self, chosen: NDArray[np.bool_], sizes: NDArray[np.int64]) -> "PartitionedImages":
        return PartitionedImages(
            self.images,
            self.rows[torch.from_numpy(chosen)],
            np.concatenate(([0], np.cumsum(sizes))),
        )


class PartitionedStores(Mapping[str, StoreData]):
    """The images of the stores that a data set was dealt to, by name; none has test images of its
    own.
    """

    def __init__(
        self, names: Sequence[str], train: PartitionedImages, validation: PartitionedImages
    ) -> None:
        self._index_of_store = {name: index for index, name in enumerate(names)}
        self._train = train
        self._validation = validation
        self._test = train.images.select(torch.empty(0, dtype=torch.int64))

    def __getitem__(self, name: str) -> StoreData:
        index = self._index_of_store[name]
        return StoreData(self._train[index], self._validation[index], self._test)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index_of_store)

    def __len__(self) -> int:
        return len(self._index_of_store)

    def map_images(
        self, training: Callable[[Images], Images], held_out: Callable[[Images], Images]
    ) -> "PartitionedStores":
        """Return the same stores after a change of the shared images.

        Args:
            training: changes the images to train on; rows stay where they are.
            held_out: changes the images for validation.
        """
        return PartitionedStores(
            list(self), self._train.map_images(training), self._validation.map_images(held_out)
        )

    def table(self, classes: int) -> dict[str, list[int]]:
        """Count the training images of each class, by store name."""
        return dict(zip(self._index_of_store, self._train.table(classes), strict=True))


def pool_images(sets: Sequence[Images]) -> Images:
    """Return the images of several sets as one.

    Sets of one array share it; others are copied into a new one.

    Args:
        sets: at least one.

    Returns:
        All images, set after set.
    """
    first = sets[0]
    if all(images.inputs.data_ptr() == first.inputs.data_ptr() for images in sets):
        return first.at(torch.cat([images.rows for images in sets]))
    inputs = torch.cat([images.inputs.index_select(0, images.rows) for images in sets])
    labels = torch.cat([images.targets() for images in sets])
    return Images(inputs, labels, torch.arange(len(labels)), _pool_annotations(sets))


def _pool_annotations(sets: Sequence[Images]) -> Tensor | None:
    """Return the annotations of several sets as one array; shorter lists of boxes are padded."""
    parts = [
        images.annotations.index_select(0, images.rows)
        for images in sets
        if images.annotations is not None
    ]
    if not parts:
        return None
    assert len(parts) == len(sets), "all sets are of scenes, or none is"
    longest = max(part.shape[1] for part in parts)
    padding = [[0, 0] * (part.ndim - 2) + [0, longest - part.shape[1]] for part in parts]
    return torch.cat([functional.pad(part, pad) for part, pad in zip(parts, padding, strict=True)])
