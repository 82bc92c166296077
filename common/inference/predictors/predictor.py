"""Predictions, and the one method behind which PyTorch and ONNX Runtime stand."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.predictors.description import ModelDescription

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
"""Decoded photos: uint8 [N, H, W, C], upright, transparent parts white."""


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for N photos.

    Attributes:
        probabilities: float32 [N, C], calibrated: of photos with a largest probability of 0.8, four
            of five are predicted rightly
        embeddings: float32 [N, D], the input of the model's last layer; photos that look alike to
            the model have similar ones
        familiarity: float32 [N], by how much a photo's energy, log sum exp of its scores, is above
            the model's threshold, or its likeness to an index of photos above that of the index;
            below 0 the photo is like nothing that the model knows; nan: there is no threshold
    """

    probabilities: Floats
    embeddings: Floats
    familiarity: Floats

    def __len__(self) -> int:
        """Return N."""
        return len(self.probabilities)


class Predictor(Protocol):
    """A finished model that is ready for use. Its method may be called from several threads."""

    @property
    def description(self) -> ModelDescription:
        """The model: classes, image size, calibration."""

    @property
    def pixel_format(self) -> PixelFormat:
        """The form to which photos are best decoded for it."""

    def predict(self, pixels: Pixels) -> Predictions:
        """Predict the classes of photos.

        A photo's predictions do not depend on the other photos.

        Args:
            pixels: uint8 [N, H, W, C], the channels as `pixel_format` has them; another size than
                its is resized as training resizes, on whole numbers with antialiasing
        """


def interpret(logits: Floats, embeddings: Floats, description: ModelDescription) -> Predictions:
    """Return the predictions that a model's scores mean.

    Args:
        logits: float32 [N, C], raw scores
        embeddings: float32 [N, D]
        description: has temperature and threshold
    """
    largest = logits.max(axis=1, keepdims=True, initial=-np.inf)
    energies = largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))
    scaled = np.exp((logits - largest) / np.float32(description.temperature))
    threshold = description.energy_threshold
    return Predictions(
        probabilities=scaled / scaled.sum(axis=1, keepdims=True),
        embeddings=embeddings,
        familiarity=energies - np.float32(np.nan if threshold is None else threshold),
    )


def empty_predictions(description: ModelDescription) -> Predictions:
    """Return the predictions for no photos."""
    scores = np.empty((0, len(description.classes)), np.float32)
    return interpret(scores, np.empty((0, 0), np.float32), description)
