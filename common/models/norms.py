"""Group norm in place of batch norm, and back; batch norm whose statistics stay as they are."""

from math import gcd
from typing import Literal

from torch import nn

# Wu and He 2018, "Group Normalization", Table 3: 32 groups do best over a wide range.
GROUPS = 32


class FixedStatistics:
    """Part of a batch norm that uses the statistics of an earlier training, while training, too.

    A store's few photos cannot move them, and no average over stores that differ spoils them.
    Scale and shift train. The layer is never in training mode, whoever asks for it.
    """

    @property
    def training(self) -> bool:
        """False."""
        return False

    @training.setter
    def training(self, _: bool) -> None:
        """Stay in evaluation mode."""


class FixedBatchNorm2d(FixedStatistics, nn.BatchNorm2d):
    """PyTorch's batch norm with fixed statistics."""


def has_moving_statistics(layer: nn.Module) -> bool:
    """Return whether training changes the statistics of a layer."""
    is_batch_norm = isinstance(layer, nn.modules.batchnorm._BatchNorm)
    return is_batch_norm and not isinstance(layer, FixedStatistics)


def fix_statistics(module: nn.Module) -> None:
    """Fix the statistics of all batch norms inside `module`, in place, whatever their class."""
    for layer in module.modules():
        if has_moving_statistics(layer):
            kind = type(layer)
            if kind is nn.BatchNorm2d:
                layer.__class__ = FixedBatchNorm2d
            else:  # a network's own kind, which may do more than normalise
                layer.__class__ = type(f"Fixed{kind.__name__}", (FixedStatistics, kind), {})


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
