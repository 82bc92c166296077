"""Assignment of work on a Ray cluster: places for workers, jobs in advance, and what becomes of
jobs whose worker died.
"""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fedshelf.simulations.engines.job_assignment import next_worker
from fedshelf.simulations.engines.ray.schedule import JobQueue, workers_per_node


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"memory": 1e9, **resources}}


def test_a_node_takes_a_worker_for_each_cpu_or_share_of_a_gpu():
    nodes = [
        node("head"),
        node("a", CPU=4),
        node("b", CPU=16, GPU=2),
        node("gone", alive=False, CPU=8, GPU=8),
    ]
    assert workers_per_node(nodes, 0) == {"a": 4, "b": 16}
    assert workers_per_node(nodes, 1) == {"b": 2}
    assert workers_per_node(nodes, 0.1) == {"b": 16}  # 20 shares, 16 CPUs
    assert workers_per_node([node("c", CPU=8, GPU=1)], 0.3) == {"c": 3}
    assert workers_per_node([node("d", CPU=0.5)], 0) == {}


@pytest.mark.parametrize(
    ("waiting", "loads", "workers"),
    [
        (0, [0, 0], []),
        (5, [], []),
        (1, [1, 0], [1]),
        (2, [0, 0], [0, 1]),
        # three left for two: one in advance, the others for whoever is free first
        (3, [1, 1], [0]),
        (9, [0, 0], [0, 1, 0, 1]),
        (9, [2, 2], []),
    ],
)
def test_idle_workers_get_jobs_and_busy_ones_only_while_many_are_left(waiting, loads, workers):
    assert assigned(waiting, loads) == workers


def assigned(waiting: int, num_jobs: list[int]) -> list[int]:
    """The workers that get the next jobs, in turn, until one has to wait."""
    num_jobs = list(num_jobs)
    positions = []
    while (position := next_worker(waiting - len(positions), num_jobs)) is not None:
        positions.append(position)
        num_jobs[position] += 1
    return positions


def test_a_lost_job_comes_next_and_three_deaths_are_its_own_fault():
    work = JobQueue(4)
    assert [work.take(), work.take()] == [0, 1]
    assert work.requeue([0, 1]) is None  # its worker was at 0
    assert [work.take(), work.take(), work.take()] == [0, 1, 2]
    assert work.requeue([]) is None
    assert work.requeue([0, 1]) is None
    assert work.take() == 0
    assert work.requeue([0]) == 0
    assert [work.take(), work.take()] == [1, 3]
    assert work.waiting == 0


@given(some.integers(0, 20), some.lists(some.integers(0, 4), max_size=60), some.integers(1, 4))
def test_every_job_is_answered_once_whoever_dies(count, deaths, workers):
    work = JobQueue(count)
    hands = [[] for _ in range(workers)]
    answered = Counter()
    while work.unanswered:
        for position in assigned(work.waiting, [len(jobs) for jobs in hands]):
            hands[position].append(work.take())
        dead = deaths.pop() if deaths else workers
        if dead < workers:
            hopeless = work.requeue(hands[dead])
            hands[dead] = []
            answered.update([] if hopeless is None else [hopeless])
            work.count_answer() if hopeless is not None else None
        elif busy := [jobs for jobs in hands if jobs]:
            answered[busy[0].pop(0)] += 1
            work.count_answer()
    assert answered == Counter(range(count))
