"""Successive halving: all points train for few rounds, the best third for three times as many.

Jamieson and Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization.
AISTATS 2016, with the factor 3 of Li et al.: Hyperband. JMLR 18(185), 2018.
"""

from math import ceil

FACTOR = 3


def rungs(points: int, rounds: int) -> list[tuple[int, int]]:
    """Return (points that take part, rounds that they shall have done) for each rung.

    The first rung has all points, the last one all rounds. With few rounds there are few rungs, and
    more than one point is left for the last.

    >>> rungs(9, 27)
    [(9, 3), (3, 9), (1, 27)]
    >>> rungs(4, 10)
    [(4, 1), (2, 3), (1, 10)]
    >>> rungs(27, 3)
    [(27, 1), (9, 3)]
    """
    last = 0
    while FACTOR ** (last + 1) <= rounds and FACTOR**last < points:
        last += 1
    return [
        (ceil(points / FACTOR**rung), rounds // FACTOR ** (last - rung)) for rung in range(last + 1)
    ]
