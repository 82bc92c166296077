"""Verdicts on photos: sure, unsure between classes, or like nothing that the model knows."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.inference.predictors.predictor import Pixels, Predictions

Verdict = Literal["sure", "unsure", "unknown"]

UNSURE_BELOW = 0.6
"""Largest probability below which a photo is between classes, if nothing else is asked for."""

# A photo has light and dark parts, and each pixel is much like its neighbours. Of 3,781 clothing
# photos at 64 px the least deviation is 9 levels and the least correlation of neighbours 0.68;
# noise has 0.
_LEAST_DEVIATION = 2.0  # levels of 0 to 255
_LEAST_CORRELATION = 0.3


def verdicts(
    predictions: Predictions, pixels: Pixels, unsure_below: float = UNSURE_BELOW
) -> list[Verdict]:
    """Return the verdict on each of N photos.

    A photo is unknown if its familiarity is below 0 or if it shows nothing at all, else unsure if
    its largest probability is below `unsure_below`, else sure.

    Args:
        predictions: for the photos
        pixels: the photos, uint8 [N, H, W, C]
        unsure_below: 0 to 1
    """
    is_unknown = (predictions.familiarity < 0) | shows_nothing(pixels)
    is_unsure = predictions.probabilities.max(axis=1, initial=0) < unsure_below
    return [
        "unknown" if unknown else "unsure" if unsure else "sure"
        for unknown, unsure in zip(is_unknown, is_unsure, strict=True)
    ]


def shows_nothing(pixels: Pixels) -> NDArray[np.bool_]:
    """Return whether photos are of one colour, or noise: bool [N].

    No model is needed to see that, and many a model is sure of its answer for them.

    Args:
        pixels: uint8 [N, H, W, C]
    """
    return np.array([_is_blank_or_noise(photo) for photo in pixels], dtype=np.bool_)


def _is_blank_or_noise(photo: NDArray[np.uint8]) -> bool:
    height, width, channels = photo.shape
    # products of vectors: sums along axes took eight times as long, half as long as the model
    shares = np.full(channels, 1 / channels, np.float32)
    grey = (photo.reshape(-1, channels).astype(np.float32) @ shares).reshape(height, width)
    grey -= grey.mean()
    variance = float(np.vdot(grey, grey)) / grey.size
    if variance < _LEAST_DEVIATION**2:
        return True
    down = float(np.vdot(grey[1:], grey[:-1])) / max(1, (height - 1) * width)
    if down >= _LEAST_CORRELATION * variance:
        return False
    along = float(np.vdot(grey[:, 1:], grey[:, :-1])) / max(1, height * (width - 1))
    return bool(along < _LEAST_CORRELATION * variance)
