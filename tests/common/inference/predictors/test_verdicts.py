"""Verdicts by hand."""

import numpy as np

from fedshelf.common.inference.predictors.predictor import Predictions
from fedshelf.common.inference.predictors.verdicts import shows_nothing, verdicts


def gradients(count: int) -> np.ndarray:
    """Photos with light and dark sides."""
    row = np.linspace(0, 255, 32).astype(np.uint8)
    return np.broadcast_to(row[None, None, :, None], (count, 32, 32, 3)).copy()


def test_each_verdict_has_its_reason() -> None:
    probabilities = np.array([[0.9, 0.1], [0.55, 0.45], [0.9, 0.1], [0.9, 0.1]], np.float32)
    familiarity = np.array([1, 1, -0.1, np.nan], np.float32)
    predictions = Predictions(probabilities, np.zeros((4, 1), np.float32), familiarity)
    assert verdicts(predictions, gradients(4)) == ["sure", "unsure", "unknown", "sure"]
    assert verdicts(predictions, gradients(4), unsure_below=0.5)[1] == "sure"


def test_one_colour_and_noise_show_nothing() -> None:
    flat = np.full((32, 32, 3), 200, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    nearly_flat = flat + (np.arange(32) % 2)[:, None, None].astype(np.uint8)
    stripes = gradients(1)[0]
    told = shows_nothing(np.stack([flat, noise, nearly_flat, stripes]))
    assert told.tolist() == [True, True, True, False]
