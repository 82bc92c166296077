"""Learning curves of models, and whether the federated model's accuracy was still rising at the
end.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from fedshelf.server.results.run_directory import Record

LEAST_EVALUATIONS = 3  # in the last third of the rounds, needed to detect a rise
LEAST_RISE = 1.0  # points over the last third of the rounds, from which it counts as a rise


@dataclass(frozen=True)
class Evaluated:
    """The accuracy of a model after a round, and the number of images."""

    round: int
    accuracy: float
    images: int


Curve = Sequence[Evaluated]


def curve_of(history: Iterable[Record]) -> Curve:
    """Return a run's rounds from its history, without rounds that were not evaluated.

    The images are the stores' validation images, else the server's test images.
    """
    evaluations = [(record["round"], record["validation"] or record["test"]) for record in history]
    return tuple(
        Evaluated(round_number, counts["accuracy"], counts["images"])
        for round_number, counts in evaluations
        if counts
    )


def merge_curves(curves: Sequence[Curve]) -> list[tuple[int, float]]:
    """Merge models' curves: for each round after which all were evaluated, (round, share right of
    all their images).
    """
    points_of_round: dict[int, list[Evaluated]] = defaultdict(list)
    for curve in curves:
        for point in curve:
            points_of_round[point.round].append(point)
    return [
        (
            round_number,
            sum(point.accuracy * point.images for point in points)
            / sum(point.images for point in points),
        )
        for round_number, points in sorted(points_of_round.items())
        if len(points) == len(curves)
    ]


def rise(curve: Sequence[tuple[int, float]]) -> float | None:
    """Return by how many points the accuracy rose over the last third of the rounds.

    It is the rise of the least-squares line through the evaluations there (LEAST_EVALUATIONS at
    least); None if there are fewer.
    """
    first_round = curve[-1][0] * 2 / 3 if curve else 0.0
    late_points = [point for point in curve if point[0] >= first_round]
    if len(late_points) < LEAST_EVALUATIONS:
        late_points = list(curve[-LEAST_EVALUATIONS:])
    if len(late_points) < LEAST_EVALUATIONS:
        return None
    mean_round = fmean(round_number for round_number, _ in late_points)
    mean_accuracy = fmean(accuracy for _, accuracy in late_points)
    products = sum(
        (round_number - mean_round) * (accuracy - mean_accuracy)
        for round_number, accuracy in late_points
    )
    slope = products / sum((round_number - mean_round) ** 2 for round_number, _ in late_points)
    return 100 * slope * (late_points[-1][0] - late_points[0][0])


def still_rises(points: float | None) -> bool:
    """Return whether a rise of `points` counts as one; None does not."""
    return points is not None and points >= LEAST_RISE
