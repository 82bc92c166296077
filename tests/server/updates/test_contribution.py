"""Numbers that a reader can check by hand, and Shapley values by their definition."""

from itertools import combinations
from math import factorial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig
from fedshelf.common.parameters.aggregation import BLOCK_COORDINATES
from fedshelf.common.protocol.messages import Update
from fedshelf.server.updates import contribution
from fedshelf.server.updates.contribution import contributions, shares_of_step, to_summary


def updates(*rows: list[float]) -> list[Update]:
    return [
        Update(f"s{number}", 1, torch.tensor(row), 1, 0.0, 0.0) for number, row in enumerate(rows)
    ]


def record(**parts: float) -> dict[str, Any]:
    """A round in which these stores contributed so much, as the history tells it."""
    shares, squared_step = shares_of_step(list(parts.values()))
    stores = {name: {"contribution": share} for name, share in zip(parts, shares, strict=True)}
    return {"train": {"squared_step": squared_step}, "stores": stores}


def test_by_hand() -> None:
    # From (1, 1), changes are (2, 0) and (0, 4); weights 3:1 make the step (1.5, 1): 3/4 * 2 * 1.5
    # and 1/4 * 4 * 1
    start = torch.tensor([1.0, 1.0])
    assert contributions(start, 2, updates([3.0, 1.0], [1.0, 5.0]), [3, 1]) == pytest.approx(
        [2.25, 1.0]
    )


def test_who_pulls_against_the_others_has_a_negative_part() -> None:
    found = contributions(torch.zeros(1), 1, updates([2.0], [2.0], [-1.0]), [1, 1, 1])
    assert found == pytest.approx([2 / 3, 2 / 3, -1 / 3])


def test_buffers_do_not_count() -> None:
    start = torch.zeros(3)
    assert contributions(
        start, 1, updates([1.0, 9.0, 9.0], [1.0, 0.0, 5.0]), [1, 1]
    ) == pytest.approx([0.5, 0.5])


@given(draw.integers(1, 4), draw.integers(0, 2**16))
def test_parts_are_shapley_values_of_what_coalitions_lead_to(stores: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    changes = torch.randn(stores, 5, generator=random)
    weights = torch.rand(stores, generator=random) + 0.1
    scaled = changes * (weights / weights.sum()).view(-1, 1)
    step = scaled.sum(dim=0)

    def worth(coalition: tuple[int, ...]) -> float:
        return float(scaled[list(coalition)].sum(dim=0) @ step)

    def shapley(store: int) -> float:
        others = [other for other in range(stores) if other != store]
        return sum(
            factorial(size)
            * factorial(stores - size - 1)
            / factorial(stores)
            * (worth((*some, store)) - worth(some))
            for size in range(stores)
            for some in combinations(others, size)
        )

    found = contributions(torch.ones(5), 5, updates(*(changes + 1).tolist()), weights.tolist())
    assert found == pytest.approx([shapley(store) for store in range(stores)], abs=1e-5)
    assert sum(found) == pytest.approx(float(step @ step), abs=1e-5)


def test_long_vectors_are_looked_at_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contribution, "MAX_COORDINATES", 4 * BLOCK_COORDINATES)
    size = 8 * BLOCK_COORDINATES  # of two updates, 16 blocks: every fourth is looked at
    one = torch.ones(size)
    other = torch.full((size,), 3.0)
    found = contributions(torch.zeros(size), size, updates(one.tolist(), other.tolist()), [1, 1])
    assert found == pytest.approx([0.5 * 2 * size, 1.5 * 2 * size])


def test_a_runs_shares_are_of_all_its_steps() -> None:
    # steps of 4 and 1: (3 + 0.5) / 5 and (1 + 0.5) / 5
    assert to_summary([record(a=3.0, b=1.0), record(a=0.5, b=0.5)]) == pytest.approx(
        {"a": 0.7, "b": 0.3}
    )


def test_a_rounds_shares_add_up_to_one() -> None:
    assert shares_of_step([3.0, 2.0, -1.0]) == ([0.75, 0.5, -0.25], 4.0)
    assert shares_of_step([0.0, 0.0]) == ([None, None], 0.0)


def test_rounds_of_an_earlier_version_tell_contributions_themselves() -> None:
    old = {
        "train": {"loss": 1.0},
        "stores": {"a": {"contribution": 3.0}, "b": {"contribution": 1.0}},
    }
    assert to_summary([old, record(a=0.5, b=0.5)]) == pytest.approx({"a": 0.7, "b": 0.3})


def test_a_model_that_did_not_move_owes_nobody() -> None:
    assert to_summary([record(a=0.0, b=0.0)]) is None
    assert to_summary([]) is None


def used(name: str, *values: list[float], **settings: object) -> list[float]:
    """Contributions of updates of 10 images each from a model of zeros, as the strategy uses
    them.
    """
    cohort = updates(*values)
    size = len(values[0])
    strategy = strategies.build(StrategyConfig(name=name, **settings))
    found = contributions(
        torch.zeros(size), size, cohort, strategy.weights(cohort), strategy.rank_shares
    )
    step = strategy.aggregate_updates(cohort)
    assert sum(found) == pytest.approx(float(step @ step))
    return found


def test_who_is_not_used_contributes_nothing() -> None:
    # Krum takes one update; of these, the second lies nearest to its neighbours
    assert used("krum", [1.0], [2.0], [3.0], [50.0]) == [0, 4, 0, 0]
    # multi-krum averages three: (1 + 2 + 3) / 3 = 2, of which a third of each
    assert used("multi-krum", [1.0], [2.0], [3.0], [50.0], malicious=1) == pytest.approx(
        [2 / 3, 4 / 3, 2, 0]
    )


def test_middle_values_contribute_where_they_are_the_middle_ones() -> None:
    # the medians are 2 (of the second) and 5 (of the first)
    assert used("median", [1.0, 5.0], [2.0, 9.0], [50.0, 4.0]) == [25, 4, 0]
    # half of 2 and half of 4, which make 3
    assert used("median", [1.0], [2.0], [4.0], [50.0]) == [0, 3, 6, 0]
    # 2, 3 and 4 are left, a third each, which make 3
    assert used("trimmed-mean", [50.0], [2.0], [3.0], [4.0], [1.0]) == pytest.approx(
        [0, 2, 3, 4, 0]
    )
    # equal values: the first ones count
    assert used("median", [7.0], [7.0], [7.0]) == [0, 49, 0]
