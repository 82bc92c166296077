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
from fedshelf.simulations.engines.ray.schedule import DEATHS, Work, places
from fedshelf.simulations.engines.ray.worker import Answer, Job, Model, Setup, installed

LOG = logging.getLogger("fedshelf.ray")
CLUSTER_POLL_SECONDS = 1.0  # seconds without an answer after which the cluster is checked again
NODE_TIMEOUT_SECONDS = 30.0  # seconds to wait for nodes when no worker fits on any
# The first import of PyTorch on a node is slow, and Ray runs its workers at nice 15.
FIRST_WORKER_TIMEOUT_SECONDS = 600.0


@dataclass(eq=False)
class WorkerHandle:
    """A worker.

    It is `coming` until it has told its installed versions; then it has its jobs, the present one
    first.
    """

    actor: Any
    node: str
    coming: Any
    jobs: deque[tuple[Any, int]] = field(default_factory=deque)

    @property
    def expected(self) -> Any:
        """The reference that will resolve next, or None."""
        if self.coming is not None:
            return self.coming
        return self.jobs[0][0] if self.jobs else None


class RayWorkers:
    """One worker for each CPU, or each `share` of a GPU, of every node."""

    def __init__(self, setup: Setup, share: float) -> None:
        self._setup = ray.put(setup)
        self._share = share
        self._installed = installed()
        self._shell: Any = ray.remote(_shell())
        self._hands: list[WorkerHandle] = []
        self._failed: Counter[str] = Counter()  # node -> workers in a row that died at their start
        self._founders = frozenset(places(ray.nodes(), share))
        self._reconcile()

    def run(
        self, count: int, prepare: Callable[[int], Job], model: Model
    ) -> Iterator[tuple[int, Answer | None]]:
        """Yield jobs 0 to `count` - 1 with their answers, as they come; None if workers died over a
        job repeatedly.

        Raises RunError if no worker is left, or a node of the beginning has other versions
        installed.
        """
        work = Work(count)
        shared = ray.put(model)
        manned = time.monotonic()
        self._reconcile()
        while work.unanswered:
            ready = [hand for hand in self._hands if hand.coming is None]
            while (
                position := next_worker(work.waiting, [len(hand.jobs) for hand in ready])
            ) is not None:
                job = work.take()
                ready[position].jobs.append(
                    (ready[position].actor.work.remote(prepare(job), shared), job)
                )
            if ready:
                manned = time.monotonic()
            elif time.monotonic() - manned > (
                FIRST_WORKER_TIMEOUT_SECONDS if self._hands else NODE_TIMEOUT_SECONDS
            ):
                raise self._deserted(time.monotonic() - manned)
            for answer in self._next(work):
                work.answered()
                yield answer

    def close(self) -> None:
        """End all workers."""
        for hand in self._hands:
            ray.kill(hand.actor)
        self._hands = []

    def _reconcile(self) -> None:
        """Start missing workers; forget idle ones of nodes that left (busy ones report it)."""
        fitting = places(ray.nodes(), self._share)
        self._hands = [
            hand for hand in self._hands if hand.node in fitting or hand.expected is not None
        ]
        present = Counter(hand.node for hand in self._hands)
        for node, count in fitting.items():
            if self._failed[node] < DEATHS:
                self._hands += [self._call(node) for _ in range(count - present[node])]

    def _call(self, node: str) -> WorkerHandle:
        """Start a worker."""
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        actor = self._shell.options(
            num_cpus=1, num_gpus=self._share, scheduling_strategy=there
        ).remote()
        return WorkerHandle(actor, node, actor.begin.remote(self._installed, [self._setup]))

    def _next(self, work: Work) -> Iterator[tuple[int, Answer | None]]:
        """Wait for the next message of any worker; yield it if it is an answer."""
        expected = {hand.expected: hand for hand in self._hands if hand.expected is not None}
        if not expected:
            time.sleep(CLUSTER_POLL_SECONDS)
        heard = ray.wait(list(expected), timeout=CLUSTER_POLL_SECONDS)[0] if expected else []
        if not heard:
            self._reconcile()
        for hand in [expected[reference] for reference in heard]:
            try:
                said = ray.get(hand.expected)
            except RayTaskError as error:
                raise AssertionError(f"in a worker of the Ray cluster: {error}") from None
            except RayError:  # its process or its node has died
                hopeless = self._bury(hand, work)
                if hopeless is not None:
                    yield hopeless, None
                continue
            if hand.coming is None:
                yield hand.jobs.popleft()[1], said
            else:
                self._welcome(hand, *said)

    def _bury(self, hand: WorkerHandle, work: Work) -> int | None:
        """Drop a dead worker, requeue its jobs and start another; return the job to be given up, if
        any.
        """
        ray.kill(hand.actor)
        self._hands.remove(hand)
        if hand.coming is not None:
            self._failed[hand.node] += 1
        hopeless = work.lost([job for _, job in hand.jobs])
        self._reconcile()
        return hopeless

    def _welcome(self, hand: WorkerHandle, host: str, found: str) -> None:
        """Let a new worker begin, or leave its node out if it has other versions installed."""
        hand.coming = None
        self._failed[hand.node] = 0
        if found == self._installed:
            return
        sentence = (
            f"Node {host} of the Ray cluster has {found}; this machine has {self._installed}. One"
            " seed gives one result only if all have the same: install it there."
        )
        if hand.node in self._founders:
            raise RunError(sentence)
        LOG.warning("%s The node is left out.", sentence)
        self._failed[hand.node] = DEATHS
        for other in [other for other in self._hands if other.node == hand.node]:
            ray.kill(other.actor)
            self._hands.remove(other)

    def _deserted(self, seconds: float) -> RunError:
        whole = ray.cluster_resources()
        free = ray.available_resources()
        told = [
            f"{free.get(kind, 0):g} of {whole.get(kind, 0):g} {kind}s free"
            for kind in ("CPU", "GPU")
        ]
        told.append(
            f"{sum(count >= DEATHS for count in self._failed.values())} nodes left out as unfit"
        )
        return RunError(
            f"The Ray cluster has no worker left for this run, and none came within {seconds:.0f} s"
            f" ({', '.join(told)}): start nodes or free them, and go on with --resume."
        )


def _shell() -> type:
    """Return the class of the workers' actors.

    A local class is sent as code: so a node without Fedshelf can say that it lacks it.
    """

    class Shell:
        def begin(self, expected: str, setup: list[Any]) -> tuple[str, str]:
            """Make the worker if this node has the expected versions; return the node's name and
            its versions.
            """
            # Ctrl-C reaches the whole group; the driver decides
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                from fedshelf.simulations.engines.ray.worker import RayWorker, installed
            except ImportError as error:
                return socket.gethostname(), f"no usable Fedshelf ({error})"
            found = installed()
            if found == expected:
                self.worker = RayWorker(ray.get(setup[0]))
            return socket.gethostname(), found

        def work(self, job: Any, model: Any) -> Any:
            """Do one job; see `RayWorker.work`."""
            return self.worker.work(job, model)

    return Shell
