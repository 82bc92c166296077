"""Boxes of products, and the one method behind which PyTorch and ONNX Runtime stand."""

from typing import Protocol

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Floats, Pixels
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.centre_map import boxes_of_map

STRIDE = 4
"""Pixels of a locator's photo for one cell of its map, in each direction."""

LEAST_SCORE = 0.1
"""Score below which boxes are not even told; how sure a box must be to count is the user's word."""


class BoxPredictor(Protocol):
    """A finished locator that is ready for use. Its method may be called from several threads."""

    @property
    def description(self) -> ModelDescription:
        """The model: image size, normalisation, provenance."""

    @property
    def pixel_format(self) -> PixelFormat:
        """The form to which photos are best decoded for it."""

    def locate(self, pixels: Pixels) -> list[Boxes]:
        """Find the products on photos.

        A photo's boxes do not depend on the other photos.

        Args:
            pixels: uint8 [N, H, W, C], the channels as `pixel_format` has them; another size than
                its is resized as training resizes

        Returns:
            the boxes on each photo in its own pixels, the surest first
        """


def read_maps(maps: Floats, height: int, width: int) -> list[Boxes]:
    """Return the boxes that a locator's maps tell.

    Args:
        maps: float32 [N, C + 4, h, w]
        height: of the photos in pixels
        width: of the photos in pixels
    """
    side = STRIDE * maps.shape[2]
    found = []
    for one in maps:
        boxes = boxes_of_map(one, STRIDE, least_score=LEAST_SCORE)
        found.append(boxes.scaled(width / side, height / side))
    return found
