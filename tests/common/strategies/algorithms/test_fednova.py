"""FedNova: numbers that can be checked by hand, and what it is for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig, TrainConfig
from fedshelf.common.protocol.messages import Failure, TrainOrder, Update
from fedshelf.common.strategies.shared.local_training import normalized_steps
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.simulations.engines.sequential import SequentialEngine
from tests.helpers.by_hand import Notes
from tests.helpers.simulated_stores import federation, settings, start
from tests.helpers.toy import Toy


def update(store: str, images: int, values: list[float], claim: float) -> Update:
    return Update(
        store, 1, torch.tensor(values), images, 0.0, 0.0, {"reach": torch.tensor([claim])}
    )


def aggregated(
    start: list[float], *updates: Update, trainable: int | None = None, **settings: object
) -> list[float]:
    half = strategies.build(StrategyConfig(name="fednova", **settings))
    params = torch.tensor(start)
    return half.update_global_model(params, updates, {}, trainable or len(start))[0].tolist()


def test_a_round_by_hand() -> None:
    """x = 1; 1 of 4 images at a store that went to 3 with a reach of 1, 3 of 4 at one that went to
    5 with 4.
    """
    # normalised: (3 - 1) / 1 = 2 and (5 - 1) / 4 = 1; effective reach 1/4 * 1 + 3/4 * 4 = 3.25
    # x + 3.25 * (1/4 * 2 + 3/4 * 1) = 1 + 3.25 * 1.25
    assert aggregated(
        [1.0], update("a", 1, [3.0], 1.0), update("b", 3, [5.0], 4.0)
    ) == pytest.approx([5.0625])
    # uniform: 1 + (1 + 4) / 2 * (2 + 1) / 2
    assert aggregated(
        [1.0], update("a", 1, [3.0], 1.0), update("b", 3, [5.0], 4.0), weighting="uniform"
    ) == [4.75]


def test_equal_work_is_fedavg() -> None:
    cohort = [update("a", 1, [3.0, -1.0], 2.0), update("b", 3, [5.0, 7.0], 2.0)]
    assert aggregated([1.0, 2.0], *cohort) == pytest.approx([4.5, 5.0])


def test_buffers_are_taken_from_fedavgs_mean() -> None:
    cohort = [update("a", 1, [3.0, 4.0], 1.0), update("b", 3, [5.0, 8.0], 4.0)]
    assert aggregated([1.0, 0.0], *cohort, trainable=1) == pytest.approx([5.0625, 7.0])


def test_momentum_counts_as_the_papers_code_has_it() -> None:
    """(tau - rho (1 - rho^tau) / (1 - rho)) / (1 - rho), by hand for tau = 2, rho = 0.5: (1) + (1 +
    0.5) = 2.5.
    """
    assert normalized_steps(2, 1.0, 0.5) == pytest.approx(2.5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_number_of_steps_does_not_pull_the_optimum(momentum: float) -> None:
    """Two stores of equal size, one of them takes ten times the steps: FedAvg ends nearer to it,
    FedNova does not.
    """
    targets = {"a": torch.tensor([0.0]), "b": torch.tensor([1.0])}
    steps = {"a": 2, "b": 20}
    ends = {}
    for name in ("fedavg", "fednova"):
        strategy = strategies.build(StrategyConfig(name=name))
        toy = Toy(
            strategy,
            targets,
            TrainConfig(momentum=momentum, lr=1e-4),
            steps=steps,
            images={"a": 5, "b": 5},
        )
        toy.params = torch.tensor([0.5])
        for _ in range(50):
            toy.round()
        toy.params, before = torch.tensor([0.5]), toy.params
        toy.round()
        ends[name] = (before.item(), toy.params.item())
    assert ends["fednova"] == pytest.approx((0.5, 0.5), abs=2e-3)
    assert ends["fedavg"][0] > 0.52


def test_a_reach_is_of_its_own_store_alone() -> None:
    """A store that did twice the work for twice the way counts as before; only the common length of
    the step grows.
    """
    one = update("a", 1, [2.0], 1.0)
    other = update("b", 1, [0.0], 1.0)
    twice = replace(one, params=torch.tensor([4.0]), extras={"reach": torch.tensor([2.0])})
    assert aggregated([0.0], one, other) == [1.0]
    assert aggregated([0.0], twice, other) == [1.5]  # direction 1 still, at the mean reach 1.5


class Boasting(SequentialEngine):
    """The first store claims the reach of a single step, so that what it sends counts as many times
    over.
    """

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        for answer in super().train(order, stores):
            assert isinstance(answer, Update)
            yield (
                replace(answer, extras={"reach": torch.tensor([0.01])})
                if answer.store == stores[0]
                else answer
            )


def test_a_store_that_claims_less_work_than_it_did_does_not_count(tmp_path: Path) -> None:
    """Three epochs of 30 images in batches of 8 are 9 to 12 steps, without momentum at a rate of
    0.01.
    """
    config = settings(
        model__name="niid-cnn", strategy__name="fednova", train__momentum=0, run__workers=1
    )
    dealt = federation((30, 9))
    begun = start(config)
    rounds = RoundLoop(
        begun.plan, begun.layout, Boasting(dealt, begun, tmp_path), Notes(), lambda: False
    )
    _, record = rounds.play(rounds.initial_state(begun.params))
    assert list(record["stores"]) == ["store-1"]
    assert record["failed"]["store-0"]["reason"] == (
        "claims 0.01 normalised steps times the learning rate, where its images allow 0.09 to 0.12"
    )
