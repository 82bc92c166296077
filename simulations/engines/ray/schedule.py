"""Assignment of jobs to the workers of a changing cluster: decisions of the engine `ray`, as
arithmetic.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_DEATHS = 3  # workers that may die over one job before it counts as the cause


def workers_per_node(nodes: Iterable[Mapping[str, Any]], share: float) -> dict[str, int]:
    """Return the number of workers that fit on each living node.

    It is one a CPU, at most one per `share` of a GPU.

    Args:
        nodes: as `ray.nodes()` lists them.
        share: share of a GPU for each worker; 0: workers need none.

    Returns:
        Node id -> number of workers, without nodes that have room for none.

    >>> node = {"NodeID": "a", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}
    >>> workers_per_node([node], share=0.25)
    {'a': 4}
    """
    workers: dict[str, int] = {}
    for node in nodes:
        resources = node["Resources"]
        cpus = int(resources.get("CPU", 0))
        gpus = int(resources.get("GPU", 0) / share + 1e-6) if share else cpus
        if node["Alive"] and min(cpus, gpus):
            workers[node["NodeID"]] = min(cpus, gpus)
    return workers


class JobQueue:
    """Jobs 0, 1, ... `count` - 1, done in this order unless workers die; each is answered once."""

    def __init__(self, count: int) -> None:
        self._waiting = list(reversed(range(count)))
        self._deaths: Counter[int] = Counter()
        self.unanswered = count

    @property
    def waiting(self) -> int:
        """Number of jobs that no worker has."""
        return len(self._waiting)

    def take(self) -> int:
        """Take the next job."""
        return self._waiting.pop()

    def count_answer(self) -> None:
        """Count one job as done."""
        self.unanswered -= 1

    def requeue(self, jobs: Sequence[int]) -> int | None:
        """Put the jobs of a dead worker before all waiting ones.

        Args:
            jobs: the worker's jobs; it was at the first of them when it died.

        Returns:
            The first job if MAX_DEATHS workers have died over it, as it is not tried again; else
            None.
        """
        for job in jobs[:1]:
            self._deaths[job] += 1
        hopeless = jobs[0] if jobs and self._deaths[jobs[0]] >= MAX_DEATHS else None
        self._waiting = sorted({*self._waiting, *jobs} - {hopeless}, reverse=True)
        return hopeless
