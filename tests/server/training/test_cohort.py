"""Sampling depends on names, seed and round alone."""

from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.config import CohortConfig
from fedshelf.server.training.cohort import sample

names = draw.lists(
    draw.text("abcdef", min_size=1, max_size=4), unique=True, min_size=1, max_size=30
)


@given(names, draw.floats(0.01, 1.0), draw.integers(1, 100))
def test_sample_is_a_sorted_subset_of_the_right_size(
    present: list[str], fraction: float, round: int
) -> None:
    chosen = sample(present, CohortConfig(fraction=fraction), 7, round)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(present)
    assert len(chosen) == max(1, min(len(present), int(fraction * len(present) + 0.5)))


@given(names, draw.randoms())
def test_order_of_arrival_changes_nothing(present: list[str], shuffler) -> None:
    shuffled = list(present)
    shuffler.shuffle(shuffled)
    config = CohortConfig(fraction=0.5)
    assert sample(present, config, 1, 2) == sample(shuffled, config, 1, 2)


def test_rounds_seeds_and_attempts_differ() -> None:
    present = [f"s{i:03d}" for i in range(100)]
    config = CohortConfig(fraction=0.1)
    drawn = {
        tuple(sample(present, config, *address)) for address in [(0, 1), (0, 2), (1, 1), (0, 1, 1)]
    }
    assert len(drawn) == 4


def test_the_quorum_is_the_least_that_is_asked() -> None:
    assert len(sample("abcdefghij", CohortConfig(fraction=0.1, min_stores=4), 0, 1)) == 4
