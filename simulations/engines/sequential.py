"""The engine that runs stores one after another: in this process, or in a few resident ones.

Each process works with one thread and a resident network, and parameters pass through shared memory:
no message, no serialisation. On a CPU one process a core is faster than one process with all threads
(measured in docs/log.md), and the result does not depend on how many there are.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from client.failures import failure_of
from client.states import StateStore
from client.work import Trainer
from common.errors import FedshelfError
from common.images.types import Images
from common.metrics import Counts, merge
from common.orders import EvaluateOrder, Evaluation, Failure, StoreInfo, TrainOrder, Update
from common.params import Tensors
from server.plan import Start
from simulations.engines.pool import Pool, shared
from simulations.federation import Federation

CHUNK = 2048  # images of the server's test set that one process judges at a time


@dataclass(frozen=True)
class TrainJob:
    """Train `store` from the shared parameters, leaving the result in shared slot `slot`."""

    store: str
    round: int
    slot: int
    extras: Tensors
    committed: int


@dataclass(frozen=True)
class EvaluateJob:
    """Judge the shared parameters on a store's split, or on the server's test images [start, start + CHUNK)."""

    round: int
    store: str = ""
    split: Literal["validation", "test"] = "test"
    start: int = 0


Job = TrainJob | EvaluateJob
Answer = Update | Failure | Evaluation | tuple[int, Counts]


class SequentialEngine:
    """A runtime (see `server.runtime`) over the stores of a federation, and the judge of its test set.

    states: where strategies keep what stores remember
    """

    def __init__(self, federation: Federation, start: Start, states: Path) -> None:
        config = start.plan.config
        self._federation, self._plan = federation, start.plan
        self._device = torch.device(config.run.device)
        self._trainer = Trainer(self._device, StateStore(states))
        cohort = max(config.cohort.min_stores, int(config.cohort.fraction * len(federation.stores) + 0.5), 1)
        self._params = shared(1, len(start.params))[0]
        self._slots = shared(min(cohort, len(federation.stores)), len(start.params))
        if self._device.type == "cpu":
            torch.set_num_threads(1)  # before any fork, and for the same sums with any number of processes
        workers = config.run.workers or _default_workers(self._device)  # evaluation uses more than a small cohort
        self._pool: Pool[Job, Answer] | None = Pool(workers, self._work) if workers > 1 else None
        self._infos = federation.infos()

    def stores(self) -> Mapping[str, StoreInfo]:
        """All of them, always."""
        return self._infos

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        """Largest stores first, so that no process is left with a large one at the end."""
        self._params.copy_(order.params)
        slots = {store: slot for slot, store in enumerate(stores)}
        largest_first = sorted(stores, key=lambda store: -self._infos[store].num_examples)
        jobs = [TrainJob(store, order.round, slots[store], order.extras, order.committed) for store in largest_first]
        for answer in self._run(jobs):
            assert isinstance(answer, Update | Failure)
            yield replace(answer, params=self._slots[slots[answer.store]]) if isinstance(answer, Update) else answer

    def evaluate(self, order: EvaluateOrder, stores: Sequence[str]) -> Iterator[Evaluation | Failure]:
        """One job a store."""
        self._params.copy_(order.params)
        for answer in self._run([EvaluateJob(order.round, store, order.split) for store in stores]):
            assert isinstance(answer, Evaluation | Failure)
            yield answer

    def judge(self, params: Tensor) -> Counts:
        """Counts on the federation's test set, summed in the order of its images."""
        assert self._federation.test is not None
        self._params.copy_(params)
        parts = [EvaluateJob(0, start=start) for start in range(0, len(self._federation.test), CHUNK)]
        counted = sorted(answer for answer in self._run(parts) if isinstance(answer, tuple))
        return merge([counts for _, counts in counted], len(self._plan.spec.classes))

    def close(self) -> None:
        """End the worker processes."""
        if self._pool:
            self._pool.close()

    def _run(self, jobs: Sequence[Job]) -> Iterator[Answer]:
        return self._pool.map(jobs) if self._pool else map(self._work, jobs)

    def _work(self, job: Job) -> Answer:
        """Do one job, in this process or in a worker."""
        try:
            return self._train_one(job) if isinstance(job, TrainJob) else self._evaluate_one(job)
        except (FedshelfError, torch.OutOfMemoryError) as error:
            return failure_of(job.store, error)

    def _train_one(self, job: TrainJob) -> Update:
        order = TrainOrder(self._plan, job.round, self._params, job.extras, job.committed)
        update = self._trainer.train(order, job.store, self._federation.stores[job.store].train)
        self._slots[job.slot].copy_(update.params)
        return replace(update, params=torch.empty(0))

    def _evaluate_one(self, job: EvaluateJob) -> Evaluation | tuple[int, Counts]:
        order = EvaluateOrder(self._plan, job.round, self._params, job.split)
        if job.store:
            data = self._federation.stores[job.store]
            return self._trainer.evaluate(order, job.store, data.test if job.split == "test" else data.validation)
        assert self._federation.test is not None
        end = min(job.start + CHUNK, len(self._federation.test))
        part: Images = self._federation.test.select(torch.arange(job.start, end))
        return job.start, self._trainer.evaluate(order, "", part).counts


def _default_workers(device: torch.device) -> int:
    """One a core on a CPU, where processes can be forked; one on other devices, which they would share."""
    return len(os.sched_getaffinity(0)) if device.type == "cpu" and sys.platform == "linux" else 1
