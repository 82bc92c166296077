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
    found = [(record["round"], record["validation"] or record["test"]) for record in history]
    return tuple(
        Evaluated(number, told["accuracy"], told["images"]) for number, told in found if told
    )


def together(curves: Sequence[Curve]) -> list[tuple[int, float]]:
    """Merge models' curves: for each round after which all were evaluated, (round, share right of
    all their images).
    """
    rounds: dict[int, list[Evaluated]] = defaultdict(list)
    for curve in curves:
        for point in curve:
            rounds[point.round].append(point)
    return [
        (
            number,
            sum(point.accuracy * point.images for point in points)
            / sum(point.images for point in points),
        )
        for number, points in sorted(rounds.items())
        if len(points) == len(curves)
    ]


def rise(curve: Sequence[tuple[int, float]]) -> float | None:
    """Return by how many points the accuracy rose over the last third of the rounds.

    It is the rise of the least-squares line through the evaluations there (LEAST_EVALUATIONS at
    least); None if there are fewer.
    """
    first = curve[-1][0] * 2 / 3 if curve else 0.0
    late = [point for point in curve if point[0] >= first]
    if len(late) < LEAST_EVALUATIONS:
        late = list(curve[-LEAST_EVALUATIONS:])
    if len(late) < LEAST_EVALUATIONS:
        return None
    middle = fmean(number for number, _ in late)
    mean = fmean(accuracy for _, accuracy in late)
    products = sum((number - middle) * (accuracy - mean) for number, accuracy in late)
    slope = products / sum((number - middle) ** 2 for number, _ in late)
    return 100 * slope * (late[-1][0] - late[0][0])


def still_rises(points: float | None) -> bool:
    """Return whether a rise of `points` counts as one; None does not."""
    return points is not None and points >= LEAST_RISE
