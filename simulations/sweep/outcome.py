"""The results of a sweep: validation figures of all points, and the choice among them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fedshelf.common.errors import DataError
from fedshelf.common.metrics.formulas.metric import Better
from fedshelf.server.figure_names import listed_figures
from fedshelf.server.results.jsonl_tail import read_json
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.simulations.sweep.execution import SweptRun


@dataclass(frozen=True)
class RunResult:
    """A finished run's validation figures.

    Attributes:
        score: the sweep's metric on validation images, of the round that the run delivers
        curve: the same of each evaluated round: (round, value)
        further: figures of further metrics of the delivered round, on validation images; of scenes
            AP50 and the error of counts
        rounds: rounds done
        seconds: of all its rounds
    """

    score: float
    curve: Sequence[tuple[int, float]]
    further: Mapping[str, float | None]
    rounds: int
    seconds: float


@dataclass
class PointResult:
    """The results of one point, as far as its runs have ended.

    Attributes:
        label: the point in words
        runs: seed -> the result of its run
        failed: seed -> the sentence of its run's error
    """

    label: str
    runs: dict[int, RunResult] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """The mean score over the seeds; None if a run failed or none has ended."""
        scores = [run.score for run in self.runs.values()]
        return fmean(scores) if scores and not self.failed else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the seeds; None for fewer than two."""
        return deviation([run.score for run in self.runs.values()])

    @property
    def rounds(self) -> int:
        """The most rounds that a run of the point has done."""
        return max((run.rounds for run in self.runs.values()), default=0)

    @property
    def curve(self) -> list[tuple[int, float]]:
        """The mean over the seeds of each round that all of them have evaluated."""
        curves = [dict(run.curve) for run in self.runs.values()]
        shared = set.intersection(*map(set, curves)) if curves else set()
        return [(number, fmean(curve[number] for curve in curves)) for number in sorted(shared)]

    def further_mean(self, figure: str) -> float | None:
        """Return the mean over the seeds of a further metric's figure; None if one is not known."""
        values = [run.further.get(figure) for run in self.runs.values()]
        known = [value for value in values if value is not None]
        return fmean(known) if known and len(known) == len(values) else None

    def to_json(self) -> dict[str, Any]:
        """Return the point as JSON values."""
        return {
            "label": self.label,
            "mean": self.mean,
            "deviation": self.deviation,
            "runs": {str(seed): asdict(run) for seed, run in self.runs.items()},
            "failed": {str(seed): error for seed, error in self.failed.items()},
        }


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation of a sample; None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def read_result(run: SweptRun, metric: str) -> RunResult:
    """Read the validation figures of a run that has finished.

    Raises:
        DataError: it has none, so that there is nothing to choose on.
    """
    summary = read_json(run.directory / "summary.json")
    history = RunDirectory(run.directory).history()
    curve = [
        (record["round"], record["validation"][metric])
        for record in history
        if record["validation"] and record["validation"].get(metric) is not None
    ]
    if not curve and any(record["validation"] for record in history):
        raise DataError(
            f"The runs have no {metric} on validation images: a store withholds it, or it is not"
            " defined there; choose by another evaluation.metric."
        )
    if not curve:
        raise DataError(
            "The runs have no validation images, and test images must not choose among settings;"
            " hold some out, for example --set data.holdout=0.1."
        )
    delivered = int(summary["delivered_round"])
    # the delivered round is an evaluated one, but for `run.deliver=last` with rare evaluations
    number, score = next(point for point in reversed(curve) if point[0] <= delivered)
    evaluated = next(each["validation"] for each in reversed(history) if each["round"] == number)
    further = {name: value for name, value in listed_figures(evaluated).items() if name != metric}
    return RunResult(score, curve, further, summary["rounds"], summary["seconds"]["total"])


def rank(results: Sequence[PointResult], better: Better, among: Sequence[int]) -> list[int]:
    """Return the positions of points that have a mean, the best first; ties in their order.

    Args:
        results: of all points
        better: whether a higher or a lower score is better
        among: positions of the points to rank
    """
    sign = 1 if better == "lower" else -1
    known = [position for position in among if results[position].mean is not None]
    return sorted(known, key=lambda position: (sign * (results[position].mean or 0.0), position))


def read_tests(directories: Mapping[int, Path], metric: str) -> dict[int, float]:
    """Return seed -> the metric on test images of a point's runs; {} if there are none.

    It is called for the chosen point alone: test images that choose are no test.
    """
    found = {}
    for seed, directory in directories.items():
        test = read_json(directory / "summary.json").get("test")
        if test and test.get(metric) is not None:
            found[seed] = float(test[metric])
    return found
