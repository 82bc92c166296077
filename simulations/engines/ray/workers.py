"""The workers of the engine `ray` on a cluster whose nodes come and go."""

import logging
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedshelf.common.errors import RunError
from fedshelf.simulations.engines.job_assignment import next_worker
from fedshelf.simulations.engines.ray.schedule import MAX_DEATHS, JobQueue, workers_per_node
from fedshelf.simulations.engines.ray.worker import (
    RayAnswer,
    RayJob,
    RoundModel,
    WorkerSetup,
    installed_versions,
)

LOG = logging.getLogger("fedshelf.ray")
CLUSTER_POLL_SECONDS = 1.0  # seconds without an answer after which the cluster is checked again
NODE_TIMEOUT_SECONDS = 30.0  # seconds to wait for nodes when no worker fits on any
# The first import of PyTorch on a node is slow, and Ray runs its workers at nice 15.
FIRST_WORKER_TIMEOUT_SECONDS = 600.0


@dataclass(eq=False)
class WorkerHandle:
    """A worker: an actor on a node.

    starting: reference to its installed versions, until it has sent them; then None
    jobs:     its jobs, the present one first: a reference to the answer, and the job's number
    """

    actor: Any
    node: str
    starting: Any
    jobs: deque[tuple[Any, int]] = field(default_factory=deque)

    @property
    def awaited(self) -> Any:
        """The reference that will resolve next, or None."""
        if self.starting is not None:
            return self.starting
        return self.jobs[0][0] if self.jobs else None


class RayWorkers:
    """One worker for each CPU, or each `share` of a GPU, of every node.

    Args:
        setup: sent to each worker once.
        share: share of a GPU for each worker; 0: workers need none.
    """

    def __init__(self, setup: WorkerSetup, share: float) -> None:
        self._setup = ray.put(setup)
        self._share = share
        self._installed = installed_versions()
        self._actor_class: Any = ray.remote(_define_actor())
        self._workers: list[WorkerHandle] = []
        # node -> workers in a row that died at their start
        self._failed_starts: Counter[str] = Counter()
        self._first_nodes = frozenset(workers_per_node(ray.nodes(), share))
        self._match_cluster()

    def run(
        self, count: int, prepare_job: Callable[[int], RayJob], model: RoundModel
    ) -> Iterator[tuple[int, RayAnswer | None]]:
        """Run jobs on the workers.

        Args:
            count: number of jobs.
            prepare_job: makes the job with a number from 0 to `count` - 1, just before it is sent.
            model: sent once to each node.

        Yields:
            The number of each job with its answer, as they come; None if workers died over it
            again and again.

        Raises:
            RunError: no worker is left, or a node of the beginning has other versions installed.
        """
        jobs = JobQueue(count)
        model_object = ray.put(model)
        last_worker_at = time.monotonic()
        self._match_cluster()
        while jobs.unanswered:
            ready = [worker for worker in self._workers if worker.starting is None]
            while (
                position := next_worker(jobs.waiting, [len(worker.jobs) for worker in ready])
            ) is not None:
                job = jobs.take()
                ready[position].jobs.append(
                    (ready[position].actor.work.remote(prepare_job(job), model_object), job)
                )
            if ready:
                last_worker_at = time.monotonic()
            elif time.monotonic() - last_worker_at > (
                FIRST_WORKER_TIMEOUT_SECONDS if self._workers else NODE_TIMEOUT_SECONDS
            ):
                raise self._no_worker_error(time.monotonic() - last_worker_at)
            for answer in self._read_messages(jobs):
                jobs.count_answer()
                yield answer

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers = []

    def _match_cluster(self) -> None:
        """Start missing workers; drop idle ones of nodes that left (calls of busy ones fail)."""
        wanted = workers_per_node(ray.nodes(), self._share)
        self._workers = [
            worker
            for worker in self._workers
            if worker.node in wanted or worker.awaited is not None
        ]
        running = Counter(worker.node for worker in self._workers)
        for node, num_workers in wanted.items():
            if self._failed_starts[node] < MAX_DEATHS:
                self._workers += [
                    self._start_worker(node) for _ in range(num_workers - running[node])
                ]

    def _start_worker(self, node: str) -> WorkerHandle:
        """Start a worker."""
        # not elsewhere: each node has as many workers as it has room for
        on_node = NodeAffinitySchedulingStrategy(node, soft=False)
        actor = self._actor_class.options(
            num_cpus=1, num_gpus=self._share, scheduling_strategy=on_node
        ).remote()
        return WorkerHandle(actor, node, actor.begin.remote(self._installed, [self._setup]))

    def _read_messages(self, jobs: JobQueue) -> Iterator[tuple[int, RayAnswer | None]]:
        """Wait for the next message of any worker; yield it if it is an answer."""
        worker_of_reference = {
            worker.awaited: worker for worker in self._workers if worker.awaited is not None
        }
        if not worker_of_reference:
            time.sleep(CLUSTER_POLL_SECONDS)
        resolved = (
            ray.wait(list(worker_of_reference), timeout=CLUSTER_POLL_SECONDS)[0]
            if worker_of_reference
            else []
        )
        if not resolved:
            self._match_cluster()
        for worker in [worker_of_reference[reference] for reference in resolved]:
            try:
                message = ray.get(worker.awaited)
            except RayTaskError as error:
                raise AssertionError(f"in a worker of the Ray cluster: {error}") from None
            except RayError:  # its process or its node has died
                given_up = self._replace_dead_worker(worker, jobs)
                if given_up is not None:
                    yield given_up, None
                continue
            if worker.starting is None:
                yield worker.jobs.popleft()[1], message
            else:
                self._accept_worker(worker, *message)

    def _replace_dead_worker(self, worker: WorkerHandle, jobs: JobQueue) -> int | None:
        """Drop a dead worker, requeue its jobs and start another; return the job to be given up, if
        any.
        """
        ray.kill(worker.actor)
        self._workers.remove(worker)
        if worker.starting is not None:
            self._failed_starts[worker.node] += 1
        given_up = jobs.requeue([job for _, job in worker.jobs])
        self._match_cluster()
        return given_up

    def _accept_worker(self, worker: WorkerHandle, host: str, installed: str) -> None:
        """Let a new worker begin, or leave its node out if it has other versions installed."""
        worker.starting = None
        self._failed_starts[worker.node] = 0
        if installed == self._installed:
            return
        difference = (
            f"Node {host} of the Ray cluster has {installed}; this machine has {self._installed}."
            " One seed gives one result only if all have the same: install it there."
        )
        # a node of the beginning belongs to the run, one that came later is a gift
        if worker.node in self._first_nodes:
            raise RunError(difference)
        LOG.warning("%s The node is left out.", difference)
        self._failed_starts[worker.node] = MAX_DEATHS
        for other in [other for other in self._workers if other.node == worker.node]:
            ray.kill(other.actor)
            self._workers.remove(other)

    def _no_worker_error(self, seconds: float) -> RunError:
        total = ray.cluster_resources()
        free = ray.available_resources()
        resources = [
            f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s free"
            for kind in ("CPU", "GPU")
        ]
        unfit = sum(deaths >= MAX_DEATHS for deaths in self._failed_starts.values())
        resources.append(f"{unfit} nodes left out as unfit")
        return RunError(
            f"The Ray cluster has no worker left for this run, and none came within {seconds:.0f} s"
            f" ({', '.join(resources)}): start nodes or free them, and go on with --resume."
        )


def _define_actor() -> type:
    """Return the class of the workers' actors.

    A local class is sent as code: so a node without Fedshelf can say that it lacks it.
    """

    class WorkerActor:
        def begin(self, wanted: str, setup: list[Any]) -> tuple[str, str]:
            """Make the worker if this node has the expected versions; return the node's name and
            its versions.
            """
            # Ctrl-C reaches the whole group; the driver decides
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                from fedshelf.simulations.engines.ray.worker import RayWorker, installed_versions
            except ImportError as error:
                return socket.gethostname(), f"no usable Fedshelf ({error})"
            installed_here = installed_versions()
            if installed_here == wanted:
                self.worker = RayWorker(ray.get(setup[0]))
            return socket.gethostname(), installed_here

        def work(self, job: Any, model: Any) -> Any:
            """Do one job; see `RayWorker.work`."""
            return self.worker.work(job, model)

    return WorkerActor
