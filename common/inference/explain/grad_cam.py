"""Grad-CAM: the activations of a network's last layer with places, weighted by their gradients.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", equations 1 and 2. The layer is the last activation (ReLU or its like) whose output
has places. The last convolution, which tutorials name, is worse than chance for our own networks:
the norm and the ReLU behind it turn its signs.
"""

import numpy as np
import torch
from torch import Tensor, nn

from fedshelf.common.errors import ConfigError
from fedshelf.common.images.augment import normalise
from fedshelf.common.inference.predictors.predictor import Floats, Pixels, Predictor
from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor, resized

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU, nn.ELU, nn.Mish)


def grad_cam(predictor: Predictor, photo: Pixels, target: int) -> Floats:
    """Return what speaks for a class in each place of the last activations.

    Args:
        predictor: a model for PyTorch
        photo: uint8 [S, S, C]
        target: position of the class

    Returns:
        Float32 [h, w], 0 or above.

    Raises:
        ConfigError: the predictor gives no gradient, or its network has no such layer.
    """
    if not isinstance(predictor, TorchPredictor):
        raise ConfigError(
            "Grad-CAM needs the gradients of one model in PyTorch, which an ONNX file and several"
            " models together do not give; use --method occlusion, or one model.safetensors."
        )
    network = predictor.network
    outputs: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _, __, output: outputs.append(output))
        for layer in network.module.modules()
        if isinstance(layer, ACTIVATIONS)
    ]
    spec = network.spec
    try:
        pixels = torch.from_numpy(np.array(photo[None])).to(network.device)
        inputs = normalise(resized(pixels, spec.image_size), spec.mean, spec.std)
        with torch.enable_grad():  # the weights may be frozen: the gradient is the pixels'
            scores = network.module(inputs.requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    placed = [output for output in outputs if output.ndim == 4 and min(output.shape[2:]) > 1]
    if not placed:
        raise ConfigError(
            f"The network {spec.name} has no activations with places, which Grad-CAM needs; use"
            " --method occlusion."
        )
    (gradient,) = torch.autograd.grad(scores[0, target], placed[-1])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat: Floats = (weights * placed[-1]).sum(dim=1)[0].clamp(min=0).detach().cpu().numpy()
    return heat
