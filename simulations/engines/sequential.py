"""The engine that runs stores one after another: in this process, or in a few resident ones.

Each process works with one thread and a resident network, and parameters pass through shared
memory: no message, no serialisation. On a CPU one process a core is faster than one process with
all threads (measured in docs/log.md), and the result does not depend on their number.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.types import Images
from fedshelf.common.metrics.counts import Counts, merge
from fedshelf.common.protocol.messages import (
    DetachedOrder,
    EvaluateOrder,
    Evaluation,
    Failure,
    Summand,
    SumTerms,
    SumTotal,
    TrainOrder,
    Update,
)
from fedshelf.common.training.summand import counts_summand, layout_of
from fedshelf.server.grid.phase_overlap import seconds_ahead
from fedshelf.server.training.cohort import largest_cohort
from fedshelf.server.training.setup import InitialState
from fedshelf.simulations.engines.process_pool import ProcessPool, shared_zeros
from fedshelf.simulations.federation import answers
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.federation.plain_sums import plain_sum
from fedshelf.simulations.federation.runtime import FederationRuntime

IMAGES_PER_EVALUATION = 1024  # images of one evaluation job
# fields of an order that worker processes have: the plan, and the shared parameters
SHARED_FIELDS = ("plan", "params")


@dataclass(frozen=True)
class TrainJob:
    """A job: train `store` from the shared parameters, and put the result into the shared slot
    `slot`.
    """

    store: str
    slot: int
    order: DetachedOrder[TrainOrder]


@dataclass(frozen=True)
class EvaluateJob:
    """A job: evaluate the shared parameters on the images that some stores hold out."""

    stores: tuple[str, ...]
    order: DetachedOrder[EvaluateOrder]


@dataclass(frozen=True)
class ServerTestJob:
    """A job: evaluate the shared parameters on the server's test images from `start` on,
    IMAGES_PER_EVALUATION of them at most.
    """

    start: int
    order: DetachedOrder[EvaluateOrder]


Job = TrainJob | EvaluateJob | ServerTestJob
Answer = Update | Summand | Failure | list[Evaluation | Failure] | tuple[int, Counts]


class SequentialEngine(FederationRuntime):
    """An engine that trains stores one after another, in this process or a few resident ones.

    Args:
        federation: the stores.
        start: the initial state: plan, network layout and parameters.
        states: directory of the stores' states of strategies.

    Raises:
        ConfigError: several worker processes on a device other than the CPU.
    """

    def __init__(self, federation: Federation, start: InitialState, states: Path) -> None:
        config = start.plan.config
        super().__init__(federation, start.plan)
        self._device = torch.device(config.run.device)
        self._trainer = Trainer(self._device, StateStore(states))
        cohort = largest_cohort(len(federation.stores), config)
        # a training and an evaluation may be under way at the same time, of different models
        self._trained_params, self._evaluated_params = shared_zeros(2, len(start.params))
        self._strategy = strategies.build(config.strategy, start.layout)
        self._layout = start.layout
        longest_sum = self._sum_size(SumTerms(cohort, images=1)) if config.privacy.secure_sum else 0
        self._update_slots = shared_zeros(cohort, max(len(start.params), longest_sum))
        if self._device.type == "cpu":
            # before any fork, and for the same sums with any number of processes
            torch.set_num_threads(1)
        workers = num_workers(config)  # evaluation uses more than a small cohort
        self._pool: ProcessPool[Job, Answer] | None = (
            ProcessPool(workers, self._run_job) if workers > 1 else None
        )
        self._prefetched: tuple[TrainOrder, Sequence[str], range] | None = None

    def prefetch_training(
        self, order: TrainOrder, stores: Sequence[str]
    ) -> Callable[[], float] | None:
        """Let workers that are idle during an evaluation begin the expected training.

        Returns:
            A function that returns how many seconds of the evaluation went into this training;
            None if there is one process only.
        """
        if self._pool is None:
            return None
        self._trained_params.copy_(order.params)
        job_numbers = self._pool.submit(self._train_jobs(order, stores))
        self._prefetched = order, stores, job_numbers
        pool = self._pool
        began = time.perf_counter()
        pool.record_times()
        return lambda: seconds_ahead(began, time.perf_counter(), pool.spans(job_numbers))

    def train(
        self, order: TrainOrder, stores: Sequence[str]
    ) -> Iterator[Update | SumTotal | Failure]:
        """Train stores, the largest first, so that no process is left with a large one at the end.

        Args:
            order: the round's order; `order.params` is the global model, float32 [P].
            stores: names of the stores to train.

        Yields:
            One answer a store, as they come. `Update.params`, float32 [P], is a view of memory that
            the next call overwrites. If the order has terms: failures, and one sum of all updates.

        Raises:
            RunError: a worker process died.
        """
        answers = self._train_each(order, stores)
        if order.terms is None:
            return (answer for answer in answers if not isinstance(answer, Summand))
        return plain_sum(
            order.round, (answer for answer in answers if not isinstance(answer, Update))
        )

    def _train_each(
        self, order: TrainOrder, stores: Sequence[str]
    ) -> Iterator[Update | Summand | Failure]:
        slot_of_store = {store: slot for slot, store in enumerate(stores)}
        size = self._sum_size(order.terms) if order.terms else 0
        for answer in self._take_prefetched(order, stores) or self._run_jobs(
            self._train_jobs(order, stores), order.params
        ):
            assert isinstance(answer, Update | Summand | Failure)
            if isinstance(answer, Failure):
                yield answer
                continue
            slot = self._update_slots[slot_of_store[answer.store]]
            if isinstance(answer, Update):
                yield replace(answer, params=slot[: len(order.params)])
            else:
                yield replace(answer, vector=_elements(slot, answer.vector.dtype, size))

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | SumTotal | Failure]:
        """Evaluate stores on their held-out images; many small stores make one job.

        Args:
            order: the model, float32 [P], and the split: "validation" or "test".
            stores: names of the stores to evaluate.

        Yields:
            One answer a store, as they come. If the order has terms: failures, and one sum of all
            evaluations.

        Raises:
            RunError: a worker process died.
        """
        answers = self._evaluate_each(order, stores)
        if order.terms is None:
            return answers
        return plain_sum(
            order.round,
            (
                counts_summand(order, answer) if isinstance(answer, Evaluation) else answer
                for answer in answers
            ),
        )

    def _evaluate_each(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        self._evaluated_params.copy_(order.params)
        num_images = self._num_held_out(stores, order.split)
        detached_order = DetachedOrder.detach(order, *SHARED_FIELDS)
        jobs = [
            EvaluateJob(chunk, detached_order)
            for chunk in chunks_by_images(stores, num_images, IMAGES_PER_EVALUATION)
        ]
        for answer in self._run_jobs_first(jobs):
            assert isinstance(answer, list)
            yield from answer

    def evaluate_test_set(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Count results of `params` [P] on the test set; see `Engine.evaluate_test_set`.

        Counts are summed in the order of the images, with any number of processes.

        Raises:
            RunError: a worker process died.
        """
        assert self._federation.test is not None
        self._evaluated_params.copy_(params)
        order = DetachedOrder.detach(
            EvaluateOrder(self._plan, 0, params, "test", tuple(temperatures)), *SHARED_FIELDS
        )
        jobs = [
            ServerTestJob(start, order)
            for start in range(0, len(self._federation.test), IMAGES_PER_EVALUATION)
        ]
        counts_by_start = dict(
            answer for answer in self._run_jobs_first(jobs) if isinstance(answer, tuple)
        )
        return merge(
            [counts for _, counts in sorted(counts_by_start.items())], len(self._plan.spec.classes)
        )

    def close(self) -> None:
        """End the worker processes."""
        if self._pool:
            self._pool.close()

    def _sum_size(self, terms: SumTerms) -> int:
        """Return the number of ring elements of a store's vector."""
        return layout_of(self._plan.config, terms, self._strategy, self._layout).size

    def _train_jobs(self, order: TrainOrder, stores: Sequence[str]) -> list[Job]:
        slot_of_store = {store: slot for slot, store in enumerate(stores)}
        detached_order = DetachedOrder.detach(order, *SHARED_FIELDS)
        return [
            TrainJob(store, slot_of_store[store], detached_order)
            for store in self._largest_first(stores)
        ]

    def _take_prefetched(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Answer] | None:
        """Return the answers of the prefetched training, if it is the one that is wanted now; else
        None, after it is cancelled.
        """
        if self._pool is None or self._prefetched is None:
            return None
        prefetched_order, prefetched_stores, job_numbers = self._prefetched
        self._prefetched = None
        if (
            prefetched_order.round == order.round
            # after a rollback a round of the same number has another model
            and prefetched_order.params is order.params
            and prefetched_order.terms == order.terms
            and list(prefetched_stores) == list(stores)
        ):
            return self._pool.results(job_numbers)
        self._pool.cancel(job_numbers)
        return None

    def _run_jobs(self, jobs: Sequence[Job], params: Tensor) -> Iterator[Answer]:
        self._trained_params.copy_(params)
        return (
            self._pool.results(self._pool.submit(jobs)) if self._pool else map(self._run_job, jobs)
        )

    def _run_jobs_first(self, jobs: Sequence[Job]) -> Iterator[Answer]:
        return self._pool.run_first(jobs) if self._pool else map(self._run_job, jobs)

    def _run_job(self, job: Job) -> Answer:
        """Do one job, in this process or in a worker."""
        if isinstance(job, TrainJob):
            return self._train_store(job)
        return (
            self._evaluate_stores(job)
            if isinstance(job, EvaluateJob)
            else self._evaluate_test_images(job)
        )

    def _train_store(self, job: TrainJob) -> Update | Summand | Failure:
        order = job.order.attach(plan=self._plan, params=self._trained_params)
        train = answers.train if order.terms is None else answers.train_summand
        answer = train(self._trainer, order, job.store, self._federation.stores[job.store].train)
        if isinstance(answer, Failure):
            return answer
        # in shared memory: what is left goes through a pipe, and is small
        slot = self._update_slots[job.slot]
        if isinstance(answer, Update):
            slot[: len(order.params)].copy_(answer.params)
            return replace(answer, params=torch.empty(0), packed=None)
        _elements(slot, answer.vector.dtype, len(answer.vector)).copy_(answer.vector)
        return replace(answer, vector=answer.vector[:0].clone())

    def _evaluate_stores(self, job: EvaluateJob) -> list[Evaluation | Failure]:
        order = job.order.attach(plan=self._plan, params=self._evaluated_params)
        sets = {store: self._held_out(store, order.split) for store in job.stores}
        adjustments = {store: self._adjustment(store) for store in job.stores}
        return answers.evaluate(self._trainer, order, sets, adjustments)

    def _evaluate_test_images(self, job: ServerTestJob) -> tuple[int, Counts]:
        assert self._federation.test is not None
        end = min(job.start + IMAGES_PER_EVALUATION, len(self._federation.test))
        images: Images = self._federation.test.select(torch.arange(job.start, end))
        order = job.order.attach(plan=self._plan, params=self._evaluated_params)
        (evaluation,) = self._trainer.evaluate(order, {"": images})
        return job.start, evaluation.counts


def _elements(slot: Tensor, dtype: torch.dtype, size: int) -> Tensor:
    """Return the first elements of a slot's memory, as ring elements [size] of a type."""
    return slot.view(dtype)[:size]


def chunks_by_images(
    stores: Sequence[str], num_images: Sequence[int], min_images: int
) -> Iterator[tuple[str, ...]]:
    """Cut a list of stores into chunks that have enough images for one job.

    Args:
        stores: names, in the order that the chunks keep.
        num_images: images of each store.
        min_images: images that a chunk has at least; the last one may have fewer.

    Yields:
        The stores of each chunk; a chunk ends with the store that gives it enough images.

    >>> list(chunks_by_images(["a", "b", "c", "d"], [3, 2, 9, 1], min_images=5))
    [('a', 'b'), ('c',), ('d',)]
    """
    chunk: list[str] = []
    total = 0
    for store, images in zip(stores, num_images, strict=True):
        chunk.append(store)
        total += images
        if total >= min_images:
            yield tuple(chunk)
            chunk = []
            total = 0
    if chunk:
        yield tuple(chunk)


def num_workers(config: RunConfig) -> int:
    """Return the number of worker processes: `run.workers`; if that is 0, it depends on the device.

    It is one per core on a CPU of Linux, where processes can be forked; else one.

    Raises:
        ConfigError: several on another device: CUDA does not survive a fork, and they would share
            its memory.
    """
    run = config.run
    is_cpu = run.device == "cpu"
    if run.workers > 1 and not is_cpu:
        raise ConfigError(
            f"Setting run.workers got {run.workers} with device {run.device}, which one process has"
            " to itself; leave run.workers out, and use --engine batched to train many stores at"
            " once."
        )
    return run.workers or (
        len(os.sched_getaffinity(0)) if is_cpu and sys.platform == "linux" else 1
    )
