"""A network as one vector: views, frozen parts, integer buffers, means."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw
from torch import nn

from fedshelf.common.parameters.aggregation import (
    BLOCK_COORDINATES,
    VectorSequence,
    apply_by_blocks,
    sort_rows,
    weighted_mean,
)
from fedshelf.common.parameters.layout import Layout, bind, frozen_vector, load_frozen


def small() -> nn.Sequential:
    """Conv 2*1*1*1 + 2, batch norm 2 + 2 weights, 2 + 2 statistics and a counter, linear 3*2 +
    3.
    """
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))


def test_layout_puts_trainable_first_and_leaves_integers_out() -> None:
    layout = Layout.from_module(small())
    assert layout.names == (
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "3.weight",
        "3.bias",
        "1.running_mean",
        "1.running_var",
    )
    assert (layout.trainable, layout.size) == (4 + 4 + 9, 4 + 4 + 9 + 4)


def test_binding_changes_nothing_and_then_shares_memory() -> None:
    plain = small()
    bound = small()
    vector = bind(bound, Layout.from_module(bound))
    x = torch.randn(5, 1, 1, 1)
    torch.testing.assert_close(bound(x), plain(x), rtol=0, atol=0)
    vector.zero_()
    assert float(bound[3].weight.abs().sum()) == 0
    bound[1].train()(torch.full((4, 2, 1, 1), 3.0))
    assert Layout.from_module(bound).split_views(vector)[
        "1.running_mean"
    ].tolist() == pytest.approx([0.3, 0.3])


def test_frozen_layers_do_not_travel_and_come_back() -> None:
    model = small()
    for layer in (model[0], model[1]):
        layer.requires_grad_(requires_grad=False)
    layout = Layout.from_module(model)
    assert layout.names == ("3.weight", "3.bias")
    frozen = frozen_vector(model, layout)
    assert frozen is not None
    assert len(frozen) == 4 + 4 + 4
    other = small()
    with torch.no_grad():
        other[0].weight.add_(1)
    load_frozen(other, layout, frozen)
    assert torch.equal(other[0].weight, model[0].weight)


def test_nothing_frozen_is_none() -> None:
    model = small()
    assert frozen_vector(model, Layout.from_module(model)) is None


def test_weighted_mean_by_hand() -> None:
    assert weighted_mean(
        VectorSequence([torch.tensor([1.0, 0.0]), torch.tensor([4.0, 8.0])]), [1, 3]
    ).tolist() == [
        3.25,
        6.0,
    ]


@given(draw.lists(draw.integers(1, 10**6), min_size=1, max_size=20))
def test_mean_of_equal_vectors_is_that_vector(weights: list[int]) -> None:
    vector = torch.tensor([1.5, -2.0, 1e-3])
    torch.testing.assert_close(
        weighted_mean(VectorSequence([vector] * len(weights)), weights), vector
    )


@given(draw.integers(1, 40), draw.integers(1, 5), draw.integers(0, 2**32 - 1))
def test_rows_are_sorted_column_by_column(rows: int, columns: int, seed: int) -> None:
    block = torch.randint(
        -5, 5, (rows, columns), generator=torch.Generator().manual_seed(seed)
    ).float()
    expected = block.sort(dim=0).values
    sort_rows(block)
    assert torch.equal(block, expected)


@pytest.mark.parametrize(
    "size", [1, BLOCK_COORDINATES - 1, BLOCK_COORDINATES, 2 * BLOCK_COORDINATES + 3]
)
def test_blocks_are_put_together_in_order(size: int) -> None:
    vectors = [torch.arange(size).float(), torch.ones(size)]
    assert torch.equal(
        apply_by_blocks(VectorSequence(vectors), lambda block: block.sum(dim=0)),
        torch.arange(size) + 1,
    )
