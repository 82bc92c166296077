"""Boxes by PyTorch, from a locator's `model.safetensors`."""

import numpy as np
import torch

from fedshelf.common.images.augment import normalise
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.locators.box_predictor import read_maps
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Floats, Pixels
from fedshelf.common.inference.predictors.torch_predictor import resized
from fedshelf.common.models.head import set_training
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.training.fit import Network


class TorchBoxPredictor:
    """A locator with its description.

    Args:
        network: with its final weights; it is not trained afterwards
        description: of its model
    """

    def __init__(self, network: Network, description: ModelDescription) -> None:
        self._network = network
        self._description = description
        set_training(network.module, mode=False)

    @property
    def description(self) -> ModelDescription:
        """The model: image size, normalisation, provenance."""
        return self._description

    @property
    def pixel_format(self) -> PixelFormat:
        """The form to which training decoded photos."""
        return self._description.pixel_format

    @property
    def network(self) -> Network:
        """The network, in the mode of evaluation."""
        return self._network

    def locate(self, pixels: Pixels) -> list[Boxes]:
        """Find the products on photos; see `BoxPredictor.locate`."""
        return [
            boxes
            for photo in pixels
            for boxes in read_maps(self.maps(photo[None]), *photo.shape[:2])
        ]

    def maps(self, pixels: Pixels) -> Floats:
        """Return the maps of photos, float32 [N, C + 4, h, w] (see `common.scenes.centre_map`)."""
        spec = self._network.spec
        photos = torch.from_numpy(np.array(pixels)).to(self._network.device)
        with torch.inference_mode():
            inputs = normalise(resized(photos, spec.image_size), spec.mean, spec.std)
            maps: Floats = self._network.module(inputs).float().cpu().numpy()
        return maps
