"""EfficientNet-Lite0 whose head looks at three depths of the network, and at the middle of a photo.

    stage of 80 channels:  wide activations, 240, one in 8 pixels  --+
    stage of 192 channels: wide activations, 672, one in 16 pixels --+-> pooled -> roots -> head
    last activations, 1280, one in 32 pixels                       --+

The last layer of a network that was trained for ImageNet's classes has dropped what those need not
tell apart: a granny smith from a golden delicious. Layers before it have not. Pooling weighs pixels
by a Gaussian window around the middle, where products are, away from the border that padding
spoils. Square roots make sparse activations more even (as for Fisher vectors: Perronnin, Sánchez,
Mensink: Improving the Fisher Kernel for Large-Scale Image Classification. ECCV 2010).

Frozen, with a ridge head in closed form: 80.7% on the groceries' test photos, where the last layer
alone has 70.5% (docs/results.md). Weights are those of EfficientNet-Lite0.
"""

import torch
from torch import Tensor, nn

from fedshelf.common.models.networks.efficientnet_lite0 import FEATURES, EfficientNetLite0

# Factors give all depths about the same spread on photos of clothing and of groceries, and the
# features a length with which usual learning rates work.
FINAL_FACTOR = 0.5
# positions in `STAGES`: wide channels of the first block, and their factor
DEPTHS = {3: (240, 3.5), 5: (672, 2.0)}
WINDOW = 0.25  # standard deviation of the window, as a share of the side
ROOT_OFFSET = 1e-4  # added below the root, whose slope at 0 has no end


def build(classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network for float32 [N, channels, image_size, image_size]."""
    return EfficientNetLite0Depths(classes, image_size, channels)


class EfficientNetLite0Depths(EfficientNetLite0):
    """The network; see the module.

    Args:
        classes: number of outputs.
        image_size: side of the input in pixels.
        channels: of the images; published weights have 3.
    """

    def __init__(self, classes: int, image_size: int, channels: int) -> None:
        super().__init__(classes, image_size, channels)
        self.pool = WindowPooling()
        features = FEATURES + sum(width for width, _ in DEPTHS.values())
        self.classifier = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float32 [N, classes]."""
        final, expanded = self.activations(images, tuple(DEPTHS))
        parts = [FINAL_FACTOR * self._root(final)]
        parts += [
            factor * self._root(wide)
            for wide, (_, factor) in zip(expanded, DEPTHS.values(), strict=True)
        ]
        logits: Tensor = self.classifier(torch.cat(parts, dim=1))
        return logits

    def _root(self, activations: Tensor) -> Tensor:
        """Return the square roots of pooled activations, none of which is below 0: [N, C]."""
        pooled: Tensor = self.pool(activations)
        return (pooled + ROOT_OFFSET).sqrt()


class WindowPooling(nn.Module):
    """The mean over the pixels of a map, weighed by a Gaussian window around its middle."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the weighted means [N, C] of maps [N, C, H, W]."""
        rows, columns = (self._window(side, maps.device) for side in maps.shape[2:])
        return (maps * (rows[:, None] * columns)).sum((2, 3))

    def _window(self, side: int, device: torch.device) -> Tensor:
        """Return the weights of the pixels along a side, which add up to 1: [side]."""
        place = (torch.arange(side, device=device) + 0.5) / side - 0.5
        weights = torch.exp(-(place**2) / (2 * WINDOW**2))
        return weights / weights.sum()
