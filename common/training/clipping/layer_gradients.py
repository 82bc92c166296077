"""The part that a layer has in the gradients of single images, from one pass of a whole batch.

Each rule gets the layer's inputs and the gradient of its outputs, and returns the squared norm of
each image's part first. The weighted sum over the images follows when their weights are known.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedshelf.common.models.norms import FixedBatchNorm2d

Parts = dict[Tensor, Tensor]
"""Parameters, each with a gradient of its shape."""


class LayerGradients(Protocol):
    """The gradients of a layer's parameters, for each image."""

    squares: Tensor
    """float32 [n]: the squared L2 norm of each image's part."""

    def weighted(self, factors: Tensor) -> Parts:
        """Return the sum over the images, each times its factor (float32 [n])."""


class DenseGradients:
    """Gradients of a dense layer that each image passes once.

    The gradient of an image is g a^T, and g for the bias: its square is |g|^2 (|a|^2 + 1).

    Args:
        layer: its weight is [outputs, inputs]
        inputs: a, float32 [n, inputs]
        outputs: the gradients of the outputs, g, float32 [n, outputs]
    """

    def __init__(self, layer: nn.Linear, inputs: Tensor, outputs: Tensor) -> None:
        self._layer = layer
        self._inputs = inputs
        self._outputs = outputs
        self._has_bias = layer.bias is not None and layer.bias.requires_grad
        self.squares = inputs.square().sum(1).add_(int(self._has_bias))
        self.squares *= outputs.square().sum(1)

    def weighted(self, factors: Tensor) -> Parts:
        """Return the sum over the images, each times its factor (float32 [n])."""
        parts = {self._layer.weight: (self._outputs * factors[:, None]).mT @ self._inputs}
        if self._has_bias:
            parts[self._layer.bias] = factors @ self._outputs
        return parts


class ProductGradients:
    """Gradients of weights that multiply: of a dense layer, or of a convolution.

    With the inputs a and the gradients of the outputs g at L places, the gradient of an image is
    sum_l g_l a_l^T. Its square is sum_{l, m} (g_l . g_m)(a_l . a_m), which is less work if the
    places are few (Bu, Mao and Xu 2022, https://arxiv.org/abs/2205.10683).

    Args:
        layer: its weight is [groups * outputs, inputs, ...]
        inputs: float32 [n, groups, L, inputs]
        outputs: the gradients of the outputs, float32 [n, groups, L, outputs]
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, inputs: Tensor, outputs: Tensor) -> None:
        self._layer = layer
        self._inputs = inputs
        self._outputs = outputs
        self._products: Tensor | None = None
        places = inputs.shape[2]
        if 2 * places**2 <= inputs.shape[3] * outputs.shape[3]:
            squares = (inputs @ inputs.mT).mul_(outputs @ outputs.mT).sum((2, 3))
        else:
            self._products = (outputs.mT @ inputs).flatten(1)
            squares = self._products.square()
        self.squares = squares.flatten(1).sum(1)
        self._bias_rows = None
        if layer.bias is not None and layer.bias.requires_grad:
            self._bias_rows = outputs.sum(2).flatten(1)
            self.squares = self.squares + self._bias_rows.square().sum(1)

    def weighted(self, factors: Tensor) -> Parts:
        """Return the sum over the images, each times its factor (float32 [n])."""
        weight = self._layer.weight
        if self._products is not None:
            parts = {weight: (factors @ self._products).view_as(weight)}
        else:
            scaled = (self._outputs * factors.view(-1, 1, 1, 1)).transpose(0, 1).flatten(1, 2)
            inputs = self._inputs.transpose(0, 1).flatten(1, 2)
            parts = {weight: (scaled.mT @ inputs).view_as(weight)}
        if self._layer.bias is not None and self._bias_rows is not None:
            parts[self._layer.bias] = factors @ self._bias_rows
        return parts


class ChannelGradients:
    """Gradients of a scale and a shift of each channel.

    Args:
        layer: a norm with weight and bias
        normalised: its values before scale and shift, float32 [B, C, H, W]
        outputs: the gradients of its outputs, of the same shape
        images: n; each has B / n rows
    """

    def __init__(
        self, layer: nn.GroupNorm | nn.BatchNorm2d, normalised: Tensor, outputs: Tensor, images: int
    ) -> None:
        self._parts = {
            parameter: values.sum((2, 3)).view(images, -1, values.shape[1]).sum(1)
            for parameter, values in (
                (layer.weight, outputs * normalised),
                (layer.bias, outputs),
            )
            if parameter.requires_grad
        }
        self.squares = torch.stack([rows.square().sum(1) for rows in self._parts.values()]).sum(0)

    def weighted(self, factors: Tensor) -> Parts:
        """Return the sum over the images, each times its factor (float32 [n])."""
        return {parameter: factors @ rows for parameter, rows in self._parts.items()}


def _dense(layer: nn.Linear, inputs: Tensor, outputs: Tensor, images: int) -> LayerGradients:
    if len(inputs) == images and layer.weight.requires_grad:
        return DenseGradients(layer, inputs, outputs)
    return ProductGradients(
        layer,
        inputs.view(images, 1, -1, inputs.shape[1]),
        outputs.view(images, 1, -1, outputs.shape[1]),
    )


def _convolution(layer: nn.Conv2d, inputs: Tensor, outputs: Tensor, images: int) -> LayerGradients:
    assert not isinstance(layer.padding, str)
    patches = functional.unfold(
        inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride
    )
    return ProductGradients(
        layer,
        _by_place(patches, layer.groups, images),
        _by_place(outputs.flatten(2), layer.groups, images),
    )


def _by_place(values: Tensor, groups: int, images: int) -> Tensor:
    """Return values [n * copies, groups * d, L] as [n, groups, copies * L, d]."""
    places = values.shape[2]
    apart = values.reshape(images, -1, groups, values.shape[1] // groups, places)
    return apart.permute(0, 2, 1, 4, 3).flatten(2, 3)


def _group_norm(
    layer: nn.GroupNorm, inputs: Tensor, outputs: Tensor, images: int
) -> LayerGradients:
    normalised = functional.group_norm(inputs, layer.num_groups, eps=layer.eps)
    return ChannelGradients(layer, normalised, outputs, images)


def _fixed_batch_norm(
    layer: FixedBatchNorm2d, inputs: Tensor, outputs: Tensor, images: int
) -> LayerGradients:
    normalised = functional.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)
    return ChannelGradients(layer, normalised, outputs, images)


RULES: Mapping[type[nn.Module], Callable[..., LayerGradients]] = {
    nn.Linear: _dense,
    nn.Conv2d: _convolution,
    nn.GroupNorm: _group_norm,
    FixedBatchNorm2d: _fixed_batch_norm,
}
"""The kinds of layers that have a rule: (layer, inputs, gradient of its outputs, images)."""

# dimensions of a layer's inputs: only with these the first one is surely that of the images
DIMENSIONS: Mapping[type[nn.Module], int] = {
    nn.Linear: 2,
    nn.Conv2d: 4,
    nn.GroupNorm: 4,
    FixedBatchNorm2d: 4,
}


def has_rule(layer: nn.Module) -> bool:
    """Return whether a layer has a rule."""
    if type(layer) is nn.Conv2d:
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return type(layer) in RULES
