"""Arithmetic on the vectors of a cohort: weighted means, rules for blocks of values, sorting."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_COORDINATES = 16_384  # coordinates combined at a time
# coordinates of all vectors together that are read from disk at a time
MAX_READ_COORDINATES = 2**22


class VectorSequence:
    """Vectors [P] of one length, read one after the other or piece by piece; here those of a list.

    Subclasses may read from disk on each access: drop a vector before you ask for the next one, and
    only one of them is in memory.
    """

    def __init__(self, vectors: Sequence[Tensor]) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, index: int) -> Tensor:
        return self._vectors[index]

    def vector_slice(self, index: int, start: int, stop: int) -> Tensor:
        """Return the coordinates [start, stop) of one vector; fewer if it ends before `stop`."""
        return self[index][start:stop]


@dataclass(frozen=True)
class RowShares:
    """Parts of n vectors that are averaged by shares of their own.

    Attributes:
        slices: places in the vectors, each of C rows of equal length
        shares: float64 [n, C], the share of each vector in each row; a row in which no vector has a
            share is averaged like all other coordinates
    """

    slices: tuple[slice, ...]
    shares: Tensor


def weighted_mean(
    vectors: VectorSequence, weights: Sequence[float], row_shares: RowShares | None = None
) -> Tensor:
    """Return the weighted mean sum_i (w_i / sum_j w_j) v_i, added in the order given.

    Args:
        vectors: n vectors float32 [P], each read once
        weights: n weights, none negative, at least one above 0
        row_shares: parts of the vectors that have shares of their own; None: no such parts

    Returns:
        Float32 [P].
    """
    total = float(sum(weights))
    assert len(vectors) == len(weights) > 0 < total, (len(vectors), weights)
    row_sums = _RowSums(row_shares, [weight / total for weight in weights]) if row_shares else None
    mean = torch.empty(0)
    for index, weight in enumerate(weights):
        vector = vectors[index]
        if row_sums:
            row_sums.add(index, vector)
        mean = mean.add_(vector, alpha=weight / total) if index else vector * (weight / total)
        del vector  # before the next one is asked for
    if row_sums:
        row_sums.write(mean)
    return mean


class _RowSums:
    """Sums of the rows that have shares of their own.

    Args:
        row_shares: the rows and the shares
        vector_shares: the vectors' shares in all other coordinates
    """

    def __init__(self, row_shares: RowShares, vector_shares: Sequence[float]) -> None:
        self._slices = row_shares.slices
        vector_column = torch.tensor(vector_shares, dtype=row_shares.shares.dtype)[:, None]
        self._shares = torch.where(
            row_shares.shares.sum(dim=0) > 0, row_shares.shares, vector_column
        ).float()
        self._sums: list[Tensor] = []

    def add(self, index: int, vector: Tensor) -> None:
        """Add the rows of the vector (float32 [P]) with this index."""
        share = self._shares[index].to(vector.device)[:, None]
        weighted_rows = [
            vector[head_slice].view(len(share), -1) * share for head_slice in self._slices
        ]
        self._sums = (
            [one + other for one, other in zip(self._sums, weighted_rows, strict=True)]
            if self._sums
            else weighted_rows
        )

    def write(self, vector: Tensor) -> None:
        """Write the sums into their places in `vector` (float32 [P])."""
        for head_slice, row_sum in zip(self._slices, self._sums, strict=True):
            vector[head_slice] = row_sum.flatten()


def apply_by_blocks(vectors: VectorSequence, rule: Callable[[Tensor], Tensor]) -> Tensor:
    """Return one vector, made by applying a rule to all coordinates, one block after the other.

    So n vectors [P] never exist a second time, and a block stays in the processor's cache.

    Args:
        vectors: n vectors [P]
        rule: maps a block [n, b] to [b]; it may change its argument

    Returns:
        [P].
    """
    combined = torch.empty_like(vectors[0])
    start = 0
    for pieces in blocks(vectors):
        stop = start + len(pieces[0])
        combined[start:stop] = rule(torch.stack(pieces))
        start = stop
    return combined


def blocks(vectors: VectorSequence) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same coordinates of n vectors [P], from the first on: n pieces [b] at a time.

    Vectors on disk are read by slices. All slices together have at most MAX_READ_COORDINATES (or
    BLOCK_COORDINATES each), however many vectors there are. On a CPU, b is BLOCK_COORDINATES, which
    fits its cache. On other devices each operation has a starting cost, so b is a whole slice.
    """
    read_size = (
        max(1, MAX_READ_COORDINATES // len(vectors) // BLOCK_COORDINATES) * BLOCK_COORDINATES
    )
    for start in range(0, len(vectors[0]), read_size):
        slices = [
            vectors.vector_slice(index, start, start + read_size) for index in range(len(vectors))
        ]
        block_size = BLOCK_COORDINATES if slices[0].device.type == "cpu" else read_size
        yield from zip(*(vector_slice.split(block_size) for vector_slice in slices), strict=True)
        del slices  # before the next ones are read


def sort_rows(block: Tensor) -> None:
    """Sort each column of `block` [n, b] in place.

    On a CPU it compares whole rows, which is many times as fast as sorting column by column
    (Batcher's merge exchange; Knuth, The Art of Computer Programming 3, 5.2.2 M): it takes about
    n (log n)^2 operations. On other devices it is one sort, as starting so many operations would
    take longer than their work.
    """
    if block.device.type != "cpu":
        block.copy_(block.sort(dim=0).values)
        return
    half = 1 << max(0, (len(block) - 1).bit_length() - 1)
    step = half
    while step:
        gap = half
        distance = step
        offset = 0
        while True:
            for low in range(len(block) - distance):
                if low & step == offset:
                    smaller = torch.minimum(block[low], block[low + distance])
                    torch.maximum(block[low], block[low + distance], out=block[low + distance])
                    block[low] = smaller
            if gap == step:
                break
            distance = gap - step
            gap = gap // 2
            offset = step
        step //= 2


def rank_shares(block: Tensor, start: int, stop: int) -> Tensor:
    """Return each value's share in the mean of the ranks [start, stop) of its column.

    Of equal values, the first has the lowest rank.

    Args:
        block: [n, b], n vectors' values of b coordinates
        start: first rank that counts, from 0
        stop: rank after the last one that counts

    Returns:
        [n, b]; each column sums to 1.
    """
    positions = block.argsort(dim=0, stable=True)[start:stop]
    return torch.zeros_like(block).scatter_(0, positions, 1 / (stop - start))
