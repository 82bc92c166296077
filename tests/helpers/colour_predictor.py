"""A model that can be checked by hand: it sees the mean colour of a photo, and nothing else."""

from dataclasses import replace

import numpy as np

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Pixels, Predictions, interpret
from tests.helpers.saved_models import spec_of

CLASSES = ("red", "green", "blue")


class ColourPredictor:
    """Scores are the mean of each channel, 0 to 1, times `gain`; so are the embeddings."""

    def __init__(self, sha256: str = "ab" * 32, size: int = 16, gain: float = 8.0) -> None:
        self._description = replace(
            ModelDescription(spec_of(classes=CLASSES, size=size), CLASSES), sha256=sha256
        )
        self._gain = np.float32(gain)
        self.photos_seen = 0

    @property
    def description(self) -> ModelDescription:
        return self._description

    @property
    def pixel_format(self) -> PixelFormat:
        return self._description.pixel_format

    def predict(self, pixels: Pixels) -> Predictions:
        self.photos_seen += len(pixels)
        scores = pixels.astype(np.float32).mean(axis=(1, 2)) / 255 * self._gain
        return interpret(scores, scores, self._description)
