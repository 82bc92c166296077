"""Every engine judges each store by the raw scores and with that store's own log shares added, as
the store would.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common.images.types import StoreData
from fedshelf.common.protocol.messages import EvaluateOrder, Evaluation
from fedshelf.common.strategies.shared.class_skew import logit_adjustment
from fedshelf.simulations.engines.batched.engine import BatchedEngine
from fedshelf.simulations.engines.sequential import SequentialEngine
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.simulated_stores import CLASSES, CPU, photos, settings, start


def unequal() -> Federation:
    """Store k sells class k and, but for the last one, a little of the next; each holds out all
    classes.
    """
    everything = photos(90, 16)
    labels = torch.arange(90) % len(CLASSES)
    stores = {}
    for number in range(len(CLASSES)):
        most = torch.where(labels == number)[0][:20]
        few = torch.where(labels == number + 1)[0][:4]
        stores[f"store-{number}"] = StoreData(
            everything.select(torch.cat([most, few])),
            photos(9 + number, 16, seed=number),
            photos(7, 16, seed=9),
        )
    counts = {
        name: torch.bincount(data.train.targets(), minlength=3).tolist()
        for name, data in stores.items()
    }
    return Federation(CLASSES, stores, None, counts, "")


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize(
    "build",
    [
        SequentialEngine,
        lambda dealt, begun, states: BatchedEngine(dealt, begun, states, [CPU]),
        lambda dealt, begun, states: BatchedEngine(dealt, begun, states, [CPU] * 2),
    ],
    ids=["sequential", "batched", "two devices"],
)
def test_an_engine_judges_as_each_store_alone(
    build: Callable[..., Any], split: Any, tmp_path: Path
) -> None:
    dealt = unequal()
    begun = start(settings(strategy__absent_classes="weigh", run__workers=1))
    order = EvaluateOrder(begun.plan, 1, begun.params, split, (1.0, 2.0))
    with closing(build(dealt, begun, tmp_path)) as engine:
        found = {answer.store: answer for answer in engine.evaluate(order, list(dealt.stores))}
    trainer = Trainer(CPU, StateStore(tmp_path / "alone"))
    for name, data in dealt.stores.items():
        added = logit_adjustment(data.train, begun.plan)
        (expected,) = trainer.evaluate(order, {name: getattr(data, split)}, {name: added})
        assert isinstance(found[name], Evaluation)
        assert same(found[name].counts, expected.counts)
        assert same(found[name].adjusted, expected.adjusted)
        assert not same(found[name].adjusted, expected.counts)


def test_nothing_is_adjusted_where_training_adds_nothing(tmp_path: Path) -> None:
    dealt = unequal()
    begun = start(settings(strategy__absent_classes="full"))
    with closing(BatchedEngine(dealt, begun, tmp_path, [CPU])) as engine:
        answers = list(
            engine.evaluate(EvaluateOrder(begun.plan, 1, begun.params), list(dealt.stores))
        )
    assert [answer.adjusted for answer in answers] == [None] * 3


def same(one: Any, other: Any) -> bool:
    """Equal counts, losses but for rounding."""
    return bool(
        (one.confusion == other.confusion).all()
        and one.loss_sum == pytest.approx(other.loss_sum, rel=1e-5)
        and one.reliability.nll == pytest.approx(other.reliability.nll, rel=1e-5)
    )
