"""Group norm in place of batch norm, and back."""

from math import gcd
from typing import Literal

from torch import nn

# Wu and He 2018, "Group Normalization", Table 3: 32 groups do best over a wide range.
GROUPS = 32


def replace_norms(module: nn.Module, kind: Literal["batch", "group"]) -> int:
    """Replace all batch and group norms inside a network by fresh layers of one kind, in place.

    Group norm keeps no statistics of a store's images (Hsieh et al. 2020, "The Non-IID Data
    Quagmire of Decentralized Machine Learning"). If 32 does not divide the channels, the number of
    groups is the greatest common divisor of both. Layers of this kind stay, and so does layer norm.

    Returns:
        The number of batch and group norms that the network has.
    """
    count = 0
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d | nn.GroupNorm):
            count += 1
            setattr(module, name, _replacement(kind, child))
        else:
            count += replace_norms(child, kind)
    return count


def _replacement(
    kind: Literal["batch", "group"], layer: nn.BatchNorm2d | nn.GroupNorm
) -> nn.Module:
    if kind == "group" and isinstance(layer, nn.BatchNorm2d):
        return nn.GroupNorm(gcd(GROUPS, layer.num_features), layer.num_features, eps=layer.eps)
    if kind == "batch" and isinstance(layer, nn.GroupNorm):
        return nn.BatchNorm2d(layer.num_channels, eps=layer.eps)
    return layer
