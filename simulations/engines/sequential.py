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
from fedshelf.client.worker.worker import Trainer
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
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
from fedshelf.server.grid.phase_overlap import seconds_ahead
from fedshelf.server.training.setup import InitialState
from fedshelf.simulations.engines.process_pool import ProcessPool, shared
from fedshelf.simulations.federation import answers
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.federation.runtime import FederationRuntime

IMAGES_PER_JUDGING = 1024  # images that one process judges at a time
# parts of an order that worker processes have: the plan, and the shared parameters
HERE = ("plan", "params")


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
class JudgeJob:
    """A job: judge the shared parameters on the server's test images [start, start +
    IMAGES_PER_JUDGING).
    """

    start: int
    order: DetachedOrder[EvaluateOrder]


Job = TrainJob | EvaluateJob | JudgeJob
Answer = Update | Failure | list[Evaluation | Failure] | tuple[int, Counts]


class SequentialEngine(FederationRuntime):
    """A runtime (see `server.runtime`) over the stores of a federation, and the judge of its test
    set.

    states: storage of the stores' states of strategies
    """

    def __init__(self, federation: Federation, start: InitialState, states: Path) -> None:
        config = start.plan.config
        super().__init__(federation, start.plan)
        self._device = torch.device(config.run.device)
        self._trainer = Trainer(self._device, StateStore(states))
        cohort = max(
            config.cohort.min_stores, int(config.cohort.fraction * len(federation.stores) + 0.5), 1
        )
        self._params, self._judged = shared(2, len(start.params))
        self._slots = shared(min(cohort, len(federation.stores)), len(start.params))
        if self._device.type == "cpu":
            # before any fork, and for the same sums with any number of processes
            torch.set_num_threads(1)
        workers = workers_of(config)  # evaluation uses more than a small cohort
        self._pool: ProcessPool[Job, Answer] | None = (
            ProcessPool(workers, self._work) if workers > 1 else None
        )
        self._expected: tuple[TrainOrder, Sequence[str], range] | None = None

    def prefetch_training(
        self, order: TrainOrder, stores: Sequence[str]
    ) -> Callable[[], float] | None:
        """Let workers that are idle during an evaluation begin the expected training."""
        if self._pool is None:
            return None
        self._params.copy_(order.params)
        numbers = self._pool.submit(self._train_jobs(order, stores))
        self._expected = order, stores, numbers
        pool = self._pool
        began = time.perf_counter()
        pool.watch()
        return lambda: seconds_ahead(began, time.perf_counter(), pool.spans(numbers))

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        """Train the largest stores first, so that no process is left with a large one at the
        end.
        """
        slots = {store: slot for slot, store in enumerate(stores)}
        for answer in self._begun(order, stores) or self._run(
            self._train_jobs(order, stores), order.params
        ):
            assert isinstance(answer, Update | Failure)
            yield (
                replace(answer, params=self._slots[slots[answer.store]])
                if isinstance(answer, Update)
                else answer
            )

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        """Evaluate stores; many small ones make one job."""
        self._judged.copy_(order.params)
        sizes = self._num_held_out(stores, order.split)
        detached = DetachedOrder.detach(order, *HERE)
        jobs = [EvaluateJob(part, detached) for part in parcels(stores, sizes, IMAGES_PER_JUDGING)]
        for answer in self._run_first(jobs):
            assert isinstance(answer, list)
            yield from answer

    def judge(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Count results on the federation's test set, summed in the order of its images."""
        assert self._federation.test is not None
        self._judged.copy_(params)
        order = DetachedOrder.detach(
            EvaluateOrder(self._plan, 0, params, "test", tuple(temperatures)), *HERE
        )
        jobs = [
            JudgeJob(start, order)
            for start in range(0, len(self._federation.test), IMAGES_PER_JUDGING)
        ]
        counted = dict(answer for answer in self._run_first(jobs) if isinstance(answer, tuple))
        return merge(
            [counts for _, counts in sorted(counted.items())], len(self._plan.spec.classes)
        )

    def close(self) -> None:
        """End the worker processes."""
        if self._pool:
            self._pool.close()

    def _train_jobs(self, order: TrainOrder, stores: Sequence[str]) -> list[Job]:
        slots = {store: slot for slot, store in enumerate(stores)}
        detached = DetachedOrder.detach(order, *HERE)
        return [TrainJob(store, slots[store], detached) for store in self._largest_first(stores)]

    def _begun(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Answer] | None:
        """Return the answers of the expected training, if it is the one that is asked for."""
        if self._pool is None or self._expected is None:
            return None
        (expected, expected_stores, numbers), self._expected = self._expected, None
        if (expected.round, list(expected_stores)) == (
            order.round,
            list(stores),
        ) and expected.params is order.params:
            return self._pool.results(numbers)
        self._pool.forget(numbers)
        return None

    def _run(self, jobs: Sequence[Job], params: Tensor) -> Iterator[Answer]:
        self._params.copy_(params)
        return self._pool.results(self._pool.submit(jobs)) if self._pool else map(self._work, jobs)

    def _run_first(self, jobs: Sequence[Job]) -> Iterator[Answer]:
        return self._pool.first(jobs) if self._pool else map(self._work, jobs)

    def _work(self, job: Job) -> Answer:
        """Do one job, in this process or in a worker."""
        if isinstance(job, TrainJob):
            return self._train_one(job)
        return self._evaluate_some(job) if isinstance(job, EvaluateJob) else self._judge_part(job)

    def _train_one(self, job: TrainJob) -> Update | Failure:
        order = job.order.attach(plan=self._plan, params=self._params)
        answer = answers.train(
            self._trainer, order, job.store, self._federation.stores[job.store].train
        )
        if isinstance(answer, Failure):
            return answer
        self._slots[job.slot].copy_(answer.params)
        return replace(answer, params=torch.empty(0), packed=None)

    def _evaluate_some(self, job: EvaluateJob) -> list[Evaluation | Failure]:
        order = job.order.attach(plan=self._plan, params=self._judged)
        sets = {store: self._held_out(store, order.split) for store in job.stores}
        adjustments = {store: self._adjustment(store) for store in job.stores}
        return answers.evaluate(self._trainer, order, sets, adjustments)

    def _judge_part(self, job: JudgeJob) -> tuple[int, Counts]:
        assert self._federation.test is not None
        end = min(job.start + IMAGES_PER_JUDGING, len(self._federation.test))
        part: Images = self._federation.test.select(torch.arange(job.start, end))
        order = job.order.attach(plan=self._plan, params=self._judged)
        (evaluation,) = self._trainer.evaluate(order, {"": part})
        return job.start, evaluation.counts


def parcels(names: Sequence[str], sizes: Sequence[int], least: int) -> Iterator[tuple[str, ...]]:
    """Cut `names` into runs whose sizes add up to `least` or more; the last run may be smaller."""
    parcel: list[str] = []
    total = 0
    for name, size in zip(names, sizes, strict=True):
        parcel.append(name)
        total += size
        if total >= least:
            yield tuple(parcel)
            parcel = []
            total = 0
    if parcel:
        yield tuple(parcel)


def workers_of(config: RunConfig) -> int:
    """Return the number of worker processes: `run.workers`; if that is 0, it depends on the device.

    It is one per core on a CPU of Linux, where processes can be forked; else one. Raises
    ConfigError for several on another device: CUDA does not survive a fork, and they would share
    its memory.
    """
    run, is_cpu = config.run, config.run.device == "cpu"
    if run.workers > 1 and not is_cpu:
        raise ConfigError(
            f"Setting run.workers got {run.workers} with device {run.device}, which one process has"
            " to itself; leave run.workers out, and use --engine batched to train many stores at"
            " once."
        )
    return run.workers or (
        len(os.sched_getaffinity(0)) if is_cpu and sys.platform == "linux" else 1
    )
