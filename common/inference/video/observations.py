"""A model's view of each sampled frame of a video."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.images.decoding.decode import squeeze
from fedshelf.common.inference.predictors.predictor import Floats, Predictor
from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW, Verdict, verdicts
from fedshelf.common.inference.video.frames import Frame
from fedshelf.common.inference.video.zone import Zone

FILE_BATCH = 8  # frames of a file that one pass takes; those of a camera are taken one by one


@dataclass(frozen=True)
class Observation:
    """The predictions for a frame.

    Attributes:
        seconds: time of the frame
        probabilities: float32 [C], calibrated
        verdict: sure, unsure or unknown
    """

    seconds: float
    probabilities: Floats
    verdict: Verdict

    @property
    def outcome(self) -> int | Verdict:
        """The most probable class's index if that is sure, else the verdict."""
        return int(self.probabilities.argmax()) if self.verdict == "sure" else self.verdict


def observe(
    predictor: Predictor,
    frames: Iterable[Frame],
    zone: Zone | None = None,
    unsure_below: float = UNSURE_BELOW,
    batch: int = FILE_BATCH,
) -> Iterator[Observation]:
    """Yield the predictions for frames, each squeezed to the model's square as photos are.

    If `frames` raises, the frames before are still predicted.

    Args:
        predictor: the model
        frames: in their order
        zone: the part that is looked at; None: the whole frame
        unsure_below: probability below which a frame is unsure
        batch: frames for one pass

    Raises:
        ConfigError: the zone does not lie in the frames
        Exception: that of `frames`
    """
    waiting: list[tuple[float, NDArray[np.uint8]]] = []
    try:
        for frame in frames:
            image = frame.image if zone is None else zone.crop(frame.image)
            waiting.append((frame.seconds, squeeze(image, predictor.pixel_format)))
            if len(waiting) == batch:
                yield from _predicted(predictor, waiting, unsure_below)
                waiting = []
    except Exception:
        yield from _predicted(predictor, waiting, unsure_below)
        raise
    yield from _predicted(predictor, waiting, unsure_below)


def _predicted(
    predictor: Predictor, waiting: Sequence[tuple[float, NDArray[np.uint8]]], unsure_below: float
) -> Iterator[Observation]:
    if not waiting:
        return
    pixels = np.stack([square for _, square in waiting])
    predictions = predictor.predict(pixels)
    found = verdicts(predictions, pixels, unsure_below)
    for (seconds, _), probabilities, verdict in zip(
        waiting, predictions.probabilities, found, strict=True
    ):
        yield Observation(seconds, probabilities, verdict)
