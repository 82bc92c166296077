"""Worker processes: real ones, small jobs."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.common.errors import RunError
from fedshelf.simulations.engines.process_pool import LARGE_JOB_BYTES, ProcessPool
from fedshelf.simulations.engines.sequential import chunks_by_images

# a byte per job, in the order in which they were begun, whichever worker began them
written, writes = os.pipe()
os.set_blocking(written, False)
gates = [os.pipe() for _ in range(2)]


def work(job: object) -> object:
    match job:
        case ("write", value):
            os.write(writes, bytes([value]))
        case ("wait", gate):
            os.read(gates[gate][0], 1)
        case ("die",):
            os.kill(os.getpid(), signal.SIGKILL)
        case ("raise",):
            raise ValueError("seven")
        case ("echo", text):
            return text
    return job


@contextmanager
def pool(count: int) -> Iterator[ProcessPool]:
    begun()
    with closing(ProcessPool(count, work)) as workers:
        yield workers


def begun() -> list[int]:
    """The jobs begun since the last look."""
    try:
        return list(os.read(written, 64))
    except BlockingIOError:
        return []


def test_every_job_is_done_once_and_answers_come_back() -> None:
    with pool(3) as workers:
        assert sorted(workers.results(workers.submit([("echo", n) for n in range(40)]))) == list(
            range(40)
        )
        assert list(workers.results(workers.submit([]))) == []


def test_what_is_asked_first_goes_before_what_waits() -> None:
    with pool(1) as workers:
        later = workers.submit([("write", n) for n in range(5)])
        assert list(workers.run_first([("write", 10), ("write", 11)])) == [
            ("write", 10),
            ("write", 11),
        ]
        assert len(list(workers.results(later))) == 5
    assert begun() == [10, 11, 0, 1, 2, 3, 4]


def test_an_idle_worker_takes_up_what_waits() -> None:
    """One of two workers is held up by the first job; the other does all that was only expected."""
    with pool(2) as workers:
        expected = workers.submit([("write", n) for n in range(4)])
        answers = workers.run_first([("wait", 0), ("echo", "x")])
        assert next(answers) == "x"
        releaser = threading.Timer(0, os.write, (gates[0][1], b"."))
        releaser.start()
        assert next(answers) == ("wait", 0)
        assert len(list(workers.results(expected))) == 4
    assert sorted(begun()) == [0, 1, 2, 3]


def test_the_last_jobs_go_to_the_worker_that_is_idle_first() -> None:
    """Of six jobs each worker gets two at first, so the one that is held up keeps one waiting."""
    with pool(2) as workers:
        answers = workers.results(
            workers.submit([("wait", 0), *[("write", n) for n in range(1, 6)]])
        )
        release = threading.Timer(30, os.write, (gates[0][1], b"."))  # ends a test that fails
        release.start()
        assert {next(answers) for _ in range(4)} == {("write", n) for n in (1, 3, 4, 5)}
        release.cancel()
        os.write(gates[0][1], b".")
        assert set(answers) == {("wait", 0), ("write", 2)}


def test_what_is_forgotten_is_not_begun_and_not_returned() -> None:
    with pool(1) as workers:
        dropped = workers.submit([("write", n) for n in range(5)])
        workers.cancel(dropped)
        assert list(workers.results(workers.submit([("write", 9)]))) == [("write", 9)]
    assert begun() == [9]


def test_what_is_forgotten_while_under_way_ends_before_anything_new_begins() -> None:
    """The worker has two of the forgotten jobs in hand, the first of them held up: both end, the
    others never begin.
    """
    with pool(1) as workers:
        under_way = workers.submit([("wait", 0), *[("write", n) for n in range(9)]])
        assert next(workers.run_first([("echo", "x")])) == "x"
        threading.Timer(0, os.write, (gates[0][1], b".")).start()
        workers.cancel(under_way)
        assert begun() == [0]
        assert list(workers.results(workers.submit([("write", 20)]))) == [("write", 20)]
    assert begun() == [20]


def test_large_jobs_and_large_answers_do_not_wait_for_each_other() -> None:
    text = "x" * (40 * LARGE_JOB_BYTES)
    with pool(2) as workers:
        assert list(workers.results(workers.submit([("echo", text)] * 8))) == [text] * 8


def test_a_worker_that_dies_is_one_sentence() -> None:
    with (
        pool(2) as workers,
        pytest.raises(RunError, match=r"A worker process ended with code -9 .* --resume"),
    ):
        list(workers.results(workers.submit([("die",), *[("echo", n) for n in range(9)]])))


def test_an_exception_is_a_fault_of_the_program() -> None:
    with pool(1) as workers, pytest.raises(AssertionError, match="ValueError: seven"):
        list(workers.results(workers.submit([("raise",)])))


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 60))
def test_parcels_keep_order_and_are_no_smaller_than_asked(sizes: list[int], least: int) -> None:
    names = [str(place) for place in range(len(sizes))]
    parts = list(chunks_by_images(names, sizes, least))
    assert [name for part in parts for name in part] == names
    totals = [sum(sizes[int(name)] for name in part) for part in parts]
    assert all(total >= least for total in totals[:-1])
    assert all(
        total - sizes[int(part[-1])] < least for total, part in zip(totals, parts, strict=True)
    )
