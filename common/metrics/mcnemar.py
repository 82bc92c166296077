"""McNemar's test: do two classifiers that saw the same images err equally often?"""

import math


def mcnemar_p(only_first_right: int, only_second_right: int) -> float:
    """Return the probability of a difference at least so great, were both equally good.

    Of the n images that one alone told rightly, each has it by chance: p = 2 P(X <= min(b, c)) with
    X ~ Binomial(n, 1/2), at most 1 (McNemar, "Note on the sampling error of the difference between
    correlated proportions or percentages", Psychometrika 12, 1947; the exact form).

    Args:
        only_first_right: number of images, b
        only_second_right: number of images, c
    """
    images = only_first_right + only_second_right
    least = min(only_first_right, only_second_right)
    below = sum(math.comb(images, count) for count in range(least + 1))
    return min(1.0, 2 * below / (1 << images))
