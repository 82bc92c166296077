"""Progress of a comparison's arms, and the request to stop them, shared with forked processes."""

import multiprocessing
from collections.abc import Sequence

from fedshelf.common.wording import format_count
from fedshelf.server.results.run_directory import Record
from fedshelf.server.results.run_status import RunActivity
from fedshelf.server.training.run import StopRequest
from fedshelf.simulations.compare.arms.arms import Arm
from fedshelf.simulations.engines.process_pool import shared_zeros


class ComparisonProgress:
    """Counter of the finished rounds of each arm.

    It is also the observer of the whole comparison, which gets signals only.

    Args:
        arms: all arms, in the order of their numbers
    """

    def __init__(self, arms: Sequence[Arm]) -> None:
        self._arms = arms
        self._rounds = shared_zeros(1, len(arms))[0]
        self.notes: list[str] = []

    def of(self, kind: str) -> tuple[float, int]:
        """Return the progress of all arms of a kind.

        Returns:
            The share of their work that is done (0..1), and the number of these arms.
        """
        arms = [(arm, done) for arm, done in self._rounds_of_arms() if arm.kind == kind]
        return _share(arms), len(arms)

    def share(self) -> float:
        """Return the share of all work that is done (0..1)."""
        return _share(self._rounds_of_arms())

    def summary(self) -> str:
        """Return the progress of each kind: "federated 3 of 10 rounds, alone 2 of 4 stores"."""
        kinds: dict[str, list[tuple[Arm, float]]] = {}
        for arm, done in self._rounds_of_arms():
            kinds.setdefault(arm.kind, []).append((arm, done))
        return ", ".join(f"{kind} {_of_kind(arms)}" for kind, arms in kinds.items())

    def set_rounds(self, arm_number: int, rounds: int) -> None:
        """Note that the arm with this number has done `rounds` rounds."""
        self._rounds[arm_number] = rounds

    def finish(self, arm_number: int) -> None:
        """Note that the arm with this number needs no more rounds."""
        self.set_rounds(arm_number, self._arms[arm_number].config.run.rounds)

    def row(self, record: Record) -> None:
        """Do nothing: rounds are those of an arm."""

    def note(self, text: str) -> None:
        """Keep a line for the code that shows the progress."""
        self.notes.append(text)

    def doing(self, doing: RunActivity) -> None:
        """Do nothing."""

    def training(self, round_number: int, done: int, sampled: int) -> None:
        """Do nothing."""

    def _rounds_of_arms(self) -> list[tuple[Arm, float]]:
        """Return each arm with its rounds done."""
        return [(arm, float(done)) for arm, done in zip(self._arms, self._rounds, strict=True)]


def _share(arms: Sequence[tuple[Arm, float]]) -> float:
    """Return the share of the work of some arms that is done (0..1)."""
    done = sum(arm.cost * rounds / arm.config.run.rounds for arm, rounds in arms)
    return done / max(1, sum(arm.cost for arm, _ in arms))


def _of_kind(arms: Sequence[tuple[Arm, float]]) -> str:
    """Return the progress of the arms of a kind in words.

    It is the rounds of a single arm, else the number of finished arms.
    """
    if len(arms) == 1 and not arms[0][0].store:
        ((arm, done),) = arms
        return f"{done:.0f} of {format_count(arm.config.run.rounds, 'round')}"
    finished = sum(done >= arm.config.run.rounds for arm, done in arms)
    return f"{finished} of {format_count(len(arms), 'store')}"


class ArmObserver:
    """An observer of the rounds of one arm."""

    def __init__(self, progress: ComparisonProgress, arm_number: int) -> None:
        self._progress = progress
        self._arm_number = arm_number

    def row(self, record: Record) -> None:
        """Count the round."""
        self._progress.set_rounds(self._arm_number, record["round"])

    def note(self, text: str) -> None:
        """Do nothing: the arm's own files have it."""

    def doing(self, doing: RunActivity) -> None:
        """Do nothing."""

    def training(self, round_number: int, done: int, sampled: int) -> None:
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
