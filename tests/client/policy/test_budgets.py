"""Amounts that a store has spent: days, clocks, processes that die."""

import multiprocessing
import os
import signal
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.client.policy.budgets import KEPT_DAYS, Spent, Usage
from fedshelf.common.errors import ConfigError

NOON = datetime(2026, 11, 20, 12).timestamp()
DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> float:
        return self.time


def test_spending_adds_up_and_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "usage.json"
    Usage(path).add(Spent(trainings=1, seconds=1.5, down=100))
    Usage(path).add(Spent(judgements=2, seconds=0.25, down=11, up=7))
    assert Usage(path).today() == Spent(trainings=1, judgements=2, seconds=1.75, down=111, up=7)


def test_a_day_ends_at_local_midnight(tmp_path: Path) -> None:
    clock = Clock()
    usage = Usage(tmp_path / "usage.json", clock)
    clock.time = datetime(2026, 11, 20, 23, 59, 59).timestamp()
    usage.add(Spent(trainings=3))
    assert usage.today().trainings == 3
    clock.time += 1
    assert usage.today() == Spent()


def test_a_clock_that_goes_back_and_forth_gives_no_day_twice(tmp_path: Path) -> None:
    clock = Clock()
    usage = Usage(tmp_path / "usage.json", clock)
    for days_ahead, expected in ((0, 1), (1, 1), (0, 2), (1, 2), (-1, 1), (0, 3), (1, 3), (-1, 2)):
        clock.time = NOON + days_ahead * DAY
        usage.add(Spent(trainings=1))
        assert usage.today().trainings == expected


def test_a_clock_that_was_years_ahead_takes_nothing_away(tmp_path: Path) -> None:
    clock = Clock()
    usage = Usage(tmp_path / "usage.json", clock)
    clock.time = NOON + 10 * 365 * DAY
    usage.add(Spent(trainings=5))
    for day in range(KEPT_DAYS + 20):
        clock.time = NOON + day * DAY
        assert usage.today() == Spent()
        usage.add(Spent(trainings=1))
    assert (tmp_path / "usage.json").stat().st_size < 20_000


@settings(max_examples=20)  # each spends on a disk
@given(st.lists(st.tuples(st.integers(0, KEPT_DAYS - 1), st.integers(1, 9)), max_size=12))
def test_each_day_keeps_what_was_spent_on_it_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    clock = Clock()
    totals = dict[int, int]()
    path = tmp_path_factory.mktemp("usage") / "usage.json"
    for day, trainings in steps:
        clock.time = NOON + day * DAY
        Usage(path, clock).add(Spent(trainings=trainings))
        totals[day] = totals.get(day, 0) + trainings
    for day, total in totals.items():
        clock.time = (datetime.fromtimestamp(NOON) + timedelta(days=day)).timestamp()
        assert Usage(path, clock).today().trainings == total


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"2026-11-20": {"trainings": "many"}}', b"\xff", b"[" * 100_000]
)
def test_a_damaged_file_grants_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "usage.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        Usage(path).today()
    with pytest.raises(ConfigError, match="Delete it"):
        Usage(path).add(Spent(trainings=1))
    assert path.read_bytes() == content


def _count(path: Path, pipe: int) -> None:
    """Spends for ever, and says after each time that it is done."""
    usage = Usage(path)
    while True:
        usage.add(Spent(trainings=1))
        os.write(pipe, b".")


def test_two_processes_that_are_killed_lose_nothing_that_was_counted(tmp_path: Path) -> None:
    path = tmp_path / "usage.json"
    context = multiprocessing.get_context("fork")
    reading, writing = os.pipe()
    workers = [context.Process(target=_count, args=(path, writing)) for _ in range(2)]
    for worker in workers:
        worker.start()
    said = sum(len(os.read(reading, 1)) for _ in range(40))
    for worker in workers:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    os.close(writing)
    while more := os.read(reading, 4096):
        said += len(more)
    os.close(reading)
    assert said <= Usage(path).today().trainings <= said + len(workers)
