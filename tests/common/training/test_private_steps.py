"""Private training by hand, what it draws from, and an audit of its claim.

The audit is that of Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run"
(NeurIPS 2023): half of many canaries take part, each of which moves coordinates of its own, and the
surest guesses of which half bound epsilon from below. It is run where it is sharp: all images in
all steps, and a claim of about 2.
"""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedshelf.common import own_objects, strategies
from fedshelf.common.config import PrivacyConfig, RunConfig, resolve
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.common.privacy.noise import gaussian
from fedshelf.common.privacy.randomness import KeyStream
from fedshelf.common.training.clipping.clipped_gradient import ClippedGradient
from fedshelf.common.training.fit import LocalTrainingResult, LocalTrainingTask, Network, fit
from fedshelf.common.training.private_steps import PrivateSteps
from fedshelf.simulations.reveal.statistics import epsilon_bound
from tests.helpers.simulated_stores import photos

KEY = bytes(range(32))
CPU = torch.device("cpu")
SPEC = ModelSpec("niid-cnn", ("a", "b", "c"), 16, 3, (0.5,) * 3, (0.25,) * 3)
DELTA = 1e-5


@pytest.fixture
def network() -> Network:
    return Network(SPEC, CPU, seed=5)


def config_of(**changed: object) -> RunConfig:
    usual = {
        "privacy.clip": 0.5, "privacy.noise": 1.0, "privacy.rate": 0.4, "privacy.steps": 3,
        "train.lr": 0.1, "train.momentum": 0.0, "data.flip": False,
    }  # fmt: skip
    return resolve(usual | {key.replace("__", "."): value for key, value in changed.items()})


def trained(
    network: Network, data: Images, config: RunConfig, start: Tensor, key: bytes = KEY
) -> LocalTrainingResult:
    strategy = strategies.build(config.strategy)
    return fit(network, data, LocalTrainingTask(config, strategy, "oslo", 2, start, key=key))


def test_copies_of_an_image_draw_their_own_augmentation(network: Network) -> None:
    own_objects.allow(fade := "tests.helpers.own_augmentation:Fade")
    start = network.vector.clone()

    def params(**changed: object) -> Tensor:
        config = config_of(privacy__copies=2, **changed)
        return trained(network, photos(12, 16), config, start).params

    assert torch.equal(params(data__augmentation=fade), params(data__augmentation=fade))
    assert not torch.equal(params(data__augmentation=fade), params())


def test_it_is_the_algorithm_by_hand(network: Network) -> None:
    config = config_of(train__weight_decay=0.01, train__l1=0.001)
    data = photos(20, 16)
    start = network.vector.clone()
    found = trained(network, data, config, start)
    sampling = KeyStream(KEY, "sampling")
    noise = KeyStream(KEY, "noise")
    network.load(start)
    losses = []
    for _ in range(3):
        drawn = np.flatnonzero(sampling.uniform(20) < 0.4)
        total = torch.zeros_like(network.weights)
        for position in drawn:
            pixels, targets = data.batch(torch.tensor([position]))
            logits = network.module(normalise(pixels, SPEC.mean, SPEC.std))
            loss = functional.cross_entropy(logits, targets)
            gradient = network.gradient(loss)
            total += gradient * min(1, 0.5 / float(gradient.norm()))
            losses.append(loss.item())
        total += 1.0 * 0.5 * gaussian(noise, len(total)).float()
        total /= 0.4 * 20
        total += 0.001 * network.weights.sign() + 0.01 * network.weights
        network.weights.sub_(total, alpha=0.1)
    torch.testing.assert_close(found.params, network.vector, rtol=1e-5, atol=1e-6)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert (found.steps, found.num_examples) == (3, 20)


def test_steps_that_draw_nobody_are_noise_alone(network: Network) -> None:
    config = config_of(privacy__rate=1e-4, privacy__steps=1)
    start = network.vector.clone()
    found = trained(network, photos(20, 16), config, start)
    noise = 0.5 * gaussian(KeyStream(KEY, "noise"), len(start)).float()
    torch.testing.assert_close(found.params, start - 0.1 * noise / (1e-4 * 20))
    assert found.loss == 0


@pytest.mark.parametrize("images", [20, 20_000, 70_000])
def test_each_step_draws_the_next_numbers_of_the_stream(network: Network, images: int) -> None:
    """However many steps are drawn at once: here 7, 3 and 1."""
    privacy = PrivacyConfig(clip=1.0, noise=1.0, rate=0.3, steps=7)
    unused = ClippedGradient(network, network.module, functional.cross_entropy)
    steps = PrivateSteps(unused, lambda _: (torch.empty(0), torch.empty(0)), privacy, images, KEY)
    sampling = KeyStream(KEY, "sampling")
    for _ in range(privacy.steps):
        expected = np.flatnonzero(sampling.uniform(images) < 0.3)
        assert np.array_equal(steps.draw(), expected)


def test_nothing_is_drawn_from_the_seed_that_the_server_chose(network: Network) -> None:
    """Sampling, noise, augmentation and dropout follow the key alone."""
    data = photos(20, 16)
    start = network.vector.clone()
    spec = replace(SPEC, dropout=0.3)
    network = Network(spec, CPU, seed=5)
    options = {"data__flip": True, "data__erasing": 0.5, "data__crop": 2, "privacy__copies": 2}
    first, same, other = (
        trained(network, data, config_of(run__seed=seed, **options), start, key).params
        for seed, key in ((1, KEY), (2, KEY), (1, bytes(32)))
    )
    assert torch.equal(first, same)
    assert float(torch.isclose(first, other).float().mean()) < 0.01


def test_clipping_alone_has_no_noise(network: Network) -> None:
    config = config_of(privacy__noise=0.0, privacy__rate=1.0, privacy__steps=1)
    start = network.vector.clone()
    moved = trained(network, photos(20, 16), config, start).params - start
    assert 0 < float(moved.norm()) <= 0.1 * 0.5 * (1 + 1e-5)


# --- audit ----------------------------------------------------------------------------------------

CANARIES = 5000
PRIVACY = PrivacyConfig(clip=1.0, noise=8.0, rate=1.0, steps=16)


class SoftmaxRegression:
    """A network with one weight for each class and pixel, as `ClippedGradient` wants it."""

    images_per_piece = None
    device = CPU

    def __init__(self) -> None:
        self.module = nn.Linear(CANARIES, 2, bias=False)
        nn.init.zeros_(self.module.weight)
        self.parameters = [self.module.weight]
        self.weights = self.module.weight.detach().view(-1)

    def gradient(self, loss: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(loss, self.parameters)
        return gradient.view(-1)


class TooLittleNoise(PrivateSteps):
    """A fault: noise of a quarter of its deviation."""

    def add_noise(self, total: Tensor) -> Tensor:
        return total + (super().add_noise(total) - total) / 4


class OneNoise(PrivateSteps):
    """A fault: one noise for all steps together."""

    is_noised = False

    def add_noise(self, total: Tensor) -> Tensor:
        if self.is_noised:
            return total
        self.is_noised = True
        return super().add_noise(total)


def audited_epsilon(seed: int, kind: type[PrivateSteps] = PrivateSteps) -> float:
    """Train on half of the canaries, and return a bound that epsilon exceeds with 95% confidence.

    Canary i is an image of the first class in which pixel i alone is bright. Its gradient, that of
    no other canary, is the weights' of this pixel: the clipping norm C, whatever its brightness.
    """
    members = np.random.default_rng(seed).random(CANARIES) < 0.5
    pixels = np.flatnonzero(members)
    network = SoftmaxRegression()

    def inputs(positions: np.ndarray) -> tuple[Tensor, Tensor]:
        bright = torch.zeros(len(positions), CANARIES)
        bright[torch.arange(len(positions)), torch.from_numpy(pixels[positions])] = 1000.0
        return bright, torch.zeros(len(positions), dtype=torch.int64)

    losses = partial(functional.cross_entropy, reduction="none")
    clipped = ClippedGradient(network, network.module, losses)
    key = seed.to_bytes(32, "big")
    moved = torch.zeros(2 * CANARIES)
    for step in kind(clipped, inputs, PRIVACY, len(pixels), key):
        moved -= step.gradient
    towards_first, towards_second = moved.view(2, CANARIES).numpy().astype(np.float64)
    return epsilon_bound(towards_first - towards_second, members)


def claim() -> float:
    return epsilon([SampledGaussian(PRIVACY.noise, PRIVACY.rate, PRIVACY.steps)], DELTA)


def test_the_claim_is_that_of_the_gaussian_mechanism() -> None:
    """16 steps of deviation 8 are one of deviation 2; the exact epsilon is by Balle and Wang 2018.

    delta(epsilon) = Phi(1/4 - 2 epsilon) - exp(epsilon) Phi(-1/4 - 2 epsilon)
    """

    def delta(value: float) -> float:
        def phi(x: float) -> float:
            return math.erfc(-x / math.sqrt(2)) / 2

        return phi(0.25 - 2 * value) - math.exp(value) * phi(-0.25 - 2 * value)

    assert delta(claim()) < DELTA < delta(0.999 * claim())


@pytest.mark.parametrize(
    "seed",
    [0, *(pytest.param(seed, marks=pytest.mark.slow(minutes=0.05)) for seed in range(1, 20))],
)
def test_an_audit_stays_below_the_claim(seed: int) -> None:
    assert audited_epsilon(seed) < claim()


@pytest.mark.parametrize("fault", [TooLittleNoise, OneNoise])
def test_an_audit_finds_a_planted_fault(fault: type[PrivateSteps]) -> None:
    assert audited_epsilon(0, fault) > claim()
