"""Margins of differences: numbers to check by hand, and their coverage in a simulation with known
truth.
"""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw
from numpy.typing import NDArray

from fedshelf.simulations.compare.statistics.margins import LEVEL, Gain, Paired, gain, holm
from fedshelf.simulations.compare.statistics.students_t import cumulative, quantile

Z = NormalDist().inv_cdf(0.975)


def pairs(*wins: int, store: str = "oslo", first: int = 0) -> Paired:
    return Paired(store, np.arange(first, first + len(wins)), np.array(wins, dtype=np.int64))


def found(*seeds: list[Paired]) -> Gain:
    told = gain(seeds)
    assert told is not None
    return told


@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    # Any table of the t distribution has these.
    [
        (0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 3, 3.1824), (0.975, 4, 2.7764),
        (0.975, 9, 2.2622), (0.995, 5, 4.0321), (0.9995, 2, 31.599), (0.95, 30, 1.6973),
        (0.975, 120, 1.9799), (0.5, 4, 0.0),
    ],
)  # fmt: skip
def test_students_t_is_that_of_the_tables(
    probability: float, degrees: int, expected: float
) -> None:
    assert quantile(probability, degrees) == pytest.approx(
        expected, abs=1e-3 if expected > 30 else 1e-4
    )
    assert cumulative(expected, degrees) == pytest.approx(probability, abs=1e-5)
    assert cumulative(-expected, degrees) == pytest.approx(1 - probability, abs=1e-5)


def test_one_seed_by_hand() -> None:
    # Of 8 images the second model has two more right and loses one: 1/8. p = 3/10, q = 2/10.
    told = found([pairs(0, 0, -1, 1, 1, 0, 0, 0)])
    assert told.points == pytest.approx(12.5)
    assert told.training is None
    assert told.margin() == pytest.approx(100 * Z * math.sqrt((0.3 + 0.2 - 0.01) / 10))


def test_one_image_proves_nothing_in_any_number_of_seeds() -> None:
    for seeds in (1, 2, 3, 10):
        told = found(*[[pairs(1)]] * seeds)
        assert told.points == 100.0
        assert told.margin() > 100


def test_nothing_is_said_of_no_images() -> None:
    assert gain([[pairs()]]) is None
    assert gain([[pairs(), pairs()], [pairs(1), pairs()]]) is None


def test_the_mean_counts_each_store_once() -> None:
    # 50 points of two images, 0 points of four; variances of 1/4 (3/4 + ...): p = 2/4, q = 1/4 of 2
    # + 2 images
    told = found([pairs(1, 0, store="oslo"), pairs(0, 0, 0, 0, store="rome", first=2)])
    assert told.points == pytest.approx(25.0)
    oslo = (2 / 4 + 1 / 4 - (1 / 4) ** 2) / 4
    rome = (1 / 6 + 1 / 6) / 6
    assert told.margin() == pytest.approx(100 * Z * math.sqrt((oslo + rome) / 4))


def test_several_seeds_by_hand() -> None:
    # Seeds give 2/4, 1/4 and 0/4: mean 25 points, standard deviation 25 points.
    told = found([pairs(1, 1, 0, 0)], [pairs(1, 0, 0, 0)], [pairs(0, 0, 1, -1)])
    assert told.seeds == pytest.approx((50.0, 25.0, 0.0))
    assert told.training == pytest.approx(25 / math.sqrt(3))
    # The images' mean answers are 2/3, 1/3, 1/3 and -1/3, and 1 and -1 are added: their mean is
    # 1/6.
    squares = sum((value - 1 / 6) ** 2 for value in (2 / 3, 1 / 3, 1 / 3, -1 / 3, 1, -1))
    assert told.images == pytest.approx(100 * math.sqrt(squares / 36))
    expected = math.hypot(4.3027 * 25 / math.sqrt(3), Z * told.images)
    assert told.margin() == pytest.approx(expected, abs=0.01)


def test_other_images_in_each_seed_say_more_than_the_same_ones() -> None:
    wins = [1, 0, 0, 1, 0, -1, 0, 0] * 8
    same = found(*[[pairs(*wins)] for _ in range(4)])
    others = found(*[[pairs(*wins, first=64 * seed)] for seed in range(4)])
    assert same.images == pytest.approx(found([pairs(*wins)]).images)
    # A quarter of the variance, but for the two images that are added to each store, in all seeds
    # the same ones.
    mean = sum(wins) / 66
    images = sum((win - mean) ** 2 for win in wins)
    added = (1 - mean) ** 2 + (-1 - mean) ** 2
    assert others.images == pytest.approx(100 * math.sqrt(images / 4 + added) / 66)


@given(draw.lists(draw.lists(draw.integers(-1, 1), min_size=3, max_size=3), min_size=1, max_size=4))
def test_a_gain_one_way_is_a_loss_the_other(seeds: list[list[int]]) -> None:
    there = found(*[[pairs(*wins)] for wins in seeds])
    back = found(*[[pairs(*[-win for win in wins])] for wins in seeds])
    assert (there.points, there.margin(), there.p) == pytest.approx(
        (-back.points, back.margin(), back.p), abs=1e-9
    )


@given(draw.lists(draw.floats(-40, 40), min_size=1, max_size=5), draw.floats(0.1, 20))
def test_p_is_the_level_at_which_the_margin_is_reached(seeds: list[float], images: float) -> None:
    told = Gain(tuple(seeds), images, float(np.std(seeds)) if len(seeds) > 1 else None)
    assert (told.p <= LEVEL) == (abs(told.points) >= told.margin()) or told.p == pytest.approx(
        LEVEL
    )
    if 1e-8 < told.p < 1:
        assert told.margin(told.p) == pytest.approx(abs(told.points), rel=1e-4)


def test_holm_by_hand() -> None:
    # smallest of three times 3, the next one times 2, and none less than one before it
    assert holm([0.02, 0.01, 0.04]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.01, 0.012, 0.9]) == pytest.approx([0.03, 0.03, 0.9])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def answers(
    draws: np.random.Generator, seeds: int, images: int, spread: float
) -> NDArray[np.int64]:
    """Wins [S, n] of two kinds of models that are equally good in truth: images differ in how hard
    they are, each training gives a better or worse model (standard deviation `spread`, in probits),
    and the rest is chance.
    """
    hard = draws.normal(0.6, 1.0, images)
    right = [
        hard + draws.normal(0, spread, (seeds, 1)) + draws.normal(size=(seeds, images)) > 0
        for _ in range(2)
    ]
    return right[0].astype(np.int64) - right[1]


def measured(wins: NDArray[np.int64]) -> Gain:
    return found(*[[pairs(*row)] for row in wins.tolist()])


@pytest.mark.parametrize(("seeds", "images"), [(2, 100), (3, 300), (5, 300)])
def test_margins_hold_the_truth_as_often_as_they_say(seeds: int, images: int) -> None:
    draws = np.random.default_rng(seeds)
    gains = [measured(answers(draws, seeds, images, spread=0.3)) for _ in range(400)]
    held = np.mean([abs(told.points) <= told.margin() for told in gains])
    assert 0.94 <= held <= 0.995
    of_images_alone = np.mean([abs(told.points) <= Z * told.images for told in gains])
    assert of_images_alone < held - 0.05  # what margins were that counted test images only


def test_of_twenty_stores_none_is_clear_by_chance_in_most_reports() -> None:
    draws = np.random.default_rng(7)
    false = 0
    uncorrected = 0
    for _ in range(100):
        levels = [measured(answers(draws, 3, 50, spread=0.2)).p for _ in range(20)]
        false += min(holm(levels)) <= LEVEL
        uncorrected += min(levels) <= LEVEL
    assert false <= 5
    assert uncorrected > 5
