"""McNemar's exact test, by hand and by counting all outcomes."""

from itertools import product

import pytest

from fedshelf.common.metrics.mcnemar import mcnemar_p


def test_five_against_none_is_two_of_thirty_two() -> None:
    assert mcnemar_p(5, 0) == mcnemar_p(0, 5) == 2 / 32


def test_equal_counts_or_none_differ_in_nothing() -> None:
    assert mcnemar_p(0, 0) == mcnemar_p(7, 7) == 1.0


@pytest.mark.parametrize(("one", "other"), [(1, 4), (3, 9), (6, 7), (2, 12)])
def test_it_is_the_share_of_outcomes_that_are_as_uneven(one: int, other: int) -> None:
    images = one + other
    tosses = [sum(outcome) for outcome in product((0, 1), repeat=images)]
    uneven = sum(abs(images - 2 * heads) >= abs(one - other) for heads in tosses)
    assert mcnemar_p(one, other) == pytest.approx(uneven / 2**images, rel=1e-12)
