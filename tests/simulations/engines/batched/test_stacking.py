"""The pieces of the engine `batched`, each against what one store alone does."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw
from torch import nn
from torch.nn import functional

from fedshelf.common import models
from fedshelf.common.config import ModelConfig, TrainConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.augment import Blend, DrawStream
from fedshelf.common.models.head import set_training
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.seeding import rng
from fedshelf.common.tasks.classes import image_losses, objective
from fedshelf.common.training.fit import Network
from fedshelf.common.training.loss import split_batches
from fedshelf.common.training.optimizers import OPTIMIZERS
from fedshelf.simulations.engines.batched import layers, memory
from fedshelf.simulations.engines.batched.convolution import (
    ConvolutionGeometry,
    Form,
    columns,
    fastest_form,
    merged,
    one_by_one,
)
from fedshelf.simulations.engines.batched.cuda_graph import StepGraph
from fedshelf.simulations.engines.batched.layers import STACKED
from fedshelf.simulations.engines.batched.memory import stores_that_fit
from fedshelf.simulations.engines.batched.network import (
    StackedNetwork,
    check_stackable,
    is_stackable,
)
from fedshelf.simulations.engines.batched.schedule import Inputs, plan_schedule
from tests.helpers.simulated_stores import CLASSES, CPU, settings


def described(name: str, size: int = 32, **changed: object) -> ModelSpec:
    config = ModelConfig.model_validate({"name": name, **changed})
    return models.specify(config, CLASSES, image_size=size, native_size=None, channels=3)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {"padding": 1}),
        (5, {}),
        (1, {"stride": 2}),
        ((3, 2), {"stride": (2, 1), "padding": (1, 0)}),
        (3, {"groups": 2}),
        (3, {"groups": 4, "padding": 1}),
        (3, {"dilation": 2, "padding": 2}),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_all_forms_of_a_convolution_agree(kernel, options: dict, bias: bool) -> None:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(4, 6 * options.get("groups", 1), kernel, bias=bias, **options).double()
        for _ in range(3)
    ]
    pixels = torch.randn(3 * 2, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.stack([layer.weight.detach() for layer in layers]).requires_grad_()
    biases = (
        torch.stack([layer.bias.detach() for layer in layers]).requires_grad_() if bias else None
    )
    expected = torch.cat([layer(part) for layer, part in zip(layers, pixels.split(2), strict=True)])
    geometry = ConvolutionGeometry.of(layers[0])
    cotangent = torch.randn_like(expected)
    wanted = [pixels, weight] + ([biases] if bias else [])
    gradients = torch.autograd.grad(
        expected, [pixels, *(p for layer in layers for p in [layer.weight])], cotangent
    )
    forms = [one_by_one, merged] + (
        [columns] if geometry.groups == 1 and geometry.dilation == (1, 1) else []
    )
    for form in forms:
        out = form(pixels, weight, biases, geometry)
        torch.testing.assert_close(out, expected)
        found = torch.autograd.grad(out, wanted, cotangent)
        torch.testing.assert_close(found[0], gradients[0])
        torch.testing.assert_close(found[1], torch.stack(gradients[1:]))
        if bias:
            torch.testing.assert_close(found[2], cotangent.unflatten(0, (3, 2)).sum(dim=(1, 3, 4)))
    assert fastest_form(pixels, geometry) is one_by_one


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Linear(5, 7), (5,)), (lambda: nn.Linear(5, 7, bias=False), (4, 5)),
        (lambda: nn.GroupNorm(2, 6), (6, 4, 3)), (lambda: nn.GroupNorm(3, 6), (6,)),
        (lambda: nn.LayerNorm(5), (4, 5)), (lambda: nn.LayerNorm((4, 5), bias=False), (2, 4, 5)),
    ],
)  # fmt: skip
def test_a_stacked_layer_is_each_stores_layer(make, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    layers = [make() for _ in range(3)]
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    stacked = STACKED[type(layers[0])](layers[0])
    for name, _ in layers[0].named_parameters():
        setattr(stacked, name, torch.stack([getattr(layer, name) for layer in layers]))
    features = torch.randn(3 * 2, *shape)
    expected = torch.cat(
        [layer(part) for layer, part in zip(layers, features.split(2), strict=True)]
    )
    torch.testing.assert_close(stacked(features), expected)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("cnn", {}),
        ("cnn", {"dropout": 0.5}),
        ("cnn", {"dropout": 0.5, "freeze": "last:2"}),
        ("moderate-cnn", {}),
        ("resnet18", {"norm": "group"}),
        ("squeezenet1_1", {"freeze": "backbone", "dropout": 0.5}),
        ("mobilenet_v3_small", {"norm": "group"}),
    ],
)
def test_a_stack_gives_each_store_its_own_logits_and_gradient(name: str, changed: dict) -> None:
    size = 16 if name == "cnn" else 32
    network = Network(described(name, size, **changed), CPU, seed=3)
    stacked = StackedNetwork(network, 3)
    torch.manual_seed(2)
    stacked.weights.add_(torch.randn_like(stacked.weights), alpha=0.01)
    pixels = torch.randn(3 * 2, 3, size, size)
    weights = stacked.weights.clone()
    stacked.address([7, 8, 9])
    logits = stacked.logits(pixels)
    gradient = stacked.gradient(logits.square().sum())
    for place, part in enumerate(pixels.split(2)):
        network.load(weights[place])
        set_training(network.module, mode=True)
        models.dropout.seed_dropout(network.module, [7 + place], CPU)
        own = network.module(part)
        torch.testing.assert_close(logits[2 * place : 2 * place + 2], own, rtol=1e-4, atol=1e-5)
        expected = network.gradient(own.square().sum())
        assert float((gradient[place] - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize(
    "name", ["resnet18", "vit_b_32", "efficientnet_b0", "convnext_tiny", "swin_t"]
)
def test_some_networks_cannot_be_stacked(name: str) -> None:
    assert not is_stackable(described(name, 0))


def test_what_cannot_be_stacked_is_one_clear_sentence() -> None:
    network = Network(described("mobilenet_v3_small"), CPU)
    with pytest.raises(
        ConfigError, match=r"mobilenet_v3_small has layers of kind BatchNorm2d.*--engine sequential"
    ):
        check_stackable(network)


def test_our_networks_can_be_stacked() -> None:
    assert all(is_stackable(described(name)) for name in models.names())
    assert is_stackable(described("resnet18", norm="group"))
    assert is_stackable(described("resnet18", freeze="backbone"))


@given(
    sizes=draw.lists(draw.integers(1, 20), min_size=1, max_size=5),
    batch_size=draw.integers(1, 9),
    epochs=draw.integers(1, 3),
    keep_pairs=draw.booleans(),
    erasing=draw.sampled_from([0.0, 0.5]),
)
def test_a_schedule_has_every_batch_of_every_store(
    sizes: list[int], batch_size: int, epochs: int, keep_pairs: bool, erasing: float
) -> None:
    config = settings(train__batch_size=batch_size, train__epochs=epochs, data__erasing=erasing)
    own = [
        np.arange(100 * place, 100 * place + size)
        for place, size in enumerate(sorted(sizes, reverse=True))
    ]
    stores = [(f"s{place}", rows) for place, rows in enumerate(own)]
    schedule = plan_schedule(config, 2, stores, keep_pairs)
    for place, (name, rows) in enumerate(stores):
        order = rng(5, "order", 2, name)
        draws = DrawStream(config.data, 5, 2, name)
        expected = [
            rows[part]
            for _ in range(epochs)
            for part in split_batches(order.permutation(len(rows)), batch_size, keep_pairs)
        ]
        assert schedule.steps[place] == len(expected)
        for step, part in enumerate(expected):
            inputs = schedule.at(step)
            assert inputs.rows[place, : len(part)].tolist() == part.tolist()
            torch.testing.assert_close(inputs.shares[place].sum(), torch.tensor(1.0))
            assert inputs.shares[place].count_nonzero() == len(part)
            assert inputs.draws[place, : len(part)].tolist() == draws.take(len(part)).tolist()
        assert schedule.inputs.counts[:, place].sum() == len(rows)
        assert [active > place for active in schedule.stores] == [
            step < len(expected) for step in range(len(schedule.stores))
        ]
    assert all(early >= late for early, late in pairwise(schedule.stores))
    for step, width in enumerate(schedule.widths):
        # no step is wider than its largest batch
        assert schedule.at(step).shares[:, width - 1].any()


@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_losses_of_images_have_the_objective_as_their_mean(loss: str, smoothing: float) -> None:
    config = TrainConfig(loss=loss, label_smoothing=smoothing)  # type: ignore[arg-type]
    logits = torch.randn(7, 3)
    targets = torch.arange(7) % 3
    torch.testing.assert_close(
        image_losses(logits, targets, config).mean(), objective(logits, targets, config)
    )
    others = targets.flip(0)
    shares = torch.rand(7)
    own, other = (image_losses(logits, labels, config) for labels in (targets, others))
    blended = objective(logits, targets, config, Blend(others, shares))
    torch.testing.assert_close(blended, (shares * own + (1 - shares) * other).mean())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_moves_rows_as_it_moves_vectors(name: str) -> None:
    config = TrainConfig(optimizer=name, weight_decay=0.01)  # type: ignore[arg-type]
    start = torch.randn(3, 5)
    gradients = torch.randn(4, 3, 5)
    stacked = OPTIMIZERS[name](config, None)
    for _ in range(2):  # restarted, it moves them the same way again
        weights = start.clone()
        stacked.restart(weights)
        for step, active in enumerate((3, 3, 2, 1)):
            stacked.step(weights[:active], gradients[step, :active].clone(), 0.1)
        for row, steps in enumerate((4, 3, 2)):
            alone = OPTIMIZERS[name](config, None)
            expected = start[row].clone()
            for step in range(steps):
                alone.step(expected, gradients[step, row].clone(), 0.1)
            torch.testing.assert_close(weights[row], expected)


def test_a_step_on_memory_that_stays_is_the_same_step() -> None:
    sums = torch.zeros(3)

    def step(inputs: Inputs) -> None:
        sums.add_((inputs.rows * inputs.shares).sum(dim=1) + inputs.counts)

    given = [
        Inputs(torch.full((3, 2), k), torch.full((3, 2), 0.5), torch.ones(3), torch.zeros(3, 2, 0))
        for k in (1, 2)
    ]
    kept = StepGraph(step, given[0])
    for inputs in given:
        kept(inputs)
    assert sums.tolist() == [5.0] * 3  # 1 + 1, then 2 + 1


def test_small_batches_fit_often_and_at_least_one_store_always_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network(described("cnn"), CPU)
    assert stores_that_fit(network, 1) > stores_that_fit(network, 16) >= 1
    monkeypatch.setattr(memory, "CPU_BUDGET_BYTES", 1)
    assert stores_that_fit(network, 16) == 1


@pytest.mark.parametrize("form", [one_by_one, columns])
def test_mixed_precision_is_close_to_float32(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "fastest_form", lambda *_: form)
    network = Network(described("cnn", 16), CPU, seed=1)
    stacked = StackedNetwork(network, 2)
    pixels = torch.randn(6, 3, 16, 16)
    exact = stacked.logits(pixels)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        rough = stacked.logits(pixels)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.05)
    assert torch.isfinite(
        stacked.gradient(functional.cross_entropy(rough.float(), torch.arange(6) % 3))
    ).all()
