"""The server goes on from a sum as from the single updates, but for the rounding of the ring."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig, flatten, resolve
from fedshelf.common.images.types import Images
from fedshelf.common.protocol.messages import (
    StoreInfo,
    Summand,
    TrainOrder,
    Update,
)
from fedshelf.common.strategies.shared.class_skew import images_by_class, keep_absent_rows
from fedshelf.common.strategies.shared.local_training import normalized_steps
from fedshelf.common.strategies.shared.normalized_steps import NORMALIZED_STEPS
from fedshelf.common.training.fit import Network
from fedshelf.common.training.summand import make_summand
from fedshelf.server.updates import secure_sums
from fedshelf.simulations.federation.plain_sums import plain_sum
from tests.helpers.small_plan import CONFIG, CPU, PLAN

CLASSES = PLAN.spec.classes
STORES = {"oslo": (12, 0), "rome": (5, 9), "kyiv": (1, 30), "lima": (8, 8)}
SUMS = [
    name
    for name, strategy in strategies.STRATEGIES.items()
    if not strategies.needs_single_updates(strategy)
]


def network() -> Network:
    return Network(PLAN.spec, CPU, seed=1)


def config_of(name: str, **settings: object) -> RunConfig:
    given = {key.replace("__", "."): value for key, value in settings.items()}
    return resolve(
        flatten(CONFIG),
        {"strategy.name": name, "privacy.secure_sum": True, "cohort.min_stores": 3},
        given,
    )


class Round:
    """One round of four stores whose updates are drawn, not trained.

    Attributes:
        order: with the terms of a secure sum
        updates: by store
    """

    def __init__(self, config: RunConfig, change: float = 0.01) -> None:
        net = network()
        self.layout = net.layout
        self.strategy = strategies.build(config.strategy, net.layout)
        self.present = {
            name: StoreInfo(name, dict(zip(CLASSES, counts, strict=True)), 0, 0)
            for name, counts in {**STORES, "cairo": (3, 3)}.items()
        }
        self.cohort = {name: self.present[name] for name in STORES}
        self.params = net.vector.detach().clone()
        self.state = self.strategy.init_server_state(self.params, net.layout.trainable)
        self.order = TrainOrder(
            replace(PLAN, config=config),
            1,
            self.params,
            self.strategy.extras(self.state),
            terms=secure_sums.terms(config, list(STORES), self.present),
        )
        self.updates = {name: self._update(name, config, change) for name in STORES}

    def _update(self, name: str, config: RunConfig, change: float) -> Update:
        draws = torch.Generator().manual_seed(sum(map(ord, name)))
        images = sum(STORES[name])
        steps = -(-images // config.train.batch) * config.train.passes
        reach = normalized_steps(steps, config.train.lr, config.train.momentum)
        expected = self.strategy.expected_extras(self.layout.trainable)
        moved = self.params + change * torch.randn(self.params.shape, generator=draws)
        for own in map(self.layout.slice_of, self.strategy.personal_tensors()):
            moved[own] = self.params[own]  # as `withhold_personal` leaves it
        return Update(
            name,
            1,
            moved,
            images,
            loss=0.5 + images / 100,
            seconds=1.0,
            extras={NORMALIZED_STEPS: torch.tensor([reach])} if expected else {},
            steps=steps,
        )

    def images(self, name: str) -> Images:
        labels = torch.repeat_interleave(torch.arange(2), torch.tensor(STORES[name]))
        return Images.whole(torch.zeros(len(labels), 16, 16, 3, dtype=torch.uint8), labels)

    def summand(self, name: str, unsent: Tensor | None = None) -> tuple[Summand, Tensor | None]:
        made = make_summand(
            self.order, self.updates[name], self.images(name), self.strategy, self.layout, unsent
        )
        assert made is not None
        return made

    def summed(self) -> tuple[Tensor, Tensor]:
        """Return the next model and the mean loss, by the sum."""
        outcome = secure_sums.collect(
            self.order,
            self.cohort,
            self.present,
            plain_sum(1, [self.summand(name)[0] for name in STORES]),
            self.strategy,
            self.layout,
        )
        assert outcome.stores == tuple(sorted(STORES))
        (update,) = outcome.updates
        assert update.num_examples == sum(map(sum, STORES.values()))
        return self._next(outcome.updates), torch.tensor(update.loss)

    def one_by_one(self) -> Tensor:
        """Return the next model, by the single updates."""
        updates = [self.updates[name] for name in sorted(STORES)]
        if self.order.plan.config.strategy.absent != "full":
            updates = [
                replace(
                    update,
                    images_by_class=images_by_class(
                        self.present[update.store], CLASSES, update.num_examples
                    ),
                )
                for update in updates
            ]
        return self._next(updates)

    def _next(self, updates: list[Update]) -> Tensor:
        model, state = self.strategy.update_global_model(
            self.params, updates, self.state, self.layout.trainable, self.present
        )
        by_class = [update.images_by_class for update in updates]
        model = keep_absent_rows(self.params, model, by_class, self.layout)
        return torch.cat([model, *(tensor.flatten().float() for tensor in state.values())])


@pytest.mark.parametrize("weighting", ["images", "uniform"])
@pytest.mark.parametrize("absent", ["full", "weigh"])
@pytest.mark.parametrize("name", SUMS)
def test_a_sum_makes_the_model_of_the_single_updates(
    name: str, absent: str, weighting: str
) -> None:
    if name == "fedbn":
        pytest.skip("the network has no norms")
    config = config_of(name, strategy__absent_classes=absent, strategy__weighting=weighting)
    one = Round(config)
    summed, loss = one.summed()
    # adaptive optimizers divide by small moments, SCAFFOLD by small steps
    torch.testing.assert_close(summed, one.one_by_one(), rtol=1e-4, atol=1e-5)
    images = {name: sum(counts) for name, counts in STORES.items()}
    wanted = sum((0.5 + n / 100) * n for n in images.values()) / sum(images.values())
    assert float(loss) == pytest.approx(wanted, abs=1e-5)


def test_strategies_that_are_sums_are_those_of_the_design() -> None:
    assert SUMS == [
        "fedavg", "fedprox", "fedper", "feddyn", "scaffold", "fednova", "fedbn", "fedavgm",
        "fedadam", "fedyogi", "fedadagrad",
    ]  # fmt: skip
