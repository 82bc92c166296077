"""Guesses of membership, counted by hand."""

import numpy as np
import pytest

from fedshelf.simulations.reveal.statistics import auc, epsilon_bound, hits_at


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    members = np.array([True, True, False, False])
    assert auc(np.array([4.0, 3.0, 2.0, 1.0]), members) == 1
    assert auc(np.array([4.0, 1.0, 3.0, 2.0]), members) == 0.5
    assert auc(np.array([4.0, 2.0, 3.0, 1.0]), members) == 0.75


def test_hits_are_counted_above_what_so_many_others_pass() -> None:
    scores = np.concatenate([np.arange(100.0), [98.5, 50.0]])
    members = np.arange(102) >= 100
    assert hits_at(scores, members, 0.01) == 0.5


def test_epsilon_is_bounded_from_below_by_the_number_of_right_guesses() -> None:
    members = np.random.default_rng(0).random(400) < 0.5
    perfect = np.where(members, 1.0, -1.0)
    assert 3 < epsilon_bound(perfect, members) < 6
    assert epsilon_bound(-perfect, members) == 0


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_the_bound_is_below_the_epsilon_of_randomised_response(epsilon: float) -> None:
    """Each member is told rightly with a probability of e^epsilon / (1 + e^epsilon), which is
    epsilon-private: in at least 95 of 100 cases the bound must be below.
    """
    random = np.random.default_rng(7)
    share = np.exp(epsilon) / (1 + np.exp(epsilon))
    bounds = []
    for _ in range(20):
        members = random.random(200) < 0.5
        told = np.where(random.random(200) < share, members, ~members)
        bounds.append(epsilon_bound(told + random.random(200) * 1e-6, members))
    assert sum(bound > epsilon for bound in bounds) <= 1
    assert max(bounds) > 0
