"""The alignment of two sequences at the least cost (Needleman and Wunsch 1970)."""

from collections.abc import Callable

import numpy as np


def align(
    firsts: int,
    seconds: int,
    pair_cost: Callable[[int, int], float],
    first_cost: Callable[[int], float],
    second_cost: Callable[[int], float],
) -> tuple[float, list[tuple[int | None, int | None]]]:
    """Return the least cost, and the alignment: pairs of places, None where one is alone.

    Of two alignments of one cost, the one that pairs the earlier ones is taken.

    Args:
        firsts: length of the first sequence
        seconds: length of the second sequence
        pair_cost: of a place in the first with one in the second
        first_cost: of a place in the first that is alone
        second_cost: of a place in the second that is alone

    >>> align(3, 2, lambda i, j: abs("ABC"[i] != "AC"[j]) * 9, lambda i: 1, lambda j: 1)
    (1.0, [(0, 0), (1, None), (2, 1)])
    """
    # costs[i, j]: of what remains from place i and place j on
    costs = np.zeros((firsts + 1, seconds + 1))
    for i in reversed(range(firsts)):
        costs[i, seconds] = costs[i + 1, seconds] + first_cost(i)
    for j in reversed(range(seconds)):
        costs[firsts, j] = costs[firsts, j + 1] + second_cost(j)
    pairs = np.array([[pair_cost(i, j) for j in range(seconds)] for i in range(firsts)])
    for i in reversed(range(firsts)):
        for j in reversed(range(seconds)):
            costs[i, j] = min(
                pairs[i, j] + costs[i + 1, j + 1],
                first_cost(i) + costs[i + 1, j],
                second_cost(j) + costs[i, j + 1],
            )
    aligned: list[tuple[int | None, int | None]] = []
    i = j = 0
    while i < firsts or j < seconds:
        if i < firsts and j < seconds and costs[i, j] == pairs[i, j] + costs[i + 1, j + 1]:
            aligned.append((i, j))
            i, j = i + 1, j + 1
        elif i < firsts and costs[i, j] == first_cost(i) + costs[i + 1, j]:
            aligned.append((i, None))
            i += 1
        else:
            aligned.append((None, j))
            j += 1
    return float(costs[0, 0]), aligned
