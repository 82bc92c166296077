"""Listeners that are told how a training goes."""

from typing import Protocol

from fedshelf.server.results.run_directory import Record
from fedshelf.server.results.run_status import RunActivity


class RunObserver(Protocol):
    """Listeners that are told how a training goes."""

    def row(self, record: Record) -> None:
        """A round is done."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def doing(self, doing: RunActivity) -> None:
        """The run does something else from now on."""

    def training(self, round: int, done: int, sampled: int) -> None:
        """Within a round: `done` of `sampled` stores have answered."""
