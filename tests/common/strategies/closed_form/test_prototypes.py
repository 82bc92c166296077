"""Class prototypes: numbers that can be checked by hand, and rows of their own class alone."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as draw
from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig, StrategyConfig
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.closed_form.prototypes import SHARPNESS, Prototypes

SHAPES = (torch.Size([3, 2]), torch.Size([3]))
LAYOUT = Layout(("head.weight", "head.bias"), SHAPES, 9, 9, head="head")
START = torch.arange(9.0)


def prototypes() -> Prototypes:
    found = strategies.build(StrategyConfig(name="prototypes"), LAYOUT)
    assert isinstance(found, Prototypes)
    return found


def update(store: str, features: Tensor, targets: Tensor) -> Update:
    sums = prototypes().summarise(features, targets)
    return Update(store, 1, START, len(targets), 0.0, 0.0, sums)


def test_rows_by_hand() -> None:
    """Directions (3/5, 4/5) and (1, 0) of class 0 sum to (8/5, 4/5), which is (2, 1) / sqrt 5."""
    found = update("a", torch.tensor([[3.0, 4.0], [7.0, 0.0], [0.0, 0.5]]), torch.tensor([0, 0, 1]))
    torch.testing.assert_close(
        found.extras["class_sums"], torch.tensor([[1.6, 0.8, 2], [0, 1, 1], [0, 0, 0]])
    )
    params, _ = prototypes().update_global_model(START, [found], {}, 9)
    views = LAYOUT.split_views(params)
    root = SHARPNESS / math.sqrt(5)
    # no image of class 2: its row and its bias stay as they were
    expected = torch.tensor([[2 * root, root], [0, SHARPNESS], [4, 5]])
    torch.testing.assert_close(views["head.weight"], expected)
    assert views["head.bias"].tolist() == [0, 0, 8]


@settings(max_examples=20, deadline=None)
@given(stores=draw.integers(1, 7), seed=draw.integers(0, 999))
def test_every_partition_gives_the_same_rows(stores: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    features = torch.rand(60, 2, generator=draws)
    targets = torch.randint(3, (60,), generator=draws)
    place = torch.randint(stores, (60,), generator=draws)
    parts = [place == store for store in range(stores) if bool((place == store).any())]
    dealt = [
        update(f"store-{number}", features[part], targets[part])
        for number, part in enumerate(parts)
    ]
    found, _ = prototypes().update_global_model(START, dealt, {}, 9)
    together, _ = prototypes().update_global_model(START, [update("a", features, targets)], {}, 9)
    torch.testing.assert_close(found, together, rtol=1e-4, atol=1e-4)


def test_a_new_product_in_a_second_round_touches_no_other_row() -> None:
    strategy = prototypes()
    draws = torch.Generator().manual_seed(0)
    old = update("a", torch.rand(30, 2, generator=draws), torch.arange(30) % 2)
    before, state = strategy.update_global_model(START, [old], {}, 9)
    new = update("b", torch.tensor([[0.0, 2.0]] * 5), torch.full((5,), 2))
    after, state = strategy.update_global_model(before, [new], state, 9)
    views = LAYOUT.split_views(after)
    assert torch.equal(views["head.weight"][:2], LAYOUT.split_views(before)["head.weight"][:2])
    assert views["head.weight"][2].tolist() == [0, SHARPNESS]
    # b is forgotten: the row is what it was before any photo of the product
    assert strategy.contributors(state) == {"a", "b"}
    without = strategy.forget(state, {"b"})
    assert strategy.contributors(without) == {"a"}
    last, _ = strategy.update_global_model(after, [], without, 9)
    assert torch.equal(last, before)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([math.inf, 0.0, 2.0], "not finite"),
        ([2.1, 0.0, 2.0], "longer than its number of images"),
        ([0.5, 0.0, 1.0], "classes of 1 images together, where it claims 2 images"),
    ],
)
def test_sums_that_no_images_can_have_are_named(row: list[float], words: str) -> None:
    good = update("a", torch.rand(2, 2), torch.tensor([0, 0]))
    assert prototypes().validate_update(good, 0.1, RunConfig()) is None
    sums = good.extras["class_sums"].clone()
    sums[0] = torch.tensor(row)
    bad = replace(good, extras={"class_sums": sums})
    assert words in str(prototypes().validate_update(bad, 0.1, RunConfig()))
