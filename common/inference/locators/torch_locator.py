"""Boxes by PyTorch, from a locator's `model.safetensors`."""

import numpy as np
import torch

from fedshelf.common.images.augment import normalise
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.locators.box_predictor import LEAST_SCORE, read_maps
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Floats, Pixels
from fedshelf.common.inference.predictors.torch_predictor import resized
from fedshelf.common.models.head import set_training
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.tasks.anchored_boxes import AnchoredBoxes
from fedshelf.common.tasks.boxes import LocatedBoxes
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
        return [boxes for photo in pixels for boxes in self._on_photo(photo)]

    def _on_photo(self, photo: Pixels) -> list[Boxes]:
        """Return the boxes on a photo, uint8 [H, W, C], in a list of one."""
        maps = self.maps(photo[None])
        height, width = photo.shape[:2]
        if not self.is_detector:
            return read_maps(maps, height, width)
        assert isinstance(self._network.task, LocatedBoxes)
        side = self._network.spec.image_size
        return [
            boxes.select(boxes.scores >= LEAST_SCORE).scaled(width / side, height / side)
            for boxes in self._network.task.found(torch.from_numpy(maps))
        ]

    @property
    def is_detector(self) -> bool:
        """True if the network tells boxes by anchors, and has no maps."""
        return isinstance(self._network.task, AnchoredBoxes)

    def maps(self, pixels: Pixels) -> Floats:
        """Return the maps of photos, float32 [N, C + 4, h, w] (see `common.scenes.centre_map`).

        Of a detector they are its answers, float32 [N, A, 1 + C + 4].
        """
        spec = self._network.spec
        photos = torch.from_numpy(np.array(pixels)).to(self._network.device)
        with torch.inference_mode():
            inputs = normalise(resized(photos, spec.image_size), spec.mean, spec.std)
            maps: Floats = self._network.module(inputs).float().cpu().numpy()
        return maps
