"""Boxes by ONNX Runtime, from a locator that `flower-client export-onnx` wrote; no PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.locators.box_predictor import read_maps
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.onnx_predictor import (
    IMAGES,
    check_form,
    open_session,
    read_onnx,
)
from fedshelf.common.inference.predictors.predictor import Floats, Pixels
from fedshelf.common.scenes.boxes import Boxes

MAPS = "maps"
"""The graph's output, float32 [N, C + 4, h, w] (see `common.scenes.centre_map`)."""


class OnnxBoxPredictor:
    """A locator in an ONNX file, on the CPU.

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

    def locate(self, pixels: Pixels) -> list[Boxes]:
        """Find the products on photos; see `BoxPredictor.locate`."""
        return [
            boxes
            for photo in pixels
            for boxes in read_maps(self.maps(photo[None]), *photo.shape[:2])
        ]

    def maps(self, pixels: Pixels) -> Floats:
        """Return the maps of photos, float32 [N, C + 4, h, w] (see `common.scenes.centre_map`)."""
        [maps] = self._session.run([MAPS], {IMAGES: np.ascontiguousarray(pixels)})
        found: Floats = maps
        return found


def open_onnx_locator(file: Path) -> OnnxBoxPredictor:
    """Return the locator in an ONNX file, ready for use.

    Raises:
        DataError: it cannot be used, or is no locator; see `read_onnx`.
        ConfigError: ONNX Runtime is not installed, or the keys of releases cannot be read.
    """
    return open_onnx_locator_content(read_onnx(file), file)


def open_onnx_locator_content(content: bytes, file: Path) -> OnnxBoxPredictor:
    """Return the locator in the content of an ONNX file, ready for use.

    Args:
        content: see `read_onnx`
        file: where it lies

    Raises:
        DataError: it is none of ours, or no locator.
        ConfigError: ONNX Runtime is not installed.
    """
    session, description = open_session(content, file, "boxes")
    check_form(session.get_outputs(), {MAPS: ("tensor(float)", None)}, file)
    return OnnxBoxPredictor(session, description)
