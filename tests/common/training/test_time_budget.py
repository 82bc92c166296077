"""A store that ends its training when its time is over: with whole steps, and with the number of
them.
"""

from pathlib import Path

import pytest
import torch

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.types import Images
from fedshelf.common.strategies.shared.local_training import normalized_steps
from fedshelf.common.training.fit import LocalTrainingResult, LocalTrainingTask, Network, fit
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.simulations import engines
from fedshelf.simulations.engines.sequential import SequentialEngine
from tests.helpers.by_hand import Notes
from tests.helpers.simulated_stores import (
    CPU,
    batched,
    federation,
    order,
    photos,
    settings,
    start,
    trained,
)

MOMENT = 1e-9
AGES = 1e9


def config_of(seconds: float, **changed: object) -> RunConfig:
    """Two epochs of three batches."""
    given = {
        "model__name": "niid-cnn",
        "train__epochs": 2,
        "train__batch_size": 8,
        "train__seconds": seconds,
    }
    return settings(**given | {"run__workers": 1} | changed)


def fitted(seconds: float, images: Images) -> LocalTrainingResult:
    config = config_of(seconds)
    begun = start(config)
    network = Network(begun.plan.spec, CPU)
    return fit(
        network,
        images,
        LocalTrainingTask(config, strategies.build(config.strategy), "oslo", 1, begun.params),
    )


def test_time_enough_is_as_without_a_limit() -> None:
    images = photos(20, 16)
    free = fitted(0, images)
    limited = fitted(AGES, images)
    assert torch.equal(limited.params, free.params)
    assert (limited.loss, limited.steps) == (free.loss, free.steps) == (free.loss, 6)


def test_no_time_is_one_step_and_the_loss_of_its_images() -> None:
    """The same step as that of a training on one batch: no image beyond it counts, in the loss
    neither.
    """
    images = photos(8, 16)
    limited = fitted(MOMENT, images)
    whole = fitted(0, images)  # two epochs of one batch: the loss reported is that of the second
    assert (limited.steps, whole.steps) == (1, 2)
    assert limited.num_examples == 8
    assert 0 < limited.loss != whole.loss
    assert not torch.equal(limited.params, whole.params)


@pytest.mark.parametrize("name", ["fedavg", "scaffold", "fednova", "fedprox"])
def test_any_strategy_goes_on_with_what_there_is(name: str, tmp_path: Path) -> None:
    dealt = federation((30, 9))
    config = config_of(MOMENT, strategy__name=name)
    begun = start(config)
    rounds = RoundLoop(
        begun.plan, begun.layout, SequentialEngine(dealt, begun, tmp_path), Notes(), lambda: False
    )
    state = rounds.initial_state(begun.params)
    for _ in range(3):
        state, record = rounds.play(state)
        assert [told["steps"] for told in record["stores"].values()] == [1, 1]
        assert not record["failed"]
    assert torch.isfinite(state.params).all()
    assert state.totals.images == 3 * (8 + 8)  # a step of each store a round, not two epochs


def test_a_store_that_ended_early_tells_its_reach(tmp_path: Path) -> None:
    dealt = federation((30, 9))
    config = config_of(MOMENT, strategy__name="fednova")
    begun = start(config)
    updates = trained(SequentialEngine(dealt, begun, tmp_path), order(begun), list(dealt.stores))
    expected = normalized_steps(1, config.train.lr, config.train.momentum)
    assert [update.extras["reach"].item() for update in updates.values()] == pytest.approx(
        [expected, expected]
    )


def test_stores_that_step_together_have_no_time_of_their_own(tmp_path: Path) -> None:
    config = config_of(5.0)
    with pytest.raises(
        ConfigError, match=r"train\.seconds got 5 with the engine batched.*use --engine sequential"
    ):
        batched(federation((4, 3)), start(config), tmp_path)
    assert engines.choose(start(config_of(5.0, run__device="cuda"))) == "sequential"
    assert engines.choose(start(config_of(0, run__device="cuda"))) == "batched"
