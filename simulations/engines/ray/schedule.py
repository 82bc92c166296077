"""Assignment of jobs to the workers of a changing cluster: decisions of the engine `ray`, as
arithmetic.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

DEATHS = 3  # workers that may die over one job before it counts as the cause


def places(nodes: Iterable[Mapping[str, Any]], share: float) -> dict[str, int]:
    """Return the number of workers that fit on each living node: one a CPU, at most one per `share`
    of a GPU.

    nodes: as `ray.nodes()` lists them
    share: of a GPU for each worker; 0: workers need none
    """
    fitting: dict[str, int] = {}
    for node in nodes:
        resources = node["Resources"]
        cpus = int(resources.get("CPU", 0))
        gpus = int(resources.get("GPU", 0) / share + 1e-6) if share else cpus
        if node["Alive"] and min(cpus, gpus):
            fitting[node["NodeID"]] = min(cpus, gpus)
    return fitting


class Work:
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

    def answered(self) -> None:
        """Count one job as done."""
        self.unanswered -= 1

    def lost(self, jobs: Sequence[int]) -> int | None:
        """Put the jobs of a dead worker before all waiting ones; it was at the first of `jobs`.

        Returns the first if DEATHS workers have died over it: it is not tried again.
        """
        for job in jobs[:1]:
            self._deaths[job] += 1
        hopeless = jobs[0] if jobs and self._deaths[jobs[0]] >= DEATHS else None
        self._waiting = sorted({*self._waiting, *jobs} - {hopeless}, reverse=True)
        return hopeless
