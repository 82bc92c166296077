"""Conversion of pixels to the inputs of networks."""

from functools import cache

import torch
from torch import Tensor


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (x / 255 - mean) / std per channel, as networks take it.

    Args:
        pixels: [B, H, W, C], uint8 or float32, 0 to 255
        mean: of each channel, 0 to 1
        std: of each channel

    Returns:
        float32 [B, C, H, W], in channels-last memory order: the input's, so that nothing is moved
    """
    batch, height, width, channels = pixels.shape
    # long rows are quicker than C values
    scale, shift = _constants(mean, std, width, pixels.device)
    rows = pixels.to(torch.float32).reshape(batch, height, width * channels)
    return torch.addcmul(shift, rows, scale).view(pixels.shape).permute(0, 3, 1, 2)


@cache
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Tensor, ...]:
    """Return scale and shift of all values of a row of pixels: float32 [W * C] each.

    They are moved to the device once.
    """
    with torch.inference_mode(mode=False):
        pair = torch.tensor(
            [[1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]]
        )
        return pair.repeat(1, width).to(device).unbind(0)
