"""Learning curves of models, and whether the federated model still improved at the end."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from fedshelf.server.results.run_directory import Record

LEAST_EVALUATIONS = 3  # in the last third of the rounds, needed to detect a rise
LEAST_RISE = 1.0  # points over the last third of the rounds, from which it counts as a rise


@dataclass(frozen=True)
class Evaluated:
    """The accuracy of a model after a round.

    Attributes:
        round_number: the round, from 1
        accuracy: share of the images that are right (0..1)
        images: number of images
    """

    round_number: int
    accuracy: float
    images: int


Curve = Sequence[Evaluated]


def curve_of(history: Iterable[Record]) -> Curve:
    """Return the evaluated rounds of a run, from its history.

    The images are the stores' validation images, else the server's test images.

    Args:
        history: the lines of `history.jsonl`
    """
    evaluations = [(record["round"], record["validation"] or record["test"]) for record in history]
    return tuple(
        Evaluated(round_number, counts["accuracy"], counts["images"])
        for round_number, counts in evaluations
        if counts
    )


def merge_curves(curves: Sequence[Curve]) -> list[tuple[int, float]]:
    """Merge the curves of several models into one.

    Args:
        curves: of each model, its evaluated rounds

    Returns:
        (round, share right of all models' images) for each round after which all models were
        evaluated.
    """
    points_of_round: dict[int, list[Evaluated]] = defaultdict(list)
    for curve in curves:
        for point in curve:
            points_of_round[point.round_number].append(point)
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

    It is the rise of the least-squares line through the evaluations there, at least
    LEAST_EVALUATIONS.

    Args:
        curve: (round, accuracy from 0 to 1), in the order of the rounds

    Returns:
        Percentage points; None if there are too few evaluations.
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
