"""FedDyn: numbers that can be checked by hand, the paper's algorithm written down plainly, and what
it is for.
"""

import pytest
import torch

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig, TrainConfig, resolve
from fedshelf.common.protocol.messages import StoreInfo, Update
from tests.helpers.toy import Toy

TARGETS = {
    "a": torch.tensor([4.0, 0.0]),
    "b": torch.tensor([-2.0, 1.0]),
    "c": torch.tensor([1.0, 5.0]),
}
STEPS = {"a": 60, "b": 70, "c": 80}


def feddyn(**settings: object) -> strategies.Strategy:
    return strategies.build(StrategyConfig(name="feddyn", **settings))


def test_the_gradient_is_that_of_its_objective() -> None:
    """w^3 summed, minus <l, w>, plus alpha / 2 |w - x|^2, by autograd."""
    weights = torch.randn(5, requires_grad=True)
    start = torch.randn(5)
    linear = torch.randn(5)
    loss = weights.pow(3).sum() - linear @ weights + 0.3 / 2 * (weights - start).square().sum()
    (expected,) = torch.autograd.grad(loss, weights)
    gradient = 3 * weights.detach().square()
    half = feddyn(alpha=0.3)
    half.correct_gradient(
        gradient, weights.detach(), half.on_train_begin(start, {}, {"linear": linear})
    )
    torch.testing.assert_close(gradient, expected)


def test_a_round_by_hand() -> None:
    """x = 2, alpha = 0.5, h = 1; of four stores two took part: one that is new went to 4, one with
    l = 3 to 1.
    """
    half = feddyn(alpha=0.5, weighting="uniform")
    start = torch.tensor([2.0])
    updates = []
    kept = []
    for store, end, state in (("a", 4.0, {}), ("b", 1.0, {"linear": torch.tensor([3.0])})):
        run = strategies.LocalTrainingSummary(start, torch.tensor([end]), 5, 0.1, 9)
        extras, after = half.on_train_end(run, half.on_train_begin(start, {}, state), state)
        updates.append(Update(store, 1, torch.tensor([end]), 9, 0.0, 0.0, extras))
        kept.append(after["linear"].item())
    assert kept == [-1.0, 3.5]  # 0 - 0.5 * 2, 3 + 0.5 * 1
    everyone = {name: StoreInfo(name, {"shoe": 9}, 0, 0) for name in "abcd"}
    params, memory = half.update_global_model(
        start, updates, {"linear": torch.tensor([1.0])}, 1, everyone
    )
    assert memory["linear"].tolist() == [0.875]  # 1 - 0.5 * (2 - 1) / 4
    assert params.tolist() == [0.75]  # 2.5 - 0.875 / 0.5


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("images", [(1, 1, 1), (10, 1, 4)])
def test_it_ends_at_the_optimum_of_all(images: tuple[int, ...], momentum: float) -> None:
    train = TrainConfig(momentum=momentum, lr=0.05)
    counts = dict(zip(TARGETS, images, strict=True))
    toy = Toy(feddyn(alpha=0.5), TARGETS, train, steps=STEPS, images=counts)
    for _ in range(60):
        toy.round()
    optimum = sum(n * target for n, target in zip(images, TARGETS.values(), strict=True)) / sum(
        images
    )
    assert (toy.params - optimum).norm() < 0.01
    kept = [toy.states[store]["linear"] * n for store, n in zip(TARGETS, images, strict=True)]
    torch.testing.assert_close(toy.memory["linear"], sum(kept) / sum(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "a learning rate of at most 0.01."),
        ({"train.lr": 0.02}, "train.lr=0.02 and train.momentum=0.9"),
        ({"train.lr": 0.01}, None),
        ({"train.momentum": 0}, None),
        ({"train.optimizer": "adam", "train.lr": 0.002}, None),
    ],
)
def test_steps_with_which_models_fell_apart_are_told(
    given: dict[str, object], words: str | None
) -> None:
    remark = feddyn().remark_on(resolve({"strategy.name": "feddyn"} | given))
    assert remark is None if words is None else words in (remark or "")
