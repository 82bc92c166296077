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
LARGE_JOB_BYTES = 32_768

Job = TypeVar("Job")
Result = TypeVar("Result")


def shared_zeros(num_rows: int, num_columns: int) -> Tensor:
    """Return zeros in memory that processes forked later share with this one.

    It is anonymous memory: no file in /dev/shm, which is small in many containers, and nothing
    left after a kill.

    Returns:
        float32 [num_rows, num_columns].
    """
    return torch.frombuffer(mmap.mmap(-1, 4 * num_rows * num_columns), dtype=torch.float32).view(
        num_rows, num_columns
    )


@dataclass
class _WorkerHandle:
    """A worker process and its jobs.

    jobs:  numbers of its jobs, in the order in which it does them
    began: time.perf_counter() when it began the first of `jobs`
    """

    process: BaseProcess
    pipe: Connection
    jobs: deque[int] = field(default_factory=deque)
    began: float = 0.0


class ProcessPool(Generic[Job, Result]):
    """Worker processes, each running `work` on one job after another.

    An exception in `work` is a fault in the program and comes back as an AssertionError with its
    text.

    Args:
        num_workers: number of processes.
        work: does a job; it is called in a fork of this process.
    """

    def __init__(self, num_workers: int, work: Callable[[Job], Result]) -> None:
        context = multiprocessing.get_context("fork")
        self._workers: list[_WorkerHandle] = []
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._next_number = 0
        self._wanted = set[int]()
        self._results: dict[int, Result] = {}
        # number, begin and end of each job that ended since the last `record_times`
        self._job_times: list[tuple[int, float, float]] = []
        for _ in range(num_workers):
            pool_end, worker_end = context.Pipe()
            process = context.Process(
                target=_serve_jobs, args=(worker_end, pool_end, work), daemon=True
            )
            process.start()
            # the worker alone has this end now, so its death closes the pipe
            worker_end.close()
            self._workers.append(_WorkerHandle(process, pool_end))

    def submit(self, jobs: Sequence[Job]) -> range:
        """Queue jobs behind the present ones; workers take them while any `results` are awaited.

        Returns:
            The jobs' numbers, for `results` and `cancel`.
        """
        numbers = range(self._next_number, self._next_number + len(jobs))
        self._next_number = numbers.stop
        self._wanted.update(numbers)
        self._waiting.extend(
            (n, bytes(ForkingPickler.dumps(job))) for n, job in zip(numbers, jobs, strict=True)
        )
        return numbers

    def results(self, numbers: range) -> Iterator[Result]:
        """Yield results of submitted jobs as they come.

        Raises:
            RunError: a worker died, for example killed for want of memory.
        """
        missing = set(numbers)
        while missing:
            for number in missing & self._results.keys():
                missing.remove(number)
                self._assign_jobs()
                yield self._results.pop(number)
            self._assign_jobs()
            if missing - self._results.keys():
                self._receive()

    def run_first(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Yield results of new jobs that go before all waiting ones."""
        numbers = self.submit(jobs)
        # from the end of the queue to its front
        self._waiting.rotate(len(jobs))
        return self.results(numbers)

    def cancel(self, numbers: range) -> None:
        """Drop jobs that are no longer wanted; wait for those that have begun, and discard their
        results.
        """
        self._wanted.difference_update(numbers)
        self._waiting = deque(
            (number, job) for number, job in self._waiting if number in self._wanted
        )
        while any(number in numbers for worker in self._workers for number in worker.jobs):
            self._receive()
        for number in numbers:
            self._results.pop(number, None)

    def record_times(self) -> None:
        """Start to record the times of jobs; forget earlier ones."""
        self._job_times.clear()

    def spans(self, next_phase: range) -> list[Span]:
        """Return the times of jobs since `record_times`, as this process saw them.

        Jobs that are running are included.

        Args:
            next_phase: numbers of the jobs that are for the next phase.
        """
        now = time.perf_counter()
        running = [(worker.jobs[0], worker.began, now) for worker in self._workers if worker.jobs]
        return [
            Span(began, ended, number in next_phase)
            for number, began, ended in (*self._job_times, *running)
        ]

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()

    def _assign_jobs(self) -> None:
        """Give waiting jobs to workers, as `next_worker` decides."""
        while self._waiting:
            number, job = self._waiting[0]
            position = next_worker(
                len(self._waiting),
                [len(worker.jobs) for worker in self._workers],
                may_queue=len(job) <= LARGE_JOB_BYTES,
            )
            if position is None:
                return
            worker = self._workers[position]
            self._waiting.popleft()
            try:
                worker.pipe.send_bytes(job)
            except OSError:
                raise _dead_worker_error(worker) from None
            if not worker.jobs:
                worker.began = time.perf_counter()
            worker.jobs.append(number)

    def _receive(self) -> None:
        """Wait for answers, and keep the wanted ones."""
        worker_of_pipe = {worker.pipe: worker for worker in self._workers if worker.jobs}
        for ready in wait(
            [*worker_of_pipe, *(worker.process.sentinel for worker in worker_of_pipe.values())]
        ):
            if isinstance(ready, Connection):
                worker = worker_of_pipe[ready]
                number = worker.jobs.popleft()
                result = self._read_result(worker)
                now = time.perf_counter()
                self._job_times.append((number, worker.began, now))
                worker.began = now
                if number in self._wanted:
                    self._wanted.remove(number)
                    self._results[number] = result
        for worker in worker_of_pipe.values():
            # an answer that was sent before the death counts
            if worker.jobs and not worker.process.is_alive() and not worker.pipe.poll():
                raise _dead_worker_error(worker)

    def _read_result(self, worker: _WorkerHandle) -> Result:
        try:
            fault, result = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise _dead_worker_error(worker) from None
        if fault is not None:
            raise AssertionError(f"in a worker process: {fault}")
        answer: Result = result
        return answer


def _dead_worker_error(worker: _WorkerHandle) -> RunError:
    worker.process.join()
    return RunError(
        f"A worker process ended with code {worker.process.exitcode} (-9: killed, often because"
        " of too little memory); continue with --resume, if necessary with fewer workers:"
        " --set run.workers=1."
    )


def _serve_jobs(pipe: Connection, pool_end: Connection, work: Callable[[Job], Result]) -> None:
    """Do jobs in a worker until the parent closes the pipe or dies."""
    pool_end.close()
    # Ctrl-C reaches the whole process group; the parent decides
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # sums depend on the number of threads, and results must not depend on that of workers
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
