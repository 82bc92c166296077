"""Masks by ONNX Runtime, from a file that `flower-client export-onnx` wrote; no PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.onnx_predictor import (
    IMAGES,
    check_form,
    open_session,
    read_onnx,
)
from fedshelf.common.inference.predictors.predictor import Floats, Pixels

MASKS = "masks"
"""The graph's output, float32 [N, classes, S, S]: probabilities, class 0 is no product."""


class OnnxMaskPredictor:
    """A mask network in an ONNX file, on the CPU.

    Args:
        session: of ONNX Runtime, with the graph
        description: of its model
    """

    def __init__(self, session: Any, description: ModelDescription) -> None:
        self._session = session  # may be called from several threads
        self._description = description

    @property
    def description(self) -> ModelDescription:
        """The model: image size, normalisation, provenance."""
        return self._description

    @property
    def pixel_format(self) -> PixelFormat:
        """The form to which training decoded photos."""
        return self._description.pixel_format

    def masks(self, pixels: Pixels) -> Floats:
        """Return the probabilities of classes for pixels; see `MaskPredictor.masks`."""
        return np.concatenate(
            [
                self._session.run([MASKS], {IMAGES: np.ascontiguousarray(photo[None])})[0]
                for photo in pixels
            ]
        )


def open_onnx_masks(file: Path) -> OnnxMaskPredictor:
    """Return the mask network in an ONNX file, ready for use.

    Raises:
        DataError: it cannot be used, or is no mask network; see `read_onnx`.
        ConfigError: ONNX Runtime is not installed, or the keys of releases cannot be read.
    """
    session, description = open_session(read_onnx(file), file, "masks")
    check_form(session.get_outputs(), {MASKS: ("tensor(float)", None)}, file)
    return OnnxMaskPredictor(session, description)
