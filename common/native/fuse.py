"""The choice of the layers of a network that become compiled operations."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedshelf.common.models import networks
from fedshelf.common.native.conv_pool import conv_pool
from fedshelf.common.native.group_norm import group_norm


def fuse(module: nn.Module, example: Tensor) -> nn.Module:
    """Return a network that computes the same with faster operations and the same parameters.

    Layers become compiled operations if possible: those of a network that is one `nn.Sequential`,
    and group norms in the sequences of our own networks. The module itself, and layers that are not
    fused, stay as they are and are shared.

    Args:
        module: the network
        example: float32 [1, C, H, W] on the CPU; its shape tells those of all layers
    """
    if not isinstance(module, nn.Sequential):
        return _with_fused_norms(module) if _is_ours(module) else module
    layers = list(module)
    fused = []
    with torch.no_grad():
        while layers:
            layer, count = _fuse_first(layers, example) or (layers[0], 1)
            example = _evaluate(layer, example)
            layers = layers[count:]
            fused.append(layer)
    return nn.Sequential(*fused)


def _is_ours(module: nn.Module) -> bool:
    """Return whether a network is of this package.

    Its parts may be copied, as nothing in it but the layers looks at the mode, training or not,
    unless it says so by an attribute `looks_at_mode`.
    """
    is_of_package = type(module).__module__.startswith(f"{networks.__name__}.")
    return is_of_package and not getattr(module, "looks_at_mode", False)


def _with_fused_norms(module: nn.Module) -> nn.Module:
    """Return a part of a network with fused norms: a copy, or the part itself if it has none."""
    children = dict(module.named_children())
    fused = {name: _with_fused_norms(child) for name, child in children.items()}
    if isinstance(module, nn.Sequential):
        layers = _fused_in_sequence(list(fused.values()))
        return module if layers == list(children.values()) else nn.Sequential(*layers)
    if fused == children:
        return module
    copied = copy.copy(module)
    copied._modules = {**module._modules, **fused}
    return copied


def _fused_in_sequence(layers: list[nn.Module]) -> list[nn.Module]:
    """Return the layers of a sequence, with those that begin with a group norm fused."""
    done: list[nn.Module] = []
    while layers:
        layer, count = _fuse_norm(layers) or (layers[0], 1)
        done.append(layer)
        layers = layers[count:]
    return done


def _fuse_norm(layers: Sequence[nn.Module]) -> tuple[nn.Module, int] | None:
    """Return the fused form of a group norm and what follows, and how many layers, or None."""
    first = layers[0]
    if type(first) is not nn.GroupNorm:
        return None
    relu = [_kind(layer) for layer in layers[1:2]] == ["relu"]
    layer = group_norm(first, relu=relu)
    return None if layer is None else (layer, 2 if relu else 1)


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
    else:
        return _fuse_norm(layers)
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
