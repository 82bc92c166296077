"""The interface of a tracker of experiments, and the curves that all of them get."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedshelf.server.figure_names import main_figure
from fedshelf.server.report.tensorboard import scalars

REQUEST_TIMEOUT_SECONDS = 10  # for one answer of a tracker's server

Curves = Mapping[str, float]


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker knows it.

    Attributes:
        name: for people, that of the run directory
        run_id: the run's identity, kept through every resume
        tracker_id: the identity that the tracker gave the run when it began; None: a new run
        settings: flat settings
        directory: run directory
    """

    name: str
    run_id: str
    tracker_id: str | None
    settings: Mapping[str, Any]
    directory: Path


class ExperimentTracker(ABC):
    """A run in a tracker. Its methods raise whatever the tracker's library raises.

    A file of this folder has one; it imports its library when a run begins.

    Attributes:
        title: name of the tracker in sentences
        tracker_id: the identity by which a resumed run goes on
        place: where the run is logged, as the object of "logs to"
    """

    title: str
    tracker_id: str
    place: str

    @staticmethod
    def check() -> None:
        """Check that the tracker can be used here; raise ConfigError if not."""
        return

    @classmethod
    @abstractmethod
    def begin(cls, run: TrackedRun) -> "ExperimentTracker":
        """Begin a run with its settings, or go on with it."""

    @abstractmethod
    def log(self, step: int, curves: Curves) -> None:
        """Log the figures of a round.

        Args:
            step: the round
        """

    @abstractmethod
    def keep(self, files: Sequence[Path], outcome: Curves) -> None:
        """Keep files and the figures of the delivered model."""

    @abstractmethod
    def end(self, status: str) -> None:
        """End the run, as `finished`, `stopped` or `failed`."""


def curves(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the curves of a history record: those of TensorBoard, and those of each store.

    A store's are named by what was done: "train/stores/NAME/loss" in its training,
    "validation/stores/NAME/accuracy" on the images that it holds out.
    """
    groups = (
        ("train", record["stores"]),
        ("validation", (record.get("validation") or {}).get("stores") or {}),
    )
    of_stores = {
        f"{group}/stores/{store}/{name}": value
        for group, stores in groups
        for store, figures in stores.items()
        for name, value in _numbers(figures)
    }
    return dict(scalars(record)) | of_stores


def outcome(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of the delivered model, such as "delivered/test/accuracy"."""
    return {
        f"delivered/test/{name}": value
        for name, value in _numbers(summary.get("test") or {})
        if name != "images"
    }


def _numbers(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    is_of_scenes = main_figure(figures) != "accuracy"
    for name, value in figures.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and not (is_of_scenes and name == "accuracy"):
            yield name, value
