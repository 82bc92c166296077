"""By how much updates are larger than usual for their steps, in numbers that a reader can check."""

import numpy as np
import pytest

from fedshelf.server.updates.norm_regression import times_usual


def times(norms: list[float], steps: list[float]) -> list[float]:
    found: list[float] = times_usual(np.array(norms), np.array(steps), np.ones(len(norms))).tolist()
    return found


def test_with_as_many_steps_the_median_is_usual() -> None:
    assert times([1.0, 2.0, 4.0, 20.0], [7.0] * 4) == pytest.approx([0.5, 1, 2, 10])


def test_a_small_stores_update_times_ten_is_found_though_it_is_no_larger_than_the_others() -> None:
    # each step goes 1 further
    norms = [8.0, 9.0, 16.0, 18.0, 32.0, 10.0]
    steps = [8.0, 9.0, 16.0, 18.0, 32.0, 1.0]
    assert times(norms, steps) == pytest.approx([1, 1, 1, 1, 1, 10])


def test_where_steps_go_to_and_fro_norms_grow_with_their_root() -> None:
    assert times([1.0, 2.0, 3.0, 4.0, 25.0], [1.0, 4.0, 9.0, 16.0, 25.0]) == pytest.approx(
        [1, 1, 1, 1, 5]
    )


def test_a_large_store_is_excused_by_no_more_than_its_steps_and_only_by_them() -> None:
    assert times([1.0, 1.0, 1.0, 1.0, 40.0], [1.0, 1.0, 1.0, 1.0, 4.0]) == pytest.approx(
        [1, 1, 1, 1, 10]
    )
    assert times([1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 4.0, 8.0, 16.0]) == pytest.approx([1] * 5)
    # no power below 0
    assert times([8.0, 4.0, 2.0, 1.0], [1.0, 2.0, 4.0, 8.0]) == pytest.approx([4, 2, 1, 0.5])


def test_a_store_with_a_quarter_of_a_batch_may_move_twice_as_far() -> None:
    shares = np.array([1.0, 1.0, 1.0, 0.25])
    assert times_usual(
        np.array([1.0, 1.0, 1.0, 6.0]), np.ones(4), shares
    ).tolist() == pytest.approx([1, 1, 1, 3])


def test_stores_that_changed_nothing_say_nothing_of_the_others() -> None:
    assert times([0.0, 0.0, 0.0, 1.0], [1.0] * 4) == [0, 0, 0, 1]
    assert times([0.0] * 4, [1.0] * 4) == [0] * 4
    # six pairs say 0, four infinity
    huge = times([1.0, 1.0, 1.0, 1.0, float("inf")], [1.0, 2.0, 4.0, 8.0, 16.0])
    assert huge[:4] == [1] * 4
    assert huge[4] > 1e300
