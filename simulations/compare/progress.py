"""Progress of a comparison's arms, and the request to stop them; both are shared with forked
processes.
"""

import multiprocessing
from collections.abc import Sequence

from fedshelf.common.wording import format_count
from fedshelf.server.results.run_directory import Record
from fedshelf.server.results.run_status import RunActivity
from fedshelf.server.training.run import StopRequest
from fedshelf.simulations.compare.arms.arms import Arm
from fedshelf.simulations.engines.process_pool import shared_zeros


class ComparisonProgress:
    """Rounds done of each arm. Also the observer of the whole comparison, which gets signals
    only.
    """

    def __init__(self, parts: Sequence[Arm]) -> None:
        self._parts = parts
        self._rounds = shared_zeros(1, len(parts))[0]
        self.notes: list[str] = []

    def of(self, kind: str) -> tuple[float, int]:
        """Return the share of the work of all arms of a kind that is done (0..1), and the number of
        these arms.
        """
        parts = [(part, done) for part, done in self._done() if part.kind == kind]
        return _share(parts), len(parts)

    def share(self) -> float:
        """Return the share of all work that is done (0..1)."""
        return _share(self._done())

    def told(self) -> str:
        """Return the progress of each kind: "federated 3 of 10 rounds, alone 2 of 4 stores"."""
        kinds: dict[str, list[tuple[Arm, float]]] = {}
        for part, done in self._done():
            kinds.setdefault(part.kind, []).append((part, done))
        return ", ".join(f"{kind} {_of_kind(parts)}" for kind, parts in kinds.items())

    def tell(self, number: int, rounds: int) -> None:
        """Note that the arm with this number has done `rounds` rounds."""
        self._rounds[number] = rounds

    def finish(self, number: int) -> None:
        """Note that the arm with this number needs no more rounds."""
        self.tell(number, self._parts[number].config.run.rounds)

    def row(self, record: Record) -> None:
        """Do nothing: rounds are those of an arm."""

    def note(self, text: str) -> None:
        """Keep a line for the one who shows them."""
        self.notes.append(text)

    def doing(self, doing: RunActivity) -> None:
        """Do nothing."""

    def training(self, round: int, done: int, sampled: int) -> None:
        """Do nothing."""

    def _done(self) -> list[tuple[Arm, float]]:
        """Return each arm with its rounds done."""
        return [(part, float(done)) for part, done in zip(self._parts, self._rounds, strict=True)]


def _share(parts: Sequence[tuple[Arm, float]]) -> float:
    """Return the share of the work of some arms that is done (0..1)."""
    done = sum(part.cost * rounds / part.config.run.rounds for part, rounds in parts)
    return done / max(1, sum(part.cost for part, _ in parts))


def _of_kind(parts: Sequence[tuple[Arm, float]]) -> str:
    """Return the progress of the arms of a kind: the rounds of a single one, else the number of
    finished ones.
    """
    if len(parts) == 1 and not parts[0][0].store:
        ((part, done),) = parts
        return f"{done:.0f} of {format_count(part.config.run.rounds, 'round')}"
    finished = sum(done >= part.config.run.rounds for part, done in parts)
    return f"{finished} of {format_count(len(parts), 'store')}"


class ArmObserver:
    """An observer of the rounds of one arm."""

    def __init__(self, progress: ComparisonProgress, number: int) -> None:
        self._progress = progress
        self._number = number

    def row(self, record: Record) -> None:
        """Count the round."""
        self._progress.tell(self._number, record["round"])

    def note(self, text: str) -> None:
        """Do nothing: the arm's own files have it."""

    def doing(self, doing: RunActivity) -> None:
        """Do nothing."""

    def training(self, round: int, done: int, sampled: int) -> None:
        """Do nothing."""


class SharedStop(StopRequest):
    """A request to stop, shared with processes forked later.

    If their parent is killed, they stop as if asked.
    """

    def __init__(self, watcher: ComparisonProgress) -> None:
        super().__init__(watcher)
        self._flag = shared_zeros(1, 1)

    def __call__(self) -> bool:
        """Return whether a stop was requested."""
        parent = multiprocessing.parent_process()
        return bool(self._flag.any()) or (parent is not None and not parent.is_alive())

    def request(self) -> None:
        """Ask all arms to end after their current rounds."""
        super().request()
        self._flag.fill_(1)
