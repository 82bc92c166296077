"""Masks of products, and the one method behind which PyTorch and ONNX Runtime stand."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedshelf.common.images.decoding.decode import PixelFormat, squeeze
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Floats, Pixels

LEAST_PROBABILITY = 0.5
"""Probability from which on a pixel is of a product."""


class MaskPredictor(Protocol):
    """A finished mask network. Its method may be called from several threads."""

    @property
    def description(self) -> ModelDescription:
        """The model: image size, normalisation, provenance."""

    @property
    def pixel_format(self) -> PixelFormat:
        """The form to which photos are best decoded for it."""

    def masks(self, pixels: Pixels) -> Floats:
        """Return the probability of each class for each pixel of squeezed photos.

        A photo's mask does not depend on the other photos.

        Args:
            pixels: uint8 [N, H, W, C], the channels as `pixel_format` has them; another size than
                its is resized as training resizes

        Returns:
            float32 [N, classes, S, S] at the model's own size; class 0 is no product
        """


def product_pixels(predictor: MaskPredictor, photo: Image.Image) -> NDArray[np.bool_]:
    """Return which pixels of a photo are of products: bool [height, width].

    The network sees the photo squeezed to its square. Its probabilities are stretched to the
    photo's size (bilinear), so the edge of a product is no staircase.

    Args:
        predictor: the mask network
        photo: RGB, upright
    """
    [classes] = predictor.masks(squeeze(photo, predictor.pixel_format)[None])
    probabilities = Image.fromarray(np.ascontiguousarray(1 - classes[0], np.float32))
    stretched = probabilities.resize(photo.size, Image.Resampling.BILINEAR)
    return np.asarray(stretched) >= LEAST_PROBABILITY
