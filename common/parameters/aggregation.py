"""Arithmetic on the vectors of a cohort, shared by strategies: weighted means, and rules for blocks
of values.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 16_384  # coordinates combined at a time
SPANS = 2**22  # coordinates of all vectors together that are read from disk at a time


class VectorSequence:
    """Vectors [P] of one length, read one after the other or piece by piece.

    Here they are those of a list.

    Subclasses may read from disk on each access: drop a vector before you ask for the next one, and
    only one of them is in memory.
    """

    def __init__(self, vectors: Sequence[Tensor]) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, number: int) -> Tensor:
        return self._vectors[number]

    def piece(self, number: int, begin: int, end: int) -> Tensor:
        """Return the coordinates [begin, end) of one vector; fewer at its end."""
        return self[number][begin:end]


@dataclass(frozen=True)
class RowShares:
    """Parts of n vectors that are averaged by shares of their own.

    spans: each consists of C rows of equal length
    shares: float64 [n, C], the share of each vector in each row; a row in which no vector has a
        share is averaged like all else
    """

    spans: tuple[slice, ...]
    shares: Tensor


def weighted_mean(
    vectors: VectorSequence, weights: Sequence[float], rows: RowShares | None = None
) -> Tensor:
    """Return sum_i (w_i / sum_j w_j) v_i, added in the order given; vectors float32 [P], each read
    once.
    """
    total = float(sum(weights))
    assert len(vectors) == len(weights) > 0 < total, (len(vectors), weights)
    by_row = _RowSums(rows, [weight / total for weight in weights]) if rows else None
    mean = torch.empty(0)
    for number, weight in enumerate(weights):
        vector = vectors[number]
        if by_row:
            by_row.add(number, vector)
        mean = mean.add_(vector, alpha=weight / total) if number else vector * (weight / total)
        del vector  # before the next one is asked for
    if by_row:
        by_row.write(mean)
    return mean


class _RowSums:
    """Sums of the rows that have shares of their own.

    usual: the vectors' shares in all other coordinates
    """

    def __init__(self, rows: RowShares, usual: Sequence[float]) -> None:
        self._spans = rows.spans
        usual_shares = torch.tensor(usual, dtype=rows.shares.dtype)[:, None]
        self._shares = torch.where(rows.shares.sum(dim=0) > 0, rows.shares, usual_shares).float()
        self._sums: list[Tensor] = []

    def add(self, number: int, vector: Tensor) -> None:
        """Add the rows of `vector` (float32 [P]), the one at place `number`."""
        share = self._shares[number].to(vector.device)[:, None]
        parts = [vector[span].view(len(share), -1) * share for span in self._spans]
        self._sums = (
            [one + other for one, other in zip(self._sums, parts, strict=True)]
            if self._sums
            else parts
        )

    def write(self, vector: Tensor) -> None:
        """Write the sums into their places in `vector` (float32 [P])."""
        for span, total in zip(self._spans, self._sums, strict=True):
            vector[span] = total.flatten()


def by_blocks(vectors: VectorSequence, rule: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `rule` to all coordinates, some at a time: it maps [n, b] to [b], and may change its
    argument.

    So n vectors [P] never exist a second time, and a block stays in the processor's cache.
    """
    combined = torch.empty_like(vectors[0])
    begin = 0
    for pieces in blocks(vectors):
        end = begin + len(pieces[0])
        combined[begin:end] = rule(torch.stack(pieces))
        begin = end
    return combined


def blocks(vectors: VectorSequence) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same coordinates of n vectors [P], from the first on: n pieces [b] at a time.

    On a CPU b is BLOCK, which fits its cache. On other devices each operation has a starting cost,
    and vectors on disk are read a span at a time. There all pieces together are at most SPANS
    coordinates (or a BLOCK each), however many vectors there are.
    """
    span = max(1, SPANS // len(vectors) // BLOCK) * BLOCK
    for begin in range(0, len(vectors[0]), span):
        spans = [vectors.piece(number, begin, begin + span) for number in range(len(vectors))]
        size = BLOCK if spans[0].device.type == "cpu" else span
        yield from zip(*(part.split(size) for part in spans), strict=True)
        del spans  # before the next ones are read


def sort_rows(block: Tensor) -> None:
    """Sort each column of `block` [n, b] in place.

    On a CPU it compares whole rows, which is many times as fast as sorting column by column
    (Batcher's merge exchange; Knuth, The Art of Computer Programming 3, 5.2.2 M): some n (log n)^2
    operations. On other devices it is one sort, as starting so many operations would take longer
    than their work.
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
    chosen = block.argsort(dim=0, stable=True)[start:stop]
    return torch.zeros_like(block).scatter_(0, chosen, 1 / (stop - start))
