"""Layers with one set of weights per store: each takes [S * B, ...], the batches of S stores one
after the other.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedshelf.simulations.engines.batched.convolution import ConvolutionGeometry, fastest_form


class Stacked(nn.Module):
    """The replacement of a layer.

    weight, bias: [S, ...], set by the network that it is part of
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.bias = None
        for name, child in layer.named_children():  # dropout before the layer, and its caller
            self.add_module(name, child)
        self._forward_pre_hooks.update(layer._forward_pre_hooks)
        self.train(layer.training)

    def affine(self, values: Tensor) -> Tensor:
        """Apply each store's own scale and shift, [S, *shape], to `values` [S * B, ..., *shape]."""
        stores, *shape = self.weight.shape
        own = (stores, *(1 for _ in range(values.ndim - len(shape))), *shape)
        rows = values.unflatten(0, (stores, -1))
        scale = self.weight.view(own)
        moved = (
            rows * scale if self.bias is None else torch.addcmul(self.bias.view(own), rows, scale)
        )
        return moved.flatten(0, 1)


class StackedConv2d(Stacked):
    """A convolution per store; see `simulations.engines.batched.convolution`."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer)
        self._geometry = ConvolutionGeometry.of(layer)

    def forward(self, pixels: Tensor) -> Tensor:
        """Convolve [S * B, C, H, W] -> [S * B, O, H', W']."""
        return fastest_form(pixels, self._geometry)(pixels, self.weight, self.bias, self._geometry)


class StackedLinear(Stacked):
    """A linear layer per store: one batched matrix product."""

    def forward(self, features: Tensor) -> Tensor:
        """Map [S * B, ..., I] -> [S * B, ..., O]."""
        rows = features.reshape(len(self.weight), -1, features.shape[-1])
        matrix = self.weight.transpose(1, 2)
        out = (
            torch.bmm(rows, matrix)
            if self.bias is None
            else torch.baddbmm(self.bias[:, None], rows, matrix)
        )
        return out.view(*features.shape[:-1], out.shape[-1])


class StackedGroupNorm(Stacked):
    """Group norm, which is independent of other images, then each store's own scale and shift."""

    def __init__(self, layer: nn.GroupNorm) -> None:
        super().__init__(layer)
        self._groups = layer.num_groups
        self._eps = layer.eps

    def forward(self, features: Tensor) -> Tensor:
        """Normalise [S * B, C, ...], same shape."""
        normal = functional.group_norm(features, self._groups, eps=self._eps)
        return self.affine(normal.movedim(1, -1)).movedim(-1, 1)


class StackedLayerNorm(Stacked):
    """Layer norm, then each store's own scale and shift."""

    def __init__(self, layer: nn.LayerNorm) -> None:
        super().__init__(layer)
        self._shape = list(layer.normalized_shape)
        self._eps = layer.eps

    def forward(self, features: Tensor) -> Tensor:
        """Normalise [S * B, ..., *normalized_shape], same shape."""
        return self.affine(functional.layer_norm(features, self._shape, eps=self._eps))


STACKED: Mapping[type[nn.Module], type[Stacked]] = {
    nn.Conv2d: StackedConv2d,
    nn.Linear: StackedLinear,
    nn.GroupNorm: StackedGroupNorm,
    nn.LayerNorm: StackedLayerNorm,
}
