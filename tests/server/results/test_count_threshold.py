"""The threshold for counting comes from validation photos, and its errors from test photos."""

import numpy as np

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.count_error import CountError
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.server.results.count_threshold import counting


def counts_of(scores: list[float], products: int) -> Counts:
    """Return the counts of a photo with boxes of these scores."""

    def boxes(values: list[float]) -> Boxes:
        corners = np.tile(np.array([0, 0, 5, 5], np.float32), (len(values), 1))
        return Boxes(corners, np.full(len(values), -1), np.array(values, np.float32))

    sums = CountError().sums([boxes(scores)], [boxes([1.0] * products)])
    nothing = np.zeros((1, 1), np.int64)
    return Counts(nothing, 1.0, undisclosed_wrong=1, metrics={"count": sums})


def test_validation_chooses_and_test_photos_tell_the_error() -> None:
    validation = counts_of([0.9, 0.8, 0.59, 0.51], products=2)  # best from 0.6 to 0.8
    told = counting(validation, "server", counts_of([0.95, 0.75, 0.65, 0.2], products=5))
    assert told == {
        "threshold": 0.7,
        "chosen_on": "validation",
        "on": "server",
        "count_error": 3,
        "count_share": 0.6,
        "count_bias": -3,
    }


def test_without_validation_photos_the_usual_one_is_taken_and_said() -> None:
    told = counting(None, "stores", counts_of([0.95, 0.2], products=1))
    assert told is not None
    assert (told["threshold"], told["chosen_on"], told["count_error"]) == (0.3, None, 0)


def test_a_classifier_counts_nothing() -> None:
    assert counting(None, "server", Counts.zero(2)) is None
