"""Predictions by PyTorch, from a `model.safetensors`."""

from threading import Lock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedshelf.common.images.augment import normalise
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import (
    Pixels,
    Predictions,
    empty_predictions,
    interpret,
)
from fedshelf.common.models.head import set_training
from fedshelf.common.training.fit import Network

CPU_PHOTOS_PER_PASS = 4  # on a CPU more take no less time for each (see `common.training.features`)
GPU_PHOTOS_PER_PASS = 64


class TorchPredictor:
    """A network with its description.

    Args:
        network: with its final weights; it is not trained afterwards
        description: of its model
    """

    def __init__(self, network: Network, description: ModelDescription) -> None:
        self._network = network
        self._description = description
        self._lock = Lock()  # a pass reads the head's input by a hook
        set_training(network.module, mode=False)
        self._head = network.module.get_submodule(network.layout.head)

    @property
    def description(self) -> ModelDescription:
        """The model: classes, image size, calibration."""
        return self._description

    @property
    def pixel_format(self) -> PixelFormat:
        """The form to which training decoded photos."""
        return self._description.pixel_format

    @property
    def network(self) -> Network:
        """The network, in the mode of evaluation."""
        return self._network

    def predict(self, pixels: Pixels) -> Predictions:
        """Predict the classes of photos; see `Predictor.predict`."""
        device = self._network.device
        size = CPU_PHOTOS_PER_PASS if device.type == "cpu" else GPU_PHOTOS_PER_PASS
        logits: list[Tensor] = []
        embeddings: list[Tensor] = []
        with self._lock, torch.inference_mode():
            handle = self._head.register_forward_pre_hook(
                lambda _, inputs: embeddings.append(pooled(self._head, inputs[0]))
            )
            try:
                for part in torch.from_numpy(np.ascontiguousarray(pixels)).split(size):
                    logits.append(self._logits(part.to(device)))
            finally:
                handle.remove()
        if not logits:
            return empty_predictions(self._description)
        return interpret(
            torch.cat(logits).float().cpu().numpy(),
            torch.cat(embeddings).float().cpu().numpy(),
            self._description,
        )

    def _logits(self, pixels: Tensor) -> Tensor:
        spec = self._network.spec
        inputs = normalise(resized(pixels, spec.image_size), spec.mean, spec.std)
        part = self._network.frozen_part
        if part is None:
            return self._network.logits(inputs)
        scores: Tensor = part.rest(part.backbone(inputs))
        return scores


def resized(pixels: Tensor, side: int) -> Tensor:
    """Return photos squeezed to a square: uint8 [B, H, W, C] to [B, side, side, C].

    The filter is bilinear with antialiasing on whole numbers, which agrees with Pillow's to
    rounding; photos that have the size already are unchanged.
    """
    if pixels.shape[1:3] == (side, side):
        return pixels
    return resized_planes(pixels.permute(0, 3, 1, 2).contiguous(), side).permute(0, 2, 3, 1)


def resized_planes(planes: Tensor, side: int) -> Tensor:
    """Return photos squeezed to a square: uint8 [B, C, H, W] to [B, C, side, side]."""
    return functional.interpolate(planes, (side, side), mode="bilinear", antialias=True)


def pooled(head: nn.Module, inputs: Tensor) -> Tensor:
    """Return one vector per photo, [N, d]: the mean of the head's input over its positions, if any.

    Args:
        head: the network's last layer with weights
        inputs: its input: [N, d, H, W] of a convolution, else [N, d] or [N, ..., d]
    """
    if isinstance(head, nn.Conv2d):
        return inputs.flatten(2).mean(dim=2)
    return inputs if inputs.ndim <= 2 else inputs.flatten(1, -2).mean(dim=1)
