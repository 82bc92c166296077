"""The engine that spreads a cohort over a Ray cluster of several machines.

Workers are actors that hold a resident network. The data set lies once on every node, in Ray's
object store; a round's global model is put there once, and updates come back through it. Flower's
own simulation sends weights as messages to every client instead, and loads the data at each actor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from torch import Tensor

from fedshelf.client.worker.state_store import StateStore
from fedshelf.common import strategies
from fedshelf.common.errors import RunError
from fedshelf.common.images.types import Images
from fedshelf.common.metrics.counts import Counts, merge
from fedshelf.common.protocol.messages import (
    DetachedOrder,
    EvaluateOrder,
    Evaluation,
    Failure,
    TrainOrder,
    Update,
)
from fedshelf.server.training.setup import InitialState
from fedshelf.simulations.engines.ray.worker import (
    Arrays,
    Model,
    RayEvaluateJob,
    RayTrained,
    RayTrainJob,
    Selection,
    Setup,
    arrays,
    tensors,
)
from fedshelf.simulations.engines.ray.workers import RayWorkers
from fedshelf.simulations.engines.sequential import IMAGES_PER_JUDGING, parcels
from fedshelf.simulations.federation.answers import load_state, save_state
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.federation.runtime import FederationRuntime

LOST_REASON = "its worker died again and again; perhaps the node has too little memory"


class RayEngine(FederationRuntime):
    """A runtime (see `server.runtime`) over the stores of a federation, and the judge of its test
    set.

    Ray must be connected.

    states: storage of the stores' states of strategies; it stays on this machine
    """

    def __init__(self, federation: Federation, start: InitialState, states: Path) -> None:
        config = start.plan.config.run
        super().__init__(federation, start.plan)
        self._states = StateStore(states)
        self._personal = bool(
            strategies.build(start.plan.config.strategy, start.layout).personal_tensors()
        )
        self._placed: dict[tuple[int, int], tuple[Images, tuple[Any, Any]]] = {}
        share = config.gpus_per_worker or float(config.device.startswith("cuda"))
        frozen = None if start.plan.frozen is None else start.plan.frozen.numpy()
        self._crew = RayWorkers(
            Setup(replace(start.plan, frozen=None), frozen, "cuda" if share else "cpu"), share
        )

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        """Train the largest stores first, so that no worker is left with a large one at the end.

        Raises RunError.
        """
        largest_first = self._largest_first(stores)
        detached = DetachedOrder.detach(order, "plan", "params", "extras")

        def prepare(number: int) -> RayTrainJob:
            store = largest_first[number]
            images = self._select(self._federation.stores[store].train)
            return RayTrainJob(store, detached, images, self._kept(store, order.round))

        model = Model(order.params.numpy(), arrays(order.extras))
        for number, answer in self._crew.run(len(stores), prepare, model):
            assert not isinstance(answer, list)
            if isinstance(answer, RayTrained):
                yield self._received(answer, order)
            else:
                yield answer or Failure(largest_first[number], "unavailable", LOST_REASON)

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        """Evaluate stores; many small ones make one job. Raises RunError."""
        parts = list(
            parcels(
                stores,
                self._num_held_out(stores, order.split),
                IMAGES_PER_JUDGING,
            )
        )
        detached = DetachedOrder.detach(order, "plan", "params")

        def prepare(number: int) -> RayEvaluateJob:
            held_out = [self._held_out(store, order.split) for store in parts[number]]
            images = tuple(map(self._select, held_out))
            own = self._own(parts[number], order), self._adjustments(parts[number])
            return RayEvaluateJob(parts[number], detached, images, *own)

        for number, answer in self._crew.run(len(parts), prepare, Model(order.params.numpy(), {})):
            assert answer is None or isinstance(answer, list)
            yield from answer or [
                Failure(store, "unavailable", LOST_REASON) for store in parts[number]
            ]

    def judge(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Count results on the federation's test set, summed in the order of its images.

        Raises RunError.
        """
        test = self._federation.test
        assert test is not None
        parts = torch.arange(len(test)).split(IMAGES_PER_JUDGING)
        order = EvaluateOrder(self._plan, 0, params, "test", tuple(temperatures))
        detached = DetachedOrder.detach(order, "plan", "params")

        def prepare(number: int) -> RayEvaluateJob:
            return RayEvaluateJob(
                ("",), detached, (self._select(test.select(parts[number])),), {}, {}
            )

        counted: dict[int, Counts] = {}
        for number, answer in self._crew.run(len(parts), prepare, Model(params.numpy(), {})):
            part = (
                answer[0] if isinstance(answer, list) else Failure("", "unavailable", LOST_REASON)
            )
            if isinstance(part, Failure):
                raise RunError(
                    f"The server's test images cannot be judged on the Ray cluster: {part.reason}."
                )
            counted[number] = part.counts
        return merge(
            [counts for _, counts in sorted(counted.items())], len(self._plan.spec.classes)
        )

    def close(self) -> None:
        """End the workers; a cluster that existed before stays."""
        self._crew.close()
        ray.shutdown()

    def _own(self, stores: Sequence[str], order: EvaluateOrder) -> dict[str, Arrays | Failure]:
        """Return stores' states after the order's round, if the strategy keeps personal parts of
        the model.
        """
        return (
            {store: self._kept(store, order.round + 1) for store in stores}
            if self._personal
            else {}
        )

    def _kept(self, store: str, round: int) -> Arrays | Failure:
        """Return the state of a store before `round`, or its failure to read it."""
        state = load_state(self._states, self._plan.run_id, store, round)
        return state if isinstance(state, Failure) else arrays(state)

    def _adjustments(self, stores: Sequence[str]) -> Arrays:
        """Return the adjustments of the stores that have one."""
        found = {store: self._adjustment(store) for store in stores}
        return arrays({store: added for store, added in found.items() if added is not None})

    def _select(self, images: Images) -> Selection:
        """Return the images for a job; their array is put into the object store when it is first
        seen.
        """
        key = images.pixels.data_ptr(), images.labels.data_ptr()
        if key not in self._placed:  # keeping the images, so that their addresses are not reused
            self._placed[key] = (
                images,
                (ray.put(images.pixels.numpy()), ray.put(images.labels.numpy())),
            )
        return Selection(self._placed[key][1], images.rows.numpy())

    def _received(self, answer: RayTrained, order: TrainOrder) -> Update | Failure:
        """Return the update with its arrays, after keeping the store's state."""
        if answer.state and (
            failed := save_state(self._states, order, answer.update.store, tensors(answer.state))
        ):
            return failed
        return replace(
            answer.update, params=torch.from_numpy(answer.params), extras=tensors(answer.extras)
        )
