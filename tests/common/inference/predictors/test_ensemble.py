"""Votes of several models, checked by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from fedshelf.common.inference.predictors.ensemble import Ensemble
from fedshelf.common.inference.predictors.predictor import Pixels, Predictions
from tests.helpers.colour_predictor import ColourPredictor

PHOTO = np.zeros((1, 16, 16, 3), np.uint8)


class SurePredictor(ColourPredictor):
    """Gives every photo the same probabilities."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self._probabilities = np.array(probabilities, np.float32)

    def predict(self, pixels: Pixels) -> Predictions:
        found = super().predict(pixels)
        alike = np.tile(self._probabilities, (len(pixels), 1))
        return Predictions(alike, found.embeddings, found.familiarity)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        # one model twice says the same as alone
        ([(0.7, 0.2, 0.1), (0.7, 0.2, 0.1)], [0.7, 0.2, 0.1]),
        # two votes win over one, however sure: the mean (0.36, 0.34, 0.3) with its first exchanged
        ([(0.0, 0.51, 0.49), (0.1, 0.5, 0.4), (0.98, 0.01, 0.01)], [0.34, 0.36, 0.3]),
        # a tie goes to the mean, and two that disagree leave a doubt
        ([(0.9, 0.1, 0.0), (0.2, 0.8, 0.0)], [0.55, 0.45, 0.0]),
    ],
)
def test_a_vote_has_the_probabilities_of_the_mean(
    members: Sequence[Sequence[float]], expected: Sequence[float]
) -> None:
    ensemble = Ensemble([SurePredictor(*each) for each in members], "vote")
    np.testing.assert_allclose(ensemble.predict(PHOTO).probabilities, [expected], atol=1e-6)
