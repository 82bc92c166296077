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
    ImageSelection,
    RayEvaluateJob,
    RayTrainJob,
    RayTrainResult,
    RoundModel,
    WorkerSetup,
    arrays,
    tensors,
)
from fedshelf.simulations.engines.ray.workers import RayWorkers
from fedshelf.simulations.engines.sequential import IMAGES_PER_EVALUATION, chunks_by_images
from fedshelf.simulations.federation.answers import load_state, save_state
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.federation.runtime import FederationRuntime
from fedshelf.simulations.run.own_code import check_importable

LOST_REASON = "its worker died again and again; perhaps the node has too little memory"


class RayEngine(FederationRuntime):
    """An engine that spreads stores over the workers of a Ray cluster; Ray must be connected.

    Args:
        federation: the stores.
        start: the initial state: plan, network layout and parameters.
        states: directory of the stores' states of strategies; it stays on this machine.

    Raises:
        RunError: no worker can start.
        ConfigError: an object of the run is one that workers cannot import.
    """

    def __init__(self, federation: Federation, start: InitialState, states: Path) -> None:
        config = start.plan.config.run
        check_importable(start.plan.config)
        super().__init__(federation, start.plan)
        self._states = StateStore(states)
        self._has_personal_parts = bool(
            strategies.build(start.plan.config.strategy, start.layout).personal_tensors()
        )
        self._image_objects: dict[tuple[int, int], tuple[Images, tuple[Any, Any, Any]]] = {}
        gpu_share = config.gpus_per_worker or float(config.device.startswith("cuda"))
        frozen = None if start.plan.frozen is None else start.plan.frozen.numpy()
        self._workers = RayWorkers(
            # as an array: Ray shares arrays between the workers of a node, and pickles tensors
            WorkerSetup(replace(start.plan, frozen=None), frozen, "cuda" if gpu_share else "cpu"),
            gpu_share,
        )

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        """Train stores, the largest first, so that no worker is left with a large one at the end.

        Args:
            order: the round's order; `order.params` is the global model, float32 [P].
            stores: names of the stores to train.

        Yields:
            One answer a store, as they come.

        Raises:
            RunError: no worker is left.
        """
        largest_first = self._largest_first(stores)
        detached_order = DetachedOrder.detach(order, "plan", "params", "extras")

        def prepare_job(job_number: int) -> RayTrainJob:
            store = largest_first[job_number]
            images = self._selection_of(self._federation.stores[store].train)
            return RayTrainJob(store, detached_order, images, self._load_state(store, order.round))

        model = RoundModel(order.params.numpy(), arrays(order.extras))
        for job_number, answer in self._workers.run(len(stores), prepare_job, model):
            assert not isinstance(answer, list)
            if isinstance(answer, RayTrainResult):
                yield self._restore_update(answer, order)
            else:
                yield answer or Failure(largest_first[job_number], "unavailable", LOST_REASON)

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        """Evaluate stores on their held-out images; many small stores make one job.

        Args:
            order: the model, float32 [P], and the split: "validation" or "test".
            stores: names of the stores to evaluate.

        Yields:
            One answer a store, as they come.

        Raises:
            RunError: no worker is left.
        """
        num_images = self._num_held_out(stores, order.split)
        chunks = list(chunks_by_images(stores, num_images, IMAGES_PER_EVALUATION))
        detached_order = DetachedOrder.detach(order, "plan", "params")

        def prepare_job(job_number: int) -> RayEvaluateJob:
            held_out = [self._held_out(store, order.split) for store in chunks[job_number]]
            images = tuple(self._selection_of(images) for images in held_out)
            states = self._states_after(chunks[job_number], order)
            adjustments = self._adjustments(chunks[job_number])
            return RayEvaluateJob(chunks[job_number], detached_order, images, states, adjustments)

        for job_number, answer in self._workers.run(
            len(chunks), prepare_job, RoundModel(order.params.numpy(), {})
        ):
            assert answer is None or isinstance(answer, list)
            yield from answer or [
                Failure(store, "unavailable", LOST_REASON) for store in chunks[job_number]
            ]

    def evaluate_test_set(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Count results of `params` [P] on the test set; see `Engine.evaluate_test_set`.

        Raises:
            RunError: no worker is left, or the images cannot be evaluated.
        """
        test = self._federation.test
        assert test is not None
        chunks = torch.arange(len(test)).split(IMAGES_PER_EVALUATION)
        order = EvaluateOrder(self._plan, 0, params, "test", tuple(temperatures))
        detached_order = DetachedOrder.detach(order, "plan", "params")

        def prepare_job(job_number: int) -> RayEvaluateJob:
            images = self._selection_of(test.select(chunks[job_number]))
            return RayEvaluateJob(("",), detached_order, (images,), {}, {})

        counts_by_job: dict[int, Counts] = {}
        for job_number, answer in self._workers.run(
            len(chunks), prepare_job, RoundModel(params.numpy(), {})
        ):
            evaluation = (
                answer[0] if isinstance(answer, list) else Failure("", "unavailable", LOST_REASON)
            )
            if isinstance(evaluation, Failure):
                raise RunError(
                    "The server's test images cannot be judged on the Ray cluster:"
                    f" {evaluation.reason}."
                )
            counts_by_job[job_number] = evaluation.counts
        return merge(
            [counts for _, counts in sorted(counts_by_job.items())], len(self._plan.spec.classes)
        )

    def close(self) -> None:
        """End the workers; a cluster that existed before stays."""
        self._workers.close()
        ray.shutdown()

    def _states_after(
        self, stores: Sequence[str], order: EvaluateOrder
    ) -> dict[str, Arrays | Failure]:
        """Return stores' states after the order's round, if the strategy keeps personal parts of
        the model.
        """
        return (
            {store: self._load_state(store, order.round + 1) for store in stores}
            if self._has_personal_parts
            else {}
        )

    def _load_state(self, store: str, round_number: int) -> Arrays | Failure:
        """Return the state of a store before `round`, or its failure to read it."""
        state = load_state(self._states, self._plan.run_id, store, round_number)
        return state if isinstance(state, Failure) else arrays(state)

    def _adjustments(self, stores: Sequence[str]) -> Arrays:
        """Return the adjustments of the stores that have one."""
        adjustment_of = {store: self._adjustment(store) for store in stores}
        return arrays(
            {
                store: adjustment
                for store, adjustment in adjustment_of.items()
                if adjustment is not None
            }
        )

    def _selection_of(self, images: Images) -> ImageSelection:
        """Return the images for a job; their array is put into the object store when it is first
        seen.
        """
        addresses = images.inputs.data_ptr(), images.labels.data_ptr()
        if addresses not in self._image_objects:
            annotations = images.annotations
            references = (
                ray.put(images.inputs.numpy()),
                ray.put(images.labels.numpy()),
                ray.put(None if annotations is None else annotations.numpy()),
            )
            # the images are kept, so that their addresses are not used for others
            self._image_objects[addresses] = images, references
        return ImageSelection(self._image_objects[addresses][1], images.rows.numpy())

    def _restore_update(self, answer: RayTrainResult, order: TrainOrder) -> Update | Failure:
        """Return the update with its arrays, after keeping the store's state."""
        if answer.state and (
            failure := save_state(self._states, order, answer.update.store, tensors(answer.state))
        ):
            return failure
        return replace(
            answer.update, params=torch.from_numpy(answer.params), extras=tensors(answer.extras)
        )
