"""Who does what on a cluster that changes: decisions of the engine `ray`, as arithmetic."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

DEATHS = 3  # workers that may die over one job before it counts as the cause


def places(nodes: Iterable[Mapping[str, Any]], share: float) -> dict[str, int]:
    """Workers that fit on each living node: one a CPU, and no more than have `share` of a GPU (0: need none).

    nodes: as `ray.nodes()` lists them
    """
    fitting: dict[str, int] = {}
    for node in nodes:
        resources = node["Resources"]
        cpus = int(resources.get("CPU", 0))
        gpus = int(resources.get("GPU", 0) / share + 1e-6) if share else cpus
        if node["Alive"] and min(cpus, gpus):
            fitting[node["NodeID"]] = min(cpus, gpus)
    return fitting


def deal(waiting: int, loads: Sequence[int]) -> list[int]:
    """Which workers get the next of `waiting` jobs, given how many each one has: positions in `loads`, in turn.

    One each; and a second one, so that nobody waits for us, while more jobs are left than there are
    workers: towards the end a job goes to whoever is free first.
    """
    loads, chosen = list(loads), []
    while loads and waiting:
        least = min(range(len(loads)), key=loads.__getitem__)
        if loads[least] > (1 if waiting > len(loads) else 0):
            break
        chosen.append(least)
        loads[least] += 1
        waiting -= 1
    return chosen


class Work:
    """Jobs 0, 1, ... `count` - 1, done in this order as far as workers live; each is answered once."""

    def __init__(self, count: int) -> None:
        self._waiting = list(reversed(range(count)))
        self._deaths: Counter[int] = Counter()
        self.unanswered = count

    @property
    def waiting(self) -> int:
        """Jobs that nobody has."""
        return len(self._waiting)

    def take(self) -> int:
        """The next job."""
        return self._waiting.pop()

    def answered(self) -> None:
        """One job is done with."""
        self.unanswered -= 1

    def lost(self, jobs: Sequence[int]) -> int | None:
        """A worker died that had `jobs` and was at the first: others get them, before what waits.

        Returns the first if DEATHS workers have died over it: it is not tried again.
        """
        for job in jobs[:1]:
            self._deaths[job] += 1
        hopeless = jobs[0] if jobs and self._deaths[jobs[0]] >= DEATHS else None
        self._waiting = sorted({*self._waiting, *jobs} - {hopeless}, reverse=True)
        return hopeless
