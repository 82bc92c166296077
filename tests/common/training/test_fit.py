"""Local training against a plain PyTorch loop, formulas by hand, and awkward sizes."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedshelf.common import models, strategies
from fedshelf.common.config import RunConfig, TrainConfig, resolve
from fedshelf.common.config.learning_rate_schedule import learning_rate
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.seeding import rng
from fedshelf.common.tasks.classes import objective
from fedshelf.common.training.evaluate import evaluate
from fedshelf.common.training.fit import LocalTrainingResult, LocalTrainingTask, Network, fit
from fedshelf.common.training.loss import split_batches

SPEC = ModelSpec("niid-cnn", ("a", "b", "c"), 32, 3, (0.5,) * 3, (0.25,) * 3)


def images(count: int, size: int = 32, classes: int = 3) -> Images:
    """Class k is a grey of its own with noise: easy, but not at once."""
    draws = np.random.default_rng(count)
    labels = torch.arange(count) % classes
    pixels = torch.from_numpy(draws.integers(0, 80, (count, size, size, 3), dtype=np.uint8))
    return Images.whole(pixels + (labels * 80).to(torch.uint8).view(-1, 1, 1, 1), labels)


def config_of(**settings: object) -> RunConfig:
    return resolve(
        {"data.flip": False} | {key.replace("__", "."): value for key, value in settings.items()}
    )


def trained(
    network: Network, data: Images, config: RunConfig, start: torch.Tensor
) -> LocalTrainingResult:
    return fit(
        network,
        data,
        LocalTrainingTask(config, strategies.build(config.strategy), "oslo", 2, start),
    )


@pytest.fixture
def network() -> Network:
    return Network(SPEC, torch.device("cpu"), seed=5)


def test_equals_a_plain_loop(network: Network) -> None:
    config = config_of(
        train__lr=0.02, train__epochs=2, train__batch_size=8, train__weight_decay=1e-3, run__seed=9
    )
    data = images(21)
    start = network.vector.clone()
    fitted = trained(network, data, config, start)

    plain = models.build(SPEC, seed=5)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)
    order = rng(9, "order", 2, "oslo")
    losses = []
    for _ in range(2):
        losses = []
        for positions in np.split(order.permutation(21), [8, 16]):
            pixels, targets = data.batch(torch.from_numpy(positions))
            loss = functional.cross_entropy(plain(normalise(pixels, SPEC.mean, SPEC.std)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += [loss.item()] * len(positions)
    expected = torch.cat([p.detach().reshape(-1) for p in plain.parameters()])
    torch.testing.assert_close(fitted.params, expected, rtol=1e-5, atol=1e-6)
    assert fitted.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert fitted.num_examples == 21


def test_same_address_same_bits_other_address_others(network: Network) -> None:
    config = config_of(data__flip=True, model__dropout=0.3)
    data = images(20)
    start = network.vector.clone()
    first = trained(network, data, config, start).params
    assert torch.equal(trained(network, data, config, start).params, first)
    other = LocalTrainingTask(config, strategies.build(config.strategy), "lyon", 2, start)
    assert not torch.equal(fit(network, data, other).params, first)


def test_the_result_is_a_copy(network: Network) -> None:
    fitted = trained(network, images(8), config_of(), network.vector.clone())
    before = fitted.params.clone()
    network.vector.zero_()
    assert torch.equal(fitted.params, before)


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("count", [1, 2, 9, 17])
def test_awkward_sizes(norm: str, count: int) -> None:
    """One image; fewer than a batch; a last batch of one."""
    spec = ModelSpec("cnn", ("a", "b", "c"), 32, 3, (0.5,) * 3, (0.25,) * 3, norm=norm)  # type: ignore[arg-type]
    network = Network(spec, torch.device("cpu"))
    fitted = trained(network, images(count), config_of(train__batch_size=8), network.vector.clone())
    assert bool(torch.isfinite(fitted.params).all())
    assert fitted.num_examples == count
    assert evaluate(network, [images(count)], 8)[0].num_examples == count


def test_batch_norm_never_sees_a_single_image_if_there_are_more() -> None:
    sizes = [len(part) for part in split_batches(np.arange(17), 8, keep_pairs=True)]
    assert sizes == [8, 9]
    assert [len(part) for part in split_batches(np.arange(17), 8, keep_pairs=False)] == [8, 8, 1]
    assert [len(part) for part in split_batches(np.arange(1), 8, keep_pairs=True)] == [1]
    # as was asked for
    assert [len(part) for part in split_batches(np.arange(3), 1, keep_pairs=True)] == [1, 1, 1]


@pytest.mark.parametrize("count", [1, 3])
def test_batches_of_one_image_use_the_running_statistics(count: int) -> None:
    """resnet18's last maps are of one pixel at 32 px: batch norm has nothing to take a variance
    from.
    """
    spec = ModelSpec("resnet18", ("a", "b", "c"), 32, 3, (0.5,) * 3, (0.25,) * 3)
    network = Network(spec, torch.device("cpu"), seed=5)
    plain = models.build(spec, seed=5)
    start = network.vector.clone()
    data = images(count)
    config = config_of(train__batch_size=1, train__lr=0.01, train__momentum=0, train__epochs=1)
    fitted = trained(network, data, config, start)
    plain.eval()
    for position in rng(0, "order", 2, "oslo").permutation(count):
        pixels, targets = data.batch(torch.tensor([position]))
        loss = functional.cross_entropy(plain(normalise(pixels, spec.mean, spec.std)), targets)
        plain.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in plain.parameters():
                parameter.sub_(parameter.grad, alpha=0.01)
    trainable = network.layout.trainable
    expected = torch.cat([p.detach().reshape(-1) for p in plain.parameters()])
    torch.testing.assert_close(fitted.params[:trainable], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(fitted.params[trainable:], start[trainable:])
    assert fitted.steps == count


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
def test_every_optimizer_and_loss_learns(network: Network, optimizer: str, loss: str) -> None:
    lr = {"sgd": 0.1 if loss == "squared" else 0.02}.get(optimizer, 0.003)
    config = config_of(train__optimizer=optimizer, train__loss=loss, train__lr=lr, train__epochs=12)
    data = images(60)
    trained(network, data, config, network.vector.clone())
    assert evaluate(network, [data], 64)[0].accuracy > 0.9


def test_l1_pulls_weights_to_zero(network: Network) -> None:
    start = network.vector.clone()
    data = images(30)
    plain = trained(network, data, config_of(), start).params
    sparse = trained(network, data, config_of(train__l1=0.01), start).params
    assert sparse.abs().sum() < plain.abs().sum()


def test_clipping_bounds_a_step(network: Network) -> None:
    config = config_of(train__clip_norm=0.5, train__lr=0.1, train__momentum=0, train__batch_size=8)
    start = network.vector.clone()
    moved = trained(network, images(8), config, start).params - start
    assert float(moved.norm()) <= 0.1 * 0.5 * (1 + 1e-4)


def test_losses_by_hand() -> None:
    # softmax of (0, ln 3) is (1/4, 3/4); target class 1
    logits = torch.tensor([[0.0, math.log(3)]])
    target = torch.tensor([1])
    assert objective(logits, target, TrainConfig()).item() == pytest.approx(-math.log(0.75))
    assert objective(logits, target, TrainConfig(loss="squared")).item() == pytest.approx(
        (0.25**2 + 0.25**2) / 2
    )
    # smoothed target (0.1, 0.9)
    smooth = TrainConfig(label_smoothing=0.2)
    assert objective(logits, target, smooth).item() == pytest.approx(
        -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
    )
    squared = smooth.model_copy(update={"loss": "squared"})
    assert objective(logits, target, squared).item() == pytest.approx((0.15**2 + 0.15**2) / 2)


def test_schedules_by_hand() -> None:
    step = TrainConfig(lr=1.0, schedule="step", step_rounds=10, step_factor=0.5)
    assert [learning_rate(step, r, 30) for r in (1, 10, 11, 21)] == [1.0, 1.0, 0.5, 0.25]
    cosine = TrainConfig(lr=2.0, schedule="cosine", final_lr=0.1)
    assert learning_rate(cosine, 1, 11) == 2.0
    assert learning_rate(cosine, 6, 11) == pytest.approx((2.0 + 0.2) / 2)
    assert learning_rate(cosine, 11, 11) == pytest.approx(0.2)
    assert learning_rate(cosine, 1, 1) == 2.0


def test_evaluation_counts_what_a_loop_counts(network: Network) -> None:
    data = images(50)
    (counts,) = evaluate(network, [data], 16)
    pixels, targets = data.batch(torch.arange(50))
    with torch.no_grad():
        logits = network.logits(normalise(pixels, SPEC.mean, SPEC.std))
    assert counts.num_examples == 50
    assert counts.accuracy == pytest.approx(float((logits.argmax(1) == targets).float().mean()))
    assert counts.loss == pytest.approx(functional.cross_entropy(logits, targets).item(), rel=1e-5)
    np.testing.assert_array_equal(counts.confusion.sum(axis=1), [17, 17, 16])


def test_evaluation_of_nothing_is_empty(network: Network) -> None:
    assert evaluate(network, [images(3).select(torch.arange(0))], 16)[0].num_examples == 0


def test_a_frozen_backbone_stays_and_does_not_travel() -> None:
    spec = ModelSpec("resnet18", ("a", "b", "c"), 32, 3, (0.5,) * 3, (0.25,) * 3, freeze="backbone")
    network = Network(spec, torch.device("cpu"))
    frozen = network.frozen()
    assert frozen is not None
    assert network.vector.shape == (512 * 3 + 3,)
    trained(network, images(8), config_of(), network.vector.clone())
    after = network.frozen()
    assert after is not None
    assert torch.equal(after, frozen)


def test_a_strategy_with_state_and_extras_passes_through(network: Network) -> None:
    from tests.helpers.stateful_strategy import Stateful

    config = config_of(train__momentum=0, train__lr=0.01)
    start = network.vector.clone()
    task = LocalTrainingTask(
        config,
        Stateful(config.strategy),
        "oslo",
        1,
        start,
        extras={"drift": torch.zeros_like(start)},
    )
    fitted = fit(network, images(8), task)
    # SGD without momentum: the mean gradient is what moved the weights, over steps and learning
    # rate
    torch.testing.assert_close(
        fitted.state["own"], (start - fitted.params) / 0.01, rtol=1e-3, atol=1e-4
    )
    assert set(fitted.extras) == {"change"}
