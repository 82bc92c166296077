"""Gradients of single images, which compiled layers leave behind during the backward pass.

Differentially private training clips the gradient of each image, so their sum is not enough. The
compiled layers write one gradient for each image in place of the sum; that costs little more.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass
class ImageGradients:
    """The gradients of one layer's parameters, one for each image.

    Attributes:
        copies: rows of a batch that belong to one image; they follow one another
        anchor: a scalar; the backward pass reaches all layers if its gradient is asked for
        rows: float32 [images, S], in the layer's own order of memory; some of it may be padding
        squares: float32 [images], the squared L2 norm of each image's gradient
    """

    copies: int
    anchor: Tensor
    rows: Tensor
    squares: Tensor


class CompiledLayer(Protocol):
    """A layer whose backward pass can write the gradients of single images."""

    per_image: ImageGradients | None

    def parameter_gradients(self, row: Tensor) -> dict[Tensor, Tensor]:
        """Return each parameter with its gradient, of its shape.

        Args:
            row: float32 [S], a weighted sum of `ImageGradients.rows`
        """


@contextmanager
def recorded(layers: Sequence[CompiledLayer], copies: int) -> Iterator[list[ImageGradients]]:
    """Let the layers' passes within the context leave the gradients of single images.

    Args:
        layers: each passes the batch once
        copies: rows of the batch that belong to one image

    Yields:
        The gradients of each layer: they are there after the backward pass.
    """
    anchor = torch.zeros((), requires_grad=True)
    empty = torch.empty(0)
    for layer in layers:
        layer.per_image = ImageGradients(copies, anchor, empty, empty)
    try:
        yield [layer.per_image for layer in layers if layer.per_image is not None]
    finally:
        for layer in layers:
            layer.per_image = None
