"""The limit of good pieces: by hand, how many are needed, and the rate that it promises."""

import numpy as np
import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.inference.inspection.good_pieces import learn_good_pieces


def on_circle(degrees: list[float]) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def chord(degrees: float) -> float:
    return 2 * np.sin(np.radians(degrees) / 2)


def test_the_limit_by_hand() -> None:
    """Nearest others are 10, 10, 20 and 40 degrees away; of 4, a rate of 40% takes the third."""
    pieces = learn_good_pieces(on_circle([0, 10, 30, 70]), 0.4)
    assert pieces.limit == pytest.approx(chord(20), abs=1e-3)
    assert pieces.beyond == 1
    assert pieces.distances(3 * on_circle([75, 180])).tolist() == pytest.approx(
        [chord(5), chord(110)], abs=1e-3
    )


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.9, 2)])
def test_too_few_good_pieces_are_refused_with_the_number_needed(rate: float, needed: int) -> None:
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(needed, 4)).astype(np.float32)
    assert len(learn_good_pieces(embeddings, rate).directions) == needed
    with pytest.raises(DataError, match=f"at least {needed}"):
        learn_good_pieces(embeddings[:-1], rate)


def test_copies_of_a_photo_count_once() -> None:
    embeddings = np.repeat(on_circle([0, 10, 30, 70]), 5, axis=0)
    assert len(learn_good_pieces(embeddings, 0.4).directions) == 4


def test_the_rate_of_false_alarms_is_the_wanted_one() -> None:
    """Good pieces of one kind: of further ones, 10% are beyond the limit on average."""
    generator = np.random.default_rng(0)
    rates = []
    covered = []
    for _ in range(60):
        embeddings = (generator.normal(size=(340, 6)) + 2).astype(np.float32)
        pieces = learn_good_pieces(embeddings[:40], 0.1)
        rate = float((pieces.distances(embeddings[40:]) > pieces.limit).mean())
        low, high = pieces.false_alarms
        rates.append(rate)
        covered.append(low <= rate <= high)
    assert 0.07 <= np.mean(rates) <= 0.11
    assert np.mean(covered) >= 0.95
