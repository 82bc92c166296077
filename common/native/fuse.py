"""The choice of the layers of a network that become compiled operations."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedshelf.common.native.conv_pool import conv_pool
from fedshelf.common.native.group_norm import group_norm


def fuse(module: nn.Module, example: Tensor) -> nn.Module:
    """Return a network that computes the same with faster operations and the same parameters.

    Layers become compiled operations if possible. Only the layers of a top-level `nn.Sequential`
    are examined. The module itself, and layers that are not fused, stay as they are and are shared.

    Args:
        module: the network
        example: float32 [1, C, H, W] on the CPU; its shape tells those of all layers
    """
    if not isinstance(module, nn.Sequential):
        return module
    layers = list(module)
    fused = []
    with torch.no_grad():
        while layers:
            layer, count = _fuse_first(layers, example) or (layers[0], 1)
            example = _evaluate(layer, example)
            layers = layers[count:]
            fused.append(layer)
    return nn.Sequential(*fused)


def _evaluate(layer: nn.Module, example: Tensor) -> Tensor:
    """Return the layer's result in evaluation mode, in which no statistics move."""
    mode = layer.training
    result: Tensor = layer.eval()(example)
    layer.train(mode)
    return result


def _fuse_first(layers: Sequence[nn.Module], example: Tensor) -> tuple[nn.Module, int] | None:
    """Return the fused form of the first layers and how many they are, or None."""
    if example.ndim != 4 or example.shape[2] != example.shape[3]:
        return None
    side = example.shape[2]
    first = layers[0]
    kinds = [_kind(layer) for layer in layers[1:3]]
    layer: nn.Module | None = None
    if type(first) is nn.Conv2d and "pool" in kinds:
        relu = kinds in (["relu", "pool"], ["pool", "relu"])
        count = 3 if relu else 2
        layer = conv_pool(first, side, relu=relu) if relu or kinds[0] == "pool" else None
    elif type(first) is nn.GroupNorm:
        relu = kinds[:1] == ["relu"]
        count = 2 if relu else 1
        layer = group_norm(first, side * side, relu=relu)
    return (layer, count) if layer is not None else None


def _kind(layer: nn.Module) -> str:
    """Return the kind of a layer that may follow: "relu", "pool" (2x2 max pooling) or ""."""
    if type(layer) is nn.ReLU:
        return "relu"
    if type(layer) is not nn.MaxPool2d or not {layer.kernel_size, layer.stride} <= {2, (2, 2)}:
        return ""
    plain = (layer.padding, layer.dilation, layer.ceil_mode, layer.return_indices) == (
        0,
        1,
        False,
        False,
    )
    return "pool" if plain else ""
