"""The engine that trains many stores at once on a device; see `simulations.engines.batched`.

It pays where one small network's step leaves a device idle, as on any GPU. With several GPUs each
takes a part of the cohort, driven by a thread of its own: operations run without the interpreter's
lock.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from fedshelf.client.worker.state_store import StateStore
from fedshelf.common import strategies
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.types import Images
from fedshelf.common.metrics.counts import Counts, merge
from fedshelf.common.protocol.failures import make_failure
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    TrainOrder,
    Update,
)
from fedshelf.common.training.evaluate import RawAndAdjusted
from fedshelf.server.training import client_sampling
from fedshelf.server.training.setup import InitialState
from fedshelf.simulations.engines.batched.device_worker import DeviceWorker, Store
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.federation.runtime import FederationRuntime

Result = TypeVar("Result")


class BatchedEngine(FederationRuntime):
    """A runtime (see `server.runtime`) over the stores of a federation, and the judge of its test
    set.

    states: storage of the stores' states of strategies
    devices: by default the run's device, and for plain "cuda" all CUDA devices

    Raises ConfigError if many stores cannot train at once.
    """

    def __init__(
        self,
        federation: Federation,
        start: InitialState,
        states: Path,
        devices: Sequence[torch.device] = (),
    ) -> None:
        _check(start)
        super().__init__(federation, start.plan)
        devices = devices or _devices(torch.device(start.plan.config.run.device))
        self._shards = [DeviceWorker(start.plan, device, StateStore(states)) for device in devices]
        self._first = devices[0]
        self._threads = ThreadPoolExecutor(len(devices))

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        """Train stores. Update.params are on the first device, and stay valid."""
        config = self._plan.config
        following = order.round + 1
        ahead = client_sampling.sample(self._infos, config.cohort, config.run.seed, following)
        parts = self._shares(stores)
        parts_ahead = self._shares(ahead if following <= config.run.rounds else [])
        for store in stores:
            if not len(self._federation.stores[store].train):
                yield make_failure(store, "no-images")

        def part(place: int) -> Iterator[Update | Failure]:
            return self._shards[place].train(order, parts[place], parts_ahead[place])

        if len(self._shards) == 1:
            yield from part(0)
            return
        for answers in self._on_all(lambda place: list(part(place))):
            for answer in answers:
                yield (
                    replace(answer, params=answer.params.to(self._first))
                    if isinstance(answer, Update)
                    else answer
                )

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        """Evaluate all stores in one pass over their images: they judge the same model."""
        sets = [self._held_out(store, order.split) for store in stores]
        own = [self._adjustment(store) for store in stores]
        for store, pair in zip(
            stores, self._counted(order.params, sets, own, order.temperatures), strict=True
        ):
            yield Evaluation(store, order.round, *pair)

    def evaluate_test_set(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Count results on the federation's test set; with `temperatures`, also the model's
        calibration at each.
        """
        test = self._federation.test
        assert test is not None
        parts = [
            test.select(positions)
            for positions in torch.arange(len(test)).tensor_split(len(self._shards))
        ]
        counted = self._counted(params, parts, [None] * len(parts), temperatures)
        return merge([counts for counts, _ in counted], len(self._plan.spec.classes))

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def _counted(
        self,
        params: Tensor,
        sets: Sequence[Images],
        own: Sequence[Tensor | None],
        temperatures: Sequence[float],
    ) -> list[RawAndAdjusted]:
        """Count the results of each set; the sets are dealt to the devices in turn.

        own: each set's adjustment
        """
        count = len(self._shards)
        found: list[RawAndAdjusted | None] = [None] * len(sets)

        def work(place: int) -> tuple[int, list[RawAndAdjusted]]:
            return place, self._shards[place].evaluate(
                params, sets[place::count], own[place::count], temperatures
            )

        for place, pairs in self._on_all(work):
            found[place::count] = pairs
        return [pair for pair in found if pair is not None]

    def _shares(self, stores: Sequence[str]) -> list[list[Store]]:
        """Return the stores that have images, largest first, dealt to the devices in turn."""
        opened = [(store, self._federation.stores[store].train) for store in stores]
        ordered = sorted((item for item in opened if len(item[1])), key=lambda item: -len(item[1]))
        return [ordered[place :: len(self._shards)] for place in range(len(self._shards))]

    def _on_all(self, work: Callable[[int], Result]) -> Iterator[Result]:
        """Yield results of `work` for each device, as they come."""
        if len(self._shards) == 1:
            yield work(0)
            return
        for done in as_completed(
            [self._threads.submit(work, place) for place in range(len(self._shards))]
        ):
            yield done.result()


def _check(start: InitialState) -> None:
    """Check that the settings allow stores to take their steps together; raise ConfigError if
    not.
    """
    config = start.plan.config
    advice = "use --engine sequential."
    if config.train.seconds:
        raise ConfigError(
            f"Setting train.seconds got {config.train.seconds:g} with the engine batched, whose"
            f" stores take their steps together, so that none is slower than others; {advice}"
        )
    if strategies.build(config.strategy, start.layout).personal_tensors():
        raise ConfigError(
            f"Strategy {config.strategy.name} keeps parts of the model at the stores, and the"
            f" engine batched begins all stores with the same model; {advice}"
        )


def _devices(chosen: torch.device) -> list[torch.device]:
    """Return all CUDA devices for "cuda" without a number, else the one chosen."""
    if chosen.type == "cuda" and chosen.index is None:
        return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return [chosen]
