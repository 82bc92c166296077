"""One run of simulated stores, one of which may have wrong labels or send wrong updates."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedshelf.common.config import resolve
from fedshelf.common.errors import StoresError
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.common.seeding import derive, rng
from fedshelf.server.results.run_status import RunActivity
from fedshelf.server.runtime import Runtime
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.training.setup import InitialState, prepare, settle
from fedshelf.server.updates.anomaly_detection import sample_of
from fedshelf.server.updates.evaluator import Evaluators, ServerEvaluator
from fedshelf.simulations import datasets, engines
from fedshelf.simulations.engines import Engine
from fedshelf.simulations.federation import federation
from fedshelf.simulations.federation.federation import Federation

CPU = torch.device("cpu")


MISLABELLING = ("exchanged", "shifted")
SPOILING = ("flipped", "scaled", "noise")


def wrong_labels(harm: str, labels: Tensor, own: Tensor, classes: int) -> Tensor:
    """Return wrong labels for a store.

    Args:
        harm: "exchanged": its two most frequent classes are exchanged; "shifted": all classes are
            shifted by one
        labels: int64 [M]
        own: labels of the store's own images, int64 [N]
        classes: number of classes

    Returns:
        Int64 [M].
    """
    if harm == "shifted":
        return (labels + 1) % classes
    first, second = (
        torch.bincount(own, minlength=2).argsort(descending=True, stable=True)[:2].tolist()
    )
    wrong = labels.clone()
    wrong[labels == first], wrong[labels == second] = second, first
    return wrong


def spoiled(harm: str, change: Tensor, seed: int) -> Tensor:
    """Return the change of the weights that a harmful store sends.

    Args:
        harm: "flipped" or "scaled": a multiple of the true change; "noise": noise of the same norm
        change: the true change by training, float32 [P]
        seed: seed of the noise

    Returns:
        Float32 [P].
    """
    if harm != "noise":
        return change * {"flipped": -1, "scaled": 10}[harm]
    random = torch.randn(len(change), generator=torch.Generator().manual_seed(seed))
    return random.mul_(change.norm() / random.norm())


@dataclass(frozen=True)
class Harmful:
    """An engine one of whose stores spoils its updates; all else is the engine's.

    Attributes:
        engine: trains all stores
        bad: the name of the harmful store
        harm: see `spoiled`
        seed: seed of the noise
    """

    engine: Engine
    bad: str
    harm: str
    seed: int

    def stores(self) -> Mapping[str, StoreInfo]:
        """Return the engine's stores."""
        return self.engine.stores()

    def retry_after(self) -> float:
        """Return 0 seconds: no store comes back later."""
        return 0.0

    def held_back(self) -> Mapping[str, str]:
        """Return no stores."""
        return {}

    def exclude(self, store: str, why: str) -> None:
        """Exclude a store from the engine."""
        self.engine.exclude(store, why)

    def prefetch_training(self, order: TrainOrder, stores: Sequence[str]) -> None:
        """Pass the hint on to the engine."""
        self.engine.prefetch_training(order, stores)

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        """Evaluate as the engine does."""
        return iter(self.engine.evaluate(order, stores))

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        """Train as the engine does, and spoil the updates of the harmful store."""
        for answer in self.engine.train(order, stores):
            if isinstance(answer, Update) and answer.store == self.bad:
                yield self._spoiled(order, answer)
            else:
                yield answer

    def _spoiled(self, order: TrainOrder, update: Update) -> Update:
        change = spoiled(
            self.harm, update.params - order.params, derive(self.seed, "harm", order.round)
        )
        return replace(update, params=order.params + change)


def mislabelled(stores: Federation, bad: str, harm: str) -> Federation:
    """Return the same stores, one of which has wrong labels.

    It also counts its images by these labels, as a real store would.
    """
    good = stores.stores[bad]
    labels = wrong_labels(harm, good.train.labels, good.train.targets(), len(stores.classes))
    train = Images(good.train.inputs, labels, good.train.rows)
    counts = torch.bincount(train.targets(), minlength=len(stores.classes)).tolist()
    wrong: dict[str, StoreData] = {bad: replace(good, train=train)}
    return replace(stores, stores={**stores.stores, **wrong}, table={**stores.table, bad: counts})


class Silent:
    """An observer that ignores all events."""

    def row(self, record: Mapping[str, Any]) -> None: ...

    def note(self, text: str) -> None: ...

    def doing(self, doing: RunActivity) -> None: ...

    def training(self, round_number: int, done: int, sampled: int) -> None: ...


def play(settings: Mapping[str, Any], harm: str) -> dict[str, Any]:
    """Play a run that ends when its bad store is told, or after its rounds.

    Args:
        settings: flat settings of the run
        harm: the harm that its bad store does; "honest": there is no bad store

    Returns:
        `bad`: the name of the bad store, or None; `told`: store -> round in which it was set aside,
        or had been suspected for long enough to tell a person; `why`: store -> sentence; `rounds`:
        the number of rounds played.
    """
    torch.set_num_threads(1)
    config = resolve(
        dict(settings), {"run.device": "cpu", "run.workers": 1, "screening.detect": "on"}
    )
    source = datasets.find(config.data)
    config = settle(config, source.native_size, source.channels)
    stores = federation.build(config, image_size=config.data.image_size, channels=source.channels)
    bad = (
        None if harm == "honest" else str(rng(config.run.seed, "bad").choice(sorted(stores.stores)))
    )
    if bad is not None and harm in MISLABELLING:
        stores = mislabelled(stores, bad, harm)
    start = prepare(config, stores.classes, source.channels).identified("run")
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(engines.find("sequential")(stores, start, Path(folder))) as engine,
    ):
        runtime = (
            Harmful(engine, bad, harm, config.run.seed)
            if bad is not None and harm in SPOILING
            else engine
        )
        return {"bad": bad} | _play_until_told(start, stores, runtime, bad)


def _play_until_told(
    start: InitialState, stores: Federation, runtime: Runtime, bad: str | None
) -> dict[str, Any]:
    """Play rounds until the server tells of the store `bad`."""
    assert stores.test is not None
    evaluators = Evaluators(
        sample=sample_of(ServerEvaluator(start.plan, stores.test, CPU), start.plan.config)
    )
    rounds = RoundLoop(start.plan, start.layout, runtime, Silent(), lambda: False, evaluators)
    state = rounds.initial_state(start.params)
    told_rounds: dict[str, int] = {}
    why: dict[str, str] = {}
    while state.round < start.plan.config.run.rounds and bad not in told_rounds:
        try:
            state, record = rounds.play(state)
        except StoresError:  # the model is ruined: nobody's training comes to anything
            break
        state = replace(state, record=record)
        for store, sentence in (
            record["standing"]["set_aside"] | record["standing"]["suspects"]
        ).items():
            told_rounds.setdefault(store, state.round)
            why.setdefault(store, sentence)
    return {"told": told_rounds, "why": why, "rounds": state.round}
