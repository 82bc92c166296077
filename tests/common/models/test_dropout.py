"""Our dropout: how often, how much, and the same whoever trains beside."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw
from torch import Tensor, nn

from fedshelf.common import models
from fedshelf.common.models.dropout import Dropout, dropout_layers, replace_dropout, seed_dropout
from fedshelf.common.models.head import set_training
from tests.helpers.model_specs import described

CPU = torch.device("cpu")


def masks(layer: Dropout, seeds: list[int], rows: int, elements: int, calls: int = 1) -> Tensor:
    """Factors of `calls` calls for stores with these seeds: [calls, S, rows, elements]."""
    layer.train()
    seed_dropout(layer, seeds, CPU)
    return torch.stack(
        [
            layer(torch.ones(len(seeds) * rows, elements)).unflatten(0, (-1, rows))
            for _ in range(calls)
        ]
    )


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5, 0.9])
def test_drops_as_often_as_asked_and_scales_up_the_rest(probability: float) -> None:
    drawn = masks(Dropout(probability), [5, 6, 7], 64, 501, calls=3)
    assert set(drawn.unique().tolist()) == {0.0, torch.tensor(1 / (1 - probability)).item()}
    kept = (drawn > 0).float()
    deviation = (probability * (1 - probability) / kept.numel()) ** 0.5
    assert abs(float(kept.mean()) - (1 - probability)) < 5 * deviation


def test_neighbours_rows_stores_and_calls_have_nothing_in_common() -> None:
    # plus or minus one
    centred = (masks(Dropout(0.5), [5, 6, 77], 64, 1001, calls=6) > 0).float() * 2 - 1
    for dim in range(4):
        for step in (1, 2):
            length = centred.shape[dim] - step
            products = centred.narrow(dim, 0, length) * centred.narrow(dim, step, length)
            assert abs(float(products.mean())) * products.numel() ** 0.5 < 5, (dim, step)


@given(
    seeds=draw.lists(draw.integers(0, 2**63 - 1), min_size=1, max_size=5, unique=True),
    rows=draw.integers(1, 5),
    elements=draw.integers(1, 9),
)
def test_a_store_draws_the_same_alone_and_beside_others(
    seeds: list[int], rows: int, elements: int
) -> None:
    together = masks(Dropout(0.4), seeds, rows, elements, calls=3)
    for place, seed in enumerate(seeds):
        alone = masks(Dropout(0.4), [seed], rows, elements, calls=3)
        assert torch.equal(together[:, place], alone[:, 0])
        # a smaller batch has the same first rows
        fewer = masks(Dropout(0.4), [seed], 1, elements, calls=3)
        assert torch.equal(fewer[:, 0, 0], alone[:, 0, 0])


def test_narrowing_keeps_what_the_first_stores_draw() -> None:
    layer = Dropout(0.5)
    expected = masks(layer, [3, 4, 5], 2, 50, calls=2)[1, :2]
    masks(layer, [3, 4, 5], 2, 50)
    layer.limit_stores(2)
    assert torch.equal(layer(torch.ones(4, 50)).unflatten(0, (2, 2)), expected)


def test_whole_channels_go_together() -> None:
    layer = Dropout(0.5, whole_channels=True).train()
    drawn = layer(torch.ones(8, 32, 4, 4))
    assert set(drawn.flatten(2).sum(dim=2).unique().tolist()) == {0.0, 32.0}


def test_the_gradient_is_the_mask_and_evaluation_changes_nothing() -> None:
    layer = Dropout(0.3).train()
    features = torch.randn(6, 10, requires_grad=True)
    seed_dropout(layer, [9], CPU)
    dropped = layer(features)
    (gradient,) = torch.autograd.grad(dropped.sum(), features)
    torch.testing.assert_close(gradient * features, dropped)
    assert layer.eval()(features) is features


def test_torchs_layers_become_ours_with_a_number_each() -> None:
    module = nn.Sequential(nn.Dropout(0.2), nn.Sequential(nn.Dropout2d(0.3)), nn.Linear(2, 2))
    names = list(module.state_dict())
    replace_dropout(module)
    assert [layer.probability for layer in dropout_layers(module)] == [0.2, 0.3]
    assert list(module.state_dict()) == names
    both = nn.Sequential(Dropout(0.5), Dropout(0.5)).train()
    seed_dropout(both, [1], CPU)
    assert not torch.equal(both[0](torch.ones(1, 99)), both[1](torch.ones(1, 99)))


@pytest.mark.parametrize(
    ("name", "expected"), [("moderate-cnn", 3), ("squeezenet1_1", 1), ("vgg11", 2)]
)
def test_networks_have_no_dropout_of_torchs(name: str, expected: int) -> None:
    with torch.device("meta"):
        module = models.build(described(name, size=32 if name == "moderate-cnn" else 64))
    assert len(dropout_layers(module)) == expected
    assert not [
        layer for layer in module.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)
    ]


def test_features_are_dropped_before_a_head_that_trains_alone() -> None:
    module = models.build(described("cnn", dropout=0.5, freeze="backbone"))
    set_training(module, mode=True)
    assert [layer.training for layer in dropout_layers(module)] == [True]
    set_training(module, mode=False)
    assert [layer.training for layer in dropout_layers(module)] == [False]
