"""Resident worker processes that share memory with this one: no large data is ever sent.

Workers are forked, so they have the data set, the plan and torch from the start. Parameters pass
in both directions through shared arrays; jobs and small answers go through pipes.
"""

import mmap
import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Generic, TypeVar

import torch
from torch import Tensor

from fedshelf.common.errors import RunError
from fedshelf.server.grid.phase_overlap import Span
from fedshelf.simulations.engines.job_assignment import next_worker

# A job that may not fit into a busy worker's pipe goes to an idle one: both would wait for the
# other to read.
LARGE_JOB = 32_768  # bytes

Job = TypeVar("Job")
Result = TypeVar("Result")


def shared(rows: int, columns: int) -> Tensor:
    """Return zeros, float32 [rows, columns], in memory that processes forked later share with this
    one.

    It is anonymous memory: no file in /dev/shm, which is small in many containers, and nothing
    left after a kill.
    """
    return torch.frombuffer(mmap.mmap(-1, 4 * rows * columns), dtype=torch.float32).view(
        rows, columns
    )


@dataclass
class _WorkerHandle:
    """A worker, the numbers of its jobs in the order in which it does them, and the begin of the
    first one.

    Times are values of time.perf_counter().
    """

    process: BaseProcess
    pipe: Connection
    has: deque[int] = field(default_factory=deque)
    since: float = 0.0


class ProcessPool(Generic[Job, Result]):
    """`count` processes, each running `work` on one job after another.

    An exception in `work` is a fault in the program and comes back as an AssertionError with its
    text.
    """

    def __init__(self, count: int, work: Callable[[Job], Result]) -> None:
        context = multiprocessing.get_context("fork")
        self._hands: list[_WorkerHandle] = []
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._next = 0
        self._wanted = set[int]()
        self._results: dict[int, Result] = {}
        self._done: list[tuple[int, float, float]] = []  # job, begin and end, of all since `watch`
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, here, work), daemon=True)
            process.start()
            there.close()
            self._hands.append(_WorkerHandle(process, here))

    def submit(self, jobs: Sequence[Job]) -> range:
        """Queue jobs behind the present ones; workers take them while any `results` are awaited."""
        numbers = range(self._next, self._next + len(jobs))
        self._next = numbers.stop
        self._wanted.update(numbers)
        self._waiting.extend(
            (n, bytes(ForkingPickler.dumps(job))) for n, job in zip(numbers, jobs, strict=True)
        )
        return numbers

    def results(self, numbers: range) -> Iterator[Result]:
        """Yield results of submitted jobs as they come.

        Raises RunError if a worker dies, for example killed for want of memory.
        """
        missing = set(numbers)
        while missing:
            for number in missing & self._results.keys():
                missing.remove(number)
                self._hand_out()
                yield self._results.pop(number)
            self._hand_out()
            if missing - self._results.keys():
                self._receive()

    def first(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Yield results of new jobs that go before all waiting ones."""
        numbers = self.submit(jobs)
        self._waiting.rotate(len(jobs))
        return self.results(numbers)

    def forget(self, numbers: range) -> None:
        """Drop jobs that are no longer wanted; wait for those that have begun, and discard their
        results.
        """
        self._wanted.difference_update(numbers)
        self._waiting = deque(
            (number, job) for number, job in self._waiting if number in self._wanted
        )
        while any(number in numbers for hand in self._hands for number in hand.has):
            self._receive()
        for number in numbers:
            self._results.pop(number, None)

    def watch(self) -> None:
        """Start to record the times of jobs; forget earlier ones."""
        self._done.clear()

    def spans(self, ahead: range) -> list[Span]:
        """Return the times of jobs since `watch`, running ones included, as this process saw them.

        ahead: the jobs that are for the next phase
        """
        now = time.perf_counter()
        under_way = [(hand.has[0], hand.since, now) for hand in self._hands if hand.has]
        return [
            Span(began, ended, number in ahead)
            for number, began, ended in (*self._done, *under_way)
        ]

    def close(self) -> None:
        """End all workers."""
        for hand in self._hands:
            hand.pipe.close()
            hand.process.terminate()
        for hand in self._hands:
            hand.process.join()

    def _hand_out(self) -> None:
        """Give waiting jobs to workers, as `next_worker` decides."""
        while self._waiting:
            number, job = self._waiting[0]
            position = next_worker(
                len(self._waiting),
                [len(hand.has) for hand in self._hands],
                may_queue=len(job) <= LARGE_JOB,
            )
            if position is None:
                return
            hand = self._hands[position]
            self._waiting.popleft()
            try:
                hand.pipe.send_bytes(job)
            except OSError:
                raise _died(hand) from None
            if not hand.has:
                hand.since = time.perf_counter()
            hand.has.append(number)

    def _receive(self) -> None:
        """Wait for answers, and keep the wanted ones."""
        busy = {hand.pipe: hand for hand in self._hands if hand.has}
        for ready in wait([*busy, *(hand.process.sentinel for hand in busy.values())]):
            if isinstance(ready, Connection):
                hand = busy[ready]
                number = hand.has.popleft()
                result = self._result(hand)
                now = time.perf_counter()
                self._done.append((number, hand.since, now))
                hand.since = now
                if number in self._wanted:
                    self._wanted.remove(number)
                    self._results[number] = result
        for hand in busy.values():
            if hand.has and not hand.process.is_alive() and not hand.pipe.poll():
                raise _died(hand)

    def _result(self, hand: _WorkerHandle) -> Result:
        try:
            fault, result = hand.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise _died(hand) from None
        if fault is not None:
            raise AssertionError(f"in a worker process: {fault}")
        answer: Result = result
        return answer


def _died(hand: _WorkerHandle) -> RunError:
    hand.process.join()
    return RunError(
        f"A worker process ended with code {hand.process.exitcode} (-9: killed, often for want of"
        " memory); go on with --resume, if need be with fewer of them: --set run.workers=1."
    )


def _serve(pipe: Connection, parents_end: Connection, work: Callable[[Job], Result]) -> None:
    """Do jobs in a worker until the parent closes the pipe or dies."""
    parents_end.close()
    # Ctrl-C reaches the whole process group; the parent decides
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None
    while True:
        if pipe not in wait([pipe, parent.sentinel]):
            os._exit(0)
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)
        try:
            pipe.send((None, work(job)))
        except Exception as error:
            pipe.send(("".join(traceback.format_exception(error)), None))
