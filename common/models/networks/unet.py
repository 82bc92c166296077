"""A small U-Net: the class of each pixel; 103,618 weights for colour and two classes.

Ronneberger, Fischer and Brox 2015, "U-Net: Convolutional Networks for Biomedical Image
Segmentation": four levels down and up again, with the map of each level joined to that of the way
up. Ours has 16 to 48 channels in place of 64 to 1024, one convolution a level, and group norm,
which keeps no statistics of a store's photos.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 24, 32, 48)  # channels at each level, from the full side to an eighth of it
GROUPS = 8


class UNet(nn.Module):
    """A network that maps photos to class scores of each pixel."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        inputs = (channels, *WIDTHS[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(*_block(before, after), *_block(after, after))
            for before, after in zip(inputs, WIDTHS, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Sequential(*_block(deep + wide, wide))
            for deep, wide in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(WIDTHS[0], classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return class scores, float32 [N, classes, H, W].

        Args:
            pixels: float32 [N, channels, H, W], normalised, of any height and width from 8
        """
        maps = [self.down[0](pixels)]
        for level in self.down[1:]:
            maps.append(level(functional.max_pool2d(maps[-1], 2, ceil_mode=True)))
        result = maps.pop()
        for level in self.up:
            beside = maps.pop()
            height, width = beside.shape[2:]
            larger = functional.interpolate(result, scale_factor=2.0)[:, :, :height, :width]
            result = level(torch.cat([larger, beside], dim=1))
        scores: Tensor = self.head(result)
        return scores


def build(classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network: float32 [N, channels, H, W] to class scores [N, classes, H, W].

    Args:
        classes: number of classes of pixels, the background among them
        image_size: pixels, side of the images; the weights are the same for all
        channels: 1 (grey) or 3 (RGB)
    """
    assert image_size > 0, image_size
    return UNet(classes, channels)


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    """Return a 3x3 convolution that keeps the side, group norm and ReLU."""
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(GROUPS, outputs),
        nn.ReLU(),
    ]
