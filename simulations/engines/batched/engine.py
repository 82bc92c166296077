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
from fedshelf.server.training import cohort
from fedshelf.server.training.setup import InitialState
from fedshelf.simulations.engines.batched.device_worker import DeviceWorker, Store
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.federation.runtime import FederationRuntime

Result = TypeVar("Result")


class BatchedEngine(FederationRuntime):
    """An engine that trains many stores at once on each device.

    Args:
        federation: the stores.
        start: the initial state: plan, network layout and parameters.
        states: directory of the stores' states of strategies.
        devices: by default the run's device, and for plain "cuda" all CUDA devices.

    Raises:
        ConfigError: many stores cannot train at once with these settings or this network.
    """

    def __init__(
        self,
        federation: Federation,
        start: InitialState,
        states: Path,
        devices: Sequence[torch.device] = (),
    ) -> None:
        _check_settings(start)
        super().__init__(federation, start.plan)
        devices = devices or _devices(torch.device(start.plan.config.run.device))
        self._device_workers = [
            DeviceWorker(start.plan, device, StateStore(states)) for device in devices
        ]
        self._first_device = devices[0]
        self._threads = ThreadPoolExecutor(len(devices))

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        """Train stores, in groups that fit on the devices.

        Args:
            order: the round's order; `order.params` is the global model, float32 [P].
            stores: names of the stores to train.

        Yields:
            One answer a store, as they come. `Update.params`, float32 [P], are on the first device
            or, where there is no room, on the CPU; they stay valid.
        """
        config = self._plan.config
        next_round = order.round + 1
        next_cohort = cohort.sample(self._infos, config.cohort, config.run.seed, next_round)
        stores_of_device = self._split_over_devices(stores)
        next_stores_of_device = self._split_over_devices(
            next_cohort if next_round <= config.run.rounds else []
        )
        for store in stores:
            if not len(self._federation.stores[store].train):
                yield make_failure(store, "no-images")

        def train_on(device_index: int) -> Iterator[Update | Failure]:
            return self._device_workers[device_index].train(
                order, stores_of_device[device_index], next_stores_of_device[device_index]
            )

        if len(self._device_workers) == 1:
            yield from train_on(0)
            return
        for answers in self._run_on_devices(lambda device_index: list(train_on(device_index))):
            for answer in answers:
                yield (
                    replace(answer, params=answer.params.to(self._first_device))
                    if isinstance(answer, Update)
                    else answer
                )

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        """Evaluate all stores in one pass over their held-out images.

        Args:
            order: the model, float32 [P], and the split: "validation" or "test".
            stores: names of the stores to evaluate.

        Yields:
            One answer a store, in the order of `stores`.
        """
        sets = [self._held_out(store, order.split) for store in stores]
        adjustments = [self._adjustment(store) for store in stores]
        for store, pair in zip(
            stores,
            self._evaluate_sets(order.params, sets, adjustments, order.temperatures),
            strict=True,
        ):
            yield Evaluation(store, order.round, *pair)

    def evaluate_test_set(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Count results of `params` [P] on the test set; see `Engine.evaluate_test_set`."""
        test = self._federation.test
        assert test is not None
        chunks = [
            test.select(positions)
            for positions in torch.arange(len(test)).tensor_split(len(self._device_workers))
        ]
        pairs = self._evaluate_sets(params, chunks, [None] * len(chunks), temperatures)
        return merge([counts for counts, _ in pairs], len(self._plan.spec.classes))

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def _evaluate_sets(
        self,
        params: Tensor,
        sets: Sequence[Images],
        adjustments: Sequence[Tensor | None],
        temperatures: Sequence[float],
    ) -> list[RawAndAdjusted]:
        """Count the results of each set; the sets are dealt to the devices in turn.

        adjustments: each set's adjustment
        """
        num_devices = len(self._device_workers)
        pairs: list[RawAndAdjusted | None] = [None] * len(sets)

        def evaluate_on(device_index: int) -> tuple[int, list[RawAndAdjusted]]:
            return device_index, self._device_workers[device_index].evaluate(
                params,
                sets[device_index::num_devices],
                adjustments[device_index::num_devices],
                temperatures,
            )

        for device_index, device_pairs in self._run_on_devices(evaluate_on):
            pairs[device_index::num_devices] = device_pairs
        return [pair for pair in pairs if pair is not None]

    def _split_over_devices(self, stores: Sequence[str]) -> list[list[Store]]:
        """Return the stores that have images, largest first, for each device in turn."""
        images_of_stores = [(store, self._federation.stores[store].train) for store in stores]
        largest_first = sorted(
            (item for item in images_of_stores if len(item[1])), key=lambda item: -len(item[1])
        )
        return [
            largest_first[device_index :: len(self._device_workers)]
            for device_index in range(len(self._device_workers))
        ]

    def _run_on_devices(self, work: Callable[[int], Result]) -> Iterator[Result]:
        """Yield results of `work` for each device, as they come."""
        if len(self._device_workers) == 1:
            yield work(0)
            return
        for future in as_completed(
            [
                self._threads.submit(work, device_index)
                for device_index in range(len(self._device_workers))
            ]
        ):
            yield future.result()


def _check_settings(start: InitialState) -> None:
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
    if config.privacy.is_on:
        raise ConfigError(
            f"Setting privacy.clip got {config.privacy.clip:g} with the engine batched, which adds"
            f" up the gradients of a batch before anything could clip each image's; {advice}"
        )
    strategy = strategies.build(config.strategy, start.layout)
    if strategy.closed_form:
        raise ConfigError(
            f"Strategy {config.strategy.name} does not train its stores, and the engine batched"
            f" only trains many at once; {advice}"
        )
    if strategy.personal_tensors():
        raise ConfigError(
            f"Strategy {config.strategy.name} keeps parts of the model at the stores, and the"
            f" engine batched begins all stores with the same model; {advice}"
        )


def _devices(chosen: torch.device) -> list[torch.device]:
    """Return all CUDA devices for "cuda" without a number, else the one chosen."""
    if chosen.type == "cuda" and chosen.index is None:
        return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return [chosen]
