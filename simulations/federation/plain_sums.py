"""The sum of simulated stores' vectors: that of a secure sum, whose masks cancel out exactly."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from fedshelf.common.protocol.messages import Failure, Summand, SumTotal


def plain_sum(
    round_number: int, answers: Iterable[Summand | Failure]
) -> Iterator[SumTotal | Failure]:
    """Yield the failures among the answers to an order, then the sum of all vectors, if any came.

    It is taken in the ring, so the order of the answers changes nothing.
    """
    stores = []
    total: Tensor | None = None
    for answer in answers:
        if isinstance(answer, Failure):
            yield answer
            continue
        stores.append(answer.store)
        total = answer.vector.clone() if total is None else total.add_(answer.vector)
    if total is not None:
        yield SumTotal(round_number, tuple(sorted(stores)), total)
