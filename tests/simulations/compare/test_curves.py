"""Learning curves: what they are made of, and when they are said to rise."""

import pytest

from fedshelf.simulations.compare.curves import Evaluated, curve_of, merge_curves, rise, still_rises


def test_a_curve_is_of_validation_images_else_of_test_images() -> None:
    told = {"accuracy": 0.5, "images": 8}
    history = [
        {"round": 1, "validation": told, "test": {"accuracy": 0.9, "images": 4}},
        {"round": 2, "validation": None, "test": None},
        {"round": 3, "validation": None, "test": {"accuracy": 0.75, "images": 4}},
    ]
    assert list(curve_of(history)) == [Evaluated(1, 0.5, 8), Evaluated(3, 0.75, 4)]


def test_several_curves_together_count_images_over_the_rounds_that_all_have() -> None:
    one = [Evaluated(1, 0.5, 30), Evaluated(2, 0.8, 30)]
    other = [Evaluated(1, 0.1, 10)]
    assert merge_curves([one, other]) == [(1, pytest.approx((15 + 1) / 40))]
    assert merge_curves([[], []]) == []


def test_a_rise_is_that_of_the_line_through_the_last_third() -> None:
    level = [(number, 0.5) for number in range(1, 7)]
    # of nine rounds, the line is through rounds 6 to 9: 2 points a round, over three rounds
    steps = [*level[:5], (6, 0.50), (7, 0.52), (8, 0.54), (9, 0.56)]
    assert rise(steps) == pytest.approx(6.0)
    assert still_rises(rise(steps))
    assert rise(level) == pytest.approx(0.0)
    assert not still_rises(rise(level))
    assert not still_rises(rise([(1, 0.9), (2, 0.7), (3, 0.6)]))


def test_too_few_rounds_say_nothing_and_few_use_the_last_three() -> None:
    assert rise([]) is None
    assert rise([(1, 0.1), (2, 0.9)]) is None
    assert not still_rises(None)
    assert rise([(1, 0.1), (2, 0.2), (3, 0.3)]) == pytest.approx(20.0)
    assert rise([(5, 0.1), (10, 0.2), (15, 0.2), (20, 0.2)]) == pytest.approx(0.0)
