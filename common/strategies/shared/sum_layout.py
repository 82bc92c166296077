"""A store's update as one vector of ring elements, and the means that the sum of all is read as.

    [ change w | further vectors w | numbers ]       change: float32 [P], scaled to the norm B

Each store i multiplies its vectors by its weight w_i in [0, 1] itself, and sends w_i along: so the
server reads sum_i w_i v_i / sum_i w_i, the weighted mean. In the rows of the head w_i is the weight
of the class, if classes that a store lacks count little (`class_skew`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.config.learning_rate_schedule import learning_rate
from fedshelf.common.parameters.layout import Layout, Tensors
from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.privacy.secure_sum.ring import Ring
from fedshelf.common.protocol.messages import SumTerms, Update
from fedshelf.common.strategies.shared.local_training import normalized_steps

CHANGE = "change"
MAX_LOSS = 100.0  # the loss per image that the sum can tell; a larger one counts as this
SUM_NAME = "(all stores)"  # the name of the update that stands for a sum; no store has it
# times the root mean square of the coordinates at norm B: the largest coordinate in a ring of 16
# bits, where with a range of B itself all but the largest would round to zero
COMPRESSED_RANGE = 8.0


@dataclass(frozen=True)
class StepRange:
    """The normalised steps (`local_training.normalized_steps`) of a round's stores.

    Attributes:
        least, most: of any store
    """

    least: float
    most: float

    @classmethod
    def of_round(cls, config: RunConfig, round_number: int, terms: SumTerms) -> "StepRange":
        """Return the range for stores with one image, up to twice the images of the terms."""
        train = config.train
        lr = learning_rate(train, round_number, config.run.rounds)
        batches = (1, ceil(2 * terms.images / train.batch))
        counts = [n * train.passes for n in batches]
        if config.privacy.is_on:
            counts = [config.privacy.steps] * 2
        return cls(*(normalized_steps(count, lr, train.momentum) for count in counts))


@dataclass(frozen=True)
class SummedUpdate(Update):
    """The mean of a round's updates in place of them: all that a secure sum tells of them.

    Attributes:
        stores: the stores in the sum, sorted
        shortened: how many of them had an update that is longer than `privacy.sum_bound`
        vector_bytes: size of a store's vector on the wire
    """

    stores: tuple[str, ...] = ()
    shortened: int = 0
    vector_bytes: int = 0

    @property
    def wire_bytes(self) -> int:
        """The size of all stores' vectors on the wire, bytes."""
        return self.vector_bytes * len(self.stores)


@dataclass(frozen=True)
class SumMeans:
    """A secure sum, read.

    Attributes:
        vectors: the weighted means, float32, by name
        numbers: sums of the stores' numbers in [0, 1], by name
        images_by_class: float64 [C], sums of the weights of the head's rows; None: no rows' own
    """

    vectors: Tensors
    numbers: Mapping[str, float]
    images_by_class: Tensor | None = None


@dataclass(frozen=True)
class SumLayout:
    """The places of a store's vectors and numbers among its ring elements.

    Attributes:
        ring: the ring
        bound: B, to which the norm of each vector is cut
        vectors: length of each vector by name, the change first
        numbers: names of the numbers in [0, 1]
        left_out: places in the change that stay at the stores
        rows: places of the head's rows in the change, if they have weights of their own
        classes: C, number of these weights; 0 without
    """

    ring: Ring
    bound: float
    vectors: Mapping[str, int]
    numbers: tuple[str, ...]
    left_out: tuple[slice, ...] = ()
    rows: tuple[slice, ...] = ()
    classes: int = 0

    @property
    def range(self) -> float:
        """The largest coordinate."""
        if self.ring.bits == 32:
            return self.bound
        return min(self.bound, COMPRESSED_RANGE * self.bound / sqrt(self.vectors[CHANGE]))

    @property
    def size(self) -> int:
        """Q, the number of ring elements."""
        fine = self.ring.digits * (len(self.numbers) + self.classes)
        return sum(self.vectors.values()) - self._num_left_out + fine

    @property
    def _num_left_out(self) -> int:
        return sum(part.stop - part.start for part in self.left_out)

    def encode(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        numbers: Mapping[str, float],
        weight: float,
        row_weights: NDArray[np.float64] | None,
    ) -> tuple[RingVector, RingVector]:
        """Return a store's ring elements [Q], and those of the change before any are left out [P].

        Args:
            vectors: finite, of a norm of at most `bound`
            numbers: in [0, 1]
            weight: w, in [0, 1]
            row_weights: [C], of the rows of the head; None: they have no weights of their own
        """
        pieces = [self.ring.encode(vector, weight / self.range) for vector in vectors.values()]
        change = pieces[0]
        if row_weights is not None:
            source = next(iter(vectors.values()))
            for rows in self.rows:
                factors = np.repeat(row_weights, (rows.stop - rows.start) // self.classes)
                change[rows] = self.ring.encode(source[rows], factors / self.range)
        told = [numbers[name] for name in self.numbers]
        fine = np.array([*told, *([] if row_weights is None else row_weights)])
        kept = np.delete(change, _places(self.left_out)) if self.left_out else change
        return np.concatenate([kept, *pieces[1:], self.ring.encode_fine(fine)]), change

    def decode(self, total: RingVector, stores: int, *, uniform: bool) -> SumMeans:
        """Return the means of a sum.

        Args:
            total: ring elements [Q]
            stores: number of stores in the sum
            uniform: whether each store's weight was 1, not its share of the images
        """
        fine_size = self.ring.digits * (len(self.numbers) + self.classes)
        fine = self.ring.decode_fine(total[len(total) - fine_size :])
        numbers = dict(zip(self.numbers, fine.tolist(), strict=False))
        weight = float(stores) if uniform else numbers["images"]
        row_weights = fine[len(self.numbers) :] if self.classes else None
        vectors = {}
        start = 0
        for name, length in self.vectors.items():
            left_out = self.left_out if name == CHANGE else ()
            stop = start + length - (self._num_left_out if left_out else 0)
            mean = self.ring.decode(total[start:stop])
            start = stop
            if left_out:
                whole = np.zeros(length)
                whole[np.delete(np.arange(length), _places(left_out))] = mean
                mean = whole
            divisors: NDArray[np.float64] | float = weight / self.range
            if name == CHANGE and row_weights is not None:
                divisors = np.full(length, divisors)
                for rows in self.rows:
                    # rows of classes that no store has hold no change at all
                    own = np.where(row_weights > 0, row_weights, 1.0) / self.range
                    divisors[rows] = np.repeat(own, (rows.stop - rows.start) // self.classes)
            vectors[name] = torch.from_numpy((mean / divisors).astype(np.float32))
        by_class = None if row_weights is None else torch.from_numpy(row_weights)
        return SumMeans(vectors, numbers, by_class)


def of_run(
    config: RunConfig,
    terms: SumTerms,
    layout: Layout,
    vectors: Mapping[str, int],
    numbers: tuple[str, ...],
    left_out: tuple[slice, ...],
) -> SumLayout:
    """Return the layout of a run's sums.

    Args:
        config: the run's settings
        terms: of the order
        layout: of the parameters
        vectors: length of each vector of the strategy, the change first
        numbers: names of the strategy's own numbers
        left_out: places in the change that stay at the stores
    """
    has_rows = config.strategy.absent != "full"
    return SumLayout(
        Ring(terms.stores, 32 if config.messages.compression == "none" else 16),
        config.privacy.sum_bound,
        vectors,
        ("images", "loss", "told", "shortened", *numbers),
        left_out,
        layout.head_slices() if has_rows else (),
        layout.classes if has_rows else 0,
    )


def _places(slices: tuple[slice, ...]) -> NDArray[np.int64]:
    return np.concatenate([np.arange(part.start, part.stop) for part in slices])
