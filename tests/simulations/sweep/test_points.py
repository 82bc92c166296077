"""The points of a sweep, and the rungs of halving."""

from itertools import pairwise

import pytest

from fedshelf.common.errors import ConfigError
from fedshelf.simulations.sweep.halving import rungs
from fedshelf.simulations.sweep.outcome import PointResult, RunResult, rank
from fedshelf.simulations.sweep.points import draw, grid, split_values


def test_settings_with_several_values_make_the_grid() -> None:
    fixed, swept = split_values(
        {
            "train.lr": "0.1, 1",
            "model.name": "cnn,niid-cnn",
            "data.classes": "a,b",
            "run.rounds": "2",
        }
    )
    assert fixed == {"data.classes": "a,b", "run.rounds": "2"}
    assert [tuple(point.values()) for point in grid(swept)] == [
        ("0.1", "cnn"),
        ("0.1", "niid-cnn"),
        ("1", "cnn"),
        ("1", "niid-cnn"),
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"run.seed": "0,1"}, "run.seed got '0,1'"),
        ({"train.lr": "0.1,0.1"}, "expected values that differ"),
        ({"train.lr": "0.1,"}, "expected values that differ"),
    ],
)
def test_what_cannot_be_swept_is_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split_values(settings)


def test_points_are_drawn_once_each_and_by_the_seed() -> None:
    points = grid({"train.lr": [str(number) for number in range(20)]})
    drawn = draw(points, 5, seed=1)
    assert drawn == draw(points, 5, seed=1) != draw(points, 5, seed=2)
    assert [point for point in points if point in drawn] == drawn
    assert draw(points, 20, seed=1) == points
    with pytest.raises(ConfigError, match="has 20 points"):
        draw(points, 21, seed=1)


@pytest.mark.parametrize("points", range(1, 40))
@pytest.mark.parametrize("rounds", [1, 2, 3, 10, 100])
def test_each_rung_has_fewer_points_and_more_rounds(points: int, rounds: int) -> None:
    found = rungs(points, rounds)
    assert found[0][0] == points
    assert found[-1][1] == rounds
    assert len(found) > 1 or points == 1 or rounds < 3
    for (more, short), (fewer, long) in pairwise(found):
        assert more > fewer >= more / 3
        assert 1 <= short <= long / 3


def test_the_best_point_is_first_by_its_mean_and_one_that_failed_is_none() -> None:
    def point(*scores: float, failed: bool = False) -> PointResult:
        runs = {
            seed: RunResult(score, [], {"top3": 2 * score}, 1, 1.0)
            for seed, score in enumerate(scores)
        }
        return PointResult("", runs, {9: "It died."} if failed else {})

    results = [point(0.2, 0.4), point(0.9, failed=True), point(0.5, 0.3), point()]
    assert rank(results, "higher", range(4)) == [2, 0]
    assert rank(results, "lower", range(4)) == [0, 2]
    assert results[2].deviation == pytest.approx(0.141421, abs=1e-6)
    assert point(0.5).deviation is None
    assert point(0.2, 0.4).further_mean("top3") == pytest.approx(0.6)
    assert point(0.2).further_mean("auroc") is None
