"""Resident worker processes that share memory with this one: nothing large is ever sent.

Workers are forked, so they have the data set, the plan and torch from the start. Parameters go
down and up through shared arrays; tasks and small answers go through pipes.
"""

import mmap
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

import torch
from torch import Tensor

from common.errors import RunError

Job = TypeVar("Job")
Result = TypeVar("Result")


def shared(rows: int, columns: int) -> Tensor:
    """Zeros, float32 [rows, columns], in memory that processes forked later share with this one.

    Anonymous memory: no file in /dev/shm, which is small in many containers, and nothing left after a kill.
    """
    return torch.frombuffer(mmap.mmap(-1, 4 * rows * columns), dtype=torch.float32).view(rows, columns)


@dataclass(frozen=True)
class _Hand:
    process: BaseProcess
    pipe: Connection


class Pool(Generic[Job, Result]):
    """`count` processes, each running `work` on one job at a time.

    An exception in `work` is a fault in the program and comes back as an AssertionError with its text.
    """

    def __init__(self, count: int, work: Callable[[Job], Result]) -> None:
        context = multiprocessing.get_context("fork")
        self._hands: list[_Hand] = []
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, here, work), daemon=True)
            process.start()
            there.close()
            self._hands.append(_Hand(process, here))

    def map(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Results as they come, of jobs started in the order given.

        Raises RunError if a worker dies, for example killed for want of memory.
        """
        waiting = list(reversed(jobs))
        busy: dict[Connection, _Hand] = {}
        for hand in self._hands[: len(jobs)]:
            hand.pipe.send(waiting.pop())
            busy[hand.pipe] = hand
        while busy:
            for ready in wait([*busy, *(hand.process.sentinel for hand in busy.values())]):
                if not isinstance(ready, Connection):
                    continue
                hand = busy.pop(ready)
                result = self._receive(hand)
                if waiting:
                    hand.pipe.send(waiting.pop())
                    busy[hand.pipe] = hand
                yield result
            self._check(busy)

    def close(self) -> None:
        """End all workers."""
        for hand in self._hands:
            hand.pipe.close()
            hand.process.terminate()
        for hand in self._hands:
            hand.process.join()

    def _receive(self, hand: _Hand) -> Result:
        try:
            fault, result = hand.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise _died(hand) from None
        if fault is not None:
            raise AssertionError(f"in a worker process: {fault}")
        answer: Result = result
        return answer

    def _check(self, busy: dict[Connection, _Hand]) -> None:
        for hand in busy.values():
            if not hand.process.is_alive() and not hand.pipe.poll():
                raise _died(hand)


def _died(hand: _Hand) -> RunError:
    hand.process.join()
    return RunError(
        f"A worker process ended with code {hand.process.exitcode} (-9: killed, often for want of memory);"
        " go on with --resume, if need be with fewer of them: --set run.workers=1."
    )


def _serve(pipe: Connection, parents_end: Connection, work: Callable[[Job], Result]) -> None:
    """A worker's life: until the parent closes the pipe or dies."""
    parents_end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
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
