"""Masks by PyTorch, from a mask network's `model.safetensors`."""

import numpy as np
import torch

from fedshelf.common.images.augment import normalise
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Floats, Pixels
from fedshelf.common.inference.predictors.torch_predictor import resized
from fedshelf.common.models.head import set_training
from fedshelf.common.training.fit import Network


class TorchMaskPredictor:
    """A mask network with its description.

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

    def masks(self, pixels: Pixels) -> Floats:
        """Return the probabilities of classes for pixels; see `MaskPredictor.masks`."""
        return np.concatenate([self._mask(photo) for photo in pixels])

    def _mask(self, photo: Pixels) -> Floats:
        """Return the probabilities for one photo, float32 [1, classes, S, S]."""
        spec = self._network.spec
        photos = torch.from_numpy(np.array(photo[None])).to(self._network.device)
        with torch.inference_mode():
            inputs = normalise(resized(photos, spec.image_size), spec.mean, spec.std)
            scores = self._network.module(inputs).float()
            mask: Floats = torch.softmax(scores, dim=1).cpu().numpy()
        return mask
