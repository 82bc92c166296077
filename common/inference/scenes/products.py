"""The products of a scene: located boxes, each with the classifier's guesses and a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedshelf.common.images.decoding.decode import squeeze
from fedshelf.common.inference.predictors.photos import BATCH_SIZE
from fedshelf.common.inference.predictors.predictor import Floats, Predictor
from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW, Verdict, verdicts
from fedshelf.common.scenes.boxes import Boxes

_GUESSES = 3  # classes told for each product


@dataclass(frozen=True)
class Naming:
    """The names of the K boxes of a scene: a classifier's answers, or those of the locator.

    Attributes:
        probabilities: float32 [K, C], calibrated; of a locator, the score of a box at its class
        verdicts: on each crop
        names: of the C classes, for people
    """

    probabilities: Floats
    verdicts: Sequence[Verdict]
    names: Sequence[str]


@dataclass(frozen=True)
class LocatedProduct:
    """One product of a scene.

    Attributes:
        box: left, top, right and bottom edge in pixels of the upright photo
        score: 0 to 1, how sure the locator is that a product is there
        verdict: on its name: sure, unsure or unknown; None: nothing named it
        guesses: (class, probability), the most probable first
    """

    box: tuple[float, float, float, float]
    score: float
    verdict: Verdict | None
    guesses: tuple[tuple[str, float], ...]

    @property
    def name(self) -> str | None:
        """The most probable class, of whatever verdict."""
        return self.guesses[0][0] if self.guesses else None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "box": [round(edge, 2) for edge in self.box],
            "score": round(self.score, 4),
            "verdict": self.verdict,
            "guesses": [
                {"class": name, "probability": round(probability, 4)}
                for name, probability in self.guesses
            ],
        }


def name_boxes(
    classifier: Predictor, photo: Image.Image, boxes: Boxes, unsure_below: float = UNSURE_BELOW
) -> Naming:
    """Return a classifier's answers for what lies in boxes.

    Each crop is squeezed to the classifier's square as a photo of one product is.

    Args:
        classifier: names products
        photo: RGB, upright
        boxes: in its pixels
        unsure_below: probability below which a crop is unsure
    """
    probabilities: list[Floats] = []
    told: list[Verdict] = []
    for start in range(0, len(boxes), BATCH_SIZE):
        corners = boxes.corners[start : start + BATCH_SIZE]
        pixels = np.stack(
            [squeeze(photo.crop(_crop(box, photo)), classifier.pixel_format) for box in corners]
        )
        predictions = classifier.predict(pixels)
        probabilities.append(predictions.probabilities)
        told += verdicts(predictions, pixels, unsure_below)
    names = classifier.description.class_names
    empty = np.empty((0, len(names)), np.float32)
    return Naming(np.concatenate([empty, *probabilities]), told, names)


def own_naming(boxes: Boxes, names: Sequence[str]) -> Naming:
    """Return the answers of a locator that tells classes of boxes: it is sure of all that counts.

    Args:
        boxes: of the locator, K
        names: of its C classes, for people
    """
    labels = boxes.classes.clip(0)  # a locator with a single class does not tell it
    probabilities = np.zeros((len(boxes), len(names)), np.float32)
    probabilities[np.arange(len(boxes)), labels] = boxes.scores
    return Naming(probabilities, ["sure"] * len(boxes), names)


def located_products(boxes: Boxes, naming: Naming | None) -> list[LocatedProduct]:
    """Return boxes with the answers for them; None: nobody named them."""
    found = []
    for row, (corners, score) in enumerate(zip(boxes.corners, boxes.scores, strict=True)):
        left, top, right, bottom = corners.tolist()
        found.append(
            LocatedProduct(
                box=(left, top, right, bottom),
                score=float(score),
                verdict=None if naming is None else naming.verdicts[row],
                guesses=() if naming is None else _guesses(naming, row),
            )
        )
    return found


def _guesses(naming: Naming, row: int) -> tuple[tuple[str, float], ...]:
    probabilities = naming.probabilities[row]
    order = (-probabilities).argsort(kind="stable")[:_GUESSES]
    return tuple(
        (naming.names[index], float(probabilities[index]))
        for index in order
        if probabilities[index] > 0
    )


def _crop(box: NDArray[np.float32], photo: Image.Image) -> tuple[int, int, int, int]:
    """Return the whole pixels of a box, at least one, within the photo."""
    left, top = (int(edge) for edge in np.floor(box[:2]).clip(0))
    left, top = min(left, photo.width - 1), min(top, photo.height - 1)
    right, bottom = (int(edge) for edge in np.ceil(box[2:]))
    return (
        left,
        top,
        max(left + 1, min(right, photo.width)),
        max(top + 1, min(bottom, photo.height)),
    )
