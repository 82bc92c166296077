"""Our own locator of products: a map of centres and of the edges around them, with 261,333 weights.

Zhou, Wang and Krähenbühl 2019, "Objects as Points": an object is the peak of a heat map at its
centre, and the same cell tells its size. As in FCOS (Tian et al. 2019) a cell tells its distances
to the four edges, so that each cell near the centre can be asked for the same box.

Strided convolutions lead down to a 32nd of the side, where a cell sees a product with all that is
around it; the maps on the way back are added to those of the way down (Lin et al. 2017, "Feature
Pyramid Networks"). At each level a further convolution adds to what it was given (He et al. 2016,
"Deep Residual Learning"). Group norm keeps no statistics of a store's photos.
"""

import math

from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4  # pixels of a photo for one cell of the map, in each direction
EDGES = 4  # channels of a cell that tell a box: to its left, top, right and bottom edge
GROUPS = 8
RARE = 0.01  # of all cells, those that are centres: the first guess (Lin et al. 2017, Focal Loss)


class Residual(nn.Module):
    """A 3x3 convolution, group norm and ReLU, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(*_block(channels, channels, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sum, of the shape [N, channels, H, W] of the inputs."""
        result: Tensor = inputs + self.block(inputs)
        return result


class Locator(nn.Module):
    """A network that maps photos to centres and edges of boxes, at a quarter of their side.

    `common.scenes.centre_map` makes boxes of its result.
    """

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.quarter = nn.Sequential(*_block(channels, 16, 2), *_block(16, 32, 2))
        self.eighth = nn.Sequential(*_block(32, 64, 2), Residual(64))
        self.sixteenth = nn.Sequential(*_block(64, 64, 2), Residual(64))
        self.thirty_second = nn.Sequential(*_block(64, 64, 2), Residual(64))
        self.narrow_sixteenth = nn.Conv2d(64, 64, 1)
        self.joined = nn.Sequential(*_block(64, 64, 1))
        self.narrow_eighth = nn.Conv2d(64, 32, 1)
        self.last = nn.Sequential(*_block(32, 32, 1), nn.Conv2d(32, classes + EDGES, 1))
        head = self.last[-1]
        assert isinstance(head, nn.Conv2d)
        assert head.bias is not None
        nn.init.constant_(head.bias[:classes], -math.log((1 - RARE) / RARE))
        nn.init.constant_(head.bias[classes:], math.log(4))
        nn.init.normal_(head.weight, std=0.01)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the map, float32 [N, classes + 4, H / 4, W / 4].

        Its first channels are logits of a centre of each class; the last four are the logarithms of
        the distances, in cells, from the middle of the cell to the left, top, right and bottom
        edge.

        Args:
            pixels: float32 [N, channels, H, W], normalised; H and W are multiples of 4
        """
        quarter = self.quarter(pixels)
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        sixteenth = sixteenth + _twice(self.thirty_second(sixteenth), sixteenth)
        eighth = self.joined(eighth + _twice(self.narrow_sixteenth(sixteenth), eighth))
        result: Tensor = self.last(quarter + _twice(self.narrow_eighth(eighth), quarter))
        return result


def build(classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network: float32 [N, channels, H, W] to [N, classes + 4, H / 4, W / 4].

    Args:
        classes: number of classes that boxes may have; 1: boxes of any product
        image_size: pixels, side of the images; the weights are the same for all
        channels: 1 (grey) or 3 (RGB)
    """
    assert image_size % STRIDE == 0, image_size
    return Locator(classes, channels)


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """Return a 3x3 convolution, group norm and ReLU."""
    return [
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.GroupNorm(GROUPS, outputs),
        nn.ReLU(),
    ]


def _twice(small: Tensor, large: Tensor) -> Tensor:
    """Return a map at twice its size, cut to the size of `large`."""
    height, width = large.shape[2:]
    return functional.interpolate(small, scale_factor=2.0)[:, :, :height, :width]
