"""What of an update is looked at."""

import torch
from hypothesis import example, given
from hypothesis import strategies as draw

from common.orders import TrainOrder, Update
from server.screening import screen_updates
from tests.server.by_hand import plan_of


@given(draw.lists(draw.floats(width=32)))
@example([3e38, 3e38])  # finite, though their sum is not
@example([float("inf"), float("-inf")])
@example([1.0, float("nan")])
@example([])
def test_an_update_counts_just_if_all_its_values_are_finite(values: list[float]) -> None:
    params = torch.tensor(values, dtype=torch.float32)
    order = TrainOrder(plan_of(), 1, torch.zeros_like(params))
    updates, failed = screen_updates([Update("s", 1, params, 1, 0.0, 0.0)], order, ["s"])
    assert (len(updates), list(failed)) == ((1, []) if torch.isfinite(params).all() else (0, ["s"]))
