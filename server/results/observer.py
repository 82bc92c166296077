"""Interface of the observers of a training run."""

from typing import Protocol

from fedshelf.server.results.run_directory import Record
from fedshelf.server.results.run_status import RunActivity


class RunObserver(Protocol):
    """Observer of a training run."""

    def row(self, record: Record) -> None:
        """Take the history line of a round that is done."""

    def note(self, text: str) -> None:
        """Take a message worth a line."""

    def doing(self, doing: RunActivity) -> None:
        """Take the activity that the run has begun."""

    def training(self, round: int, done: int, sampled: int) -> None:
        """Take the progress of a round: `done` of `sampled` stores have answered."""
