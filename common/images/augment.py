"""Augmentation per image, on whole batches, on the device that trains.

Every number drawn comes from the caller's NumPy generator, so that all devices see the same images; what
is made of them is computed where the pixels are. Each image takes its nine numbers in one fixed order
whether they are used or not: switching one option does not change what the others draw. With all options
off, nothing is drawn.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.config import DataConfig


class Draws(NamedTuple):
    """Uniform numbers in [0, 1), each float64 [B] where the pixels are: one image's are the same place of all nine."""

    flip: Tensor
    crop_y: Tensor
    crop_x: Tensor
    angle: Tensor
    shift_y: Tensor
    shift_x: Tensor
    zoom: Tensor
    brightness: Tensor
    contrast: Tensor


def draw(images: int, generator: np.random.Generator) -> Draws:
    """What one batch draws."""
    return Draws(*torch.from_numpy(generator.random((images, len(Draws._fields)))).unbind(1))


def is_on(config: DataConfig) -> bool:
    """Whether any option is switched on: if not, nothing is drawn."""
    return any((config.flip, config.crop, *_affine_options(config), config.brightness, config.contrast))


def augment(pixels: Tensor, config: DataConfig, generator: np.random.Generator) -> Tensor:
    """Augment uint8 [B, S, S, C] as `config` says: the same shape, uint8 or float32, values 0 to 255.

    Flip and crop only move pixels and stay uint8; the other options compute in float32. Feed the
    result to `normalise`.
    """
    if not is_on(config):
        return pixels
    return transform(pixels, config, Draws(*(numbers.to(pixels.device) for numbers in draw(len(pixels), generator))))


def transform(pixels: Tensor, config: DataConfig, draws: Draws) -> Tensor:
    """Augment with numbers already drawn; shapes as in `augment`."""
    assert pixels.shape[1] == pixels.shape[2], pixels.shape
    if config.flip or config.crop:
        pixels = _flip_and_crop(pixels, config, draws)
    if any(_affine_options(config)):
        pixels = _affine(pixels, config, draws)
    if config.brightness:
        pixels = (pixels * _around_one(config.brightness, draws.brightness)).clamp_(0, 255)
    if config.contrast:
        mean = pixels.to(torch.float32).mean(dim=(1, 2, 3), keepdim=True)
        factor = _around_one(config.contrast, draws.contrast)
        pixels = torch.lerp(mean, pixels.to(torch.float32), factor).clamp_(0, 255)
    return pixels


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(x / 255 - mean) / std per channel: [B, H, W, C], uint8 or float32, to float32 [B, C, H, W].

    The result is in channels-last memory order: the input's order, so that nothing is moved.
    """
    batch, height, width, channels = pixels.shape
    scale, shift = _constants(mean, std, width, pixels.device)  # long rows are quicker than C values
    rows = pixels.to(torch.float32).reshape(batch, height, width * channels)
    return torch.addcmul(shift, rows, scale).view(pixels.shape).permute(0, 3, 1, 2)


@cache
def _constants(mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device) -> tuple[Tensor, ...]:
    """Scale and shift of every value of a row of pixels: float32 [W * C] each, moved to the device once."""
    with torch.inference_mode(mode=False):
        pair = torch.tensor([[1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]])
        return pair.repeat(1, width).to(device).unbind(0)


def _flip_and_crop(pixels: Tensor, config: DataConfig, draws: Draws) -> Tensor:
    """Reflect-pad by `crop`, take a random window of the old size, mirror: one gather of whole pixels."""
    batch, side, _, channels = pixels.shape
    rows = _window(side, config.crop, draws.crop_y)
    columns = _window(side, config.crop, draws.crop_x)
    if config.flip:
        columns = torch.where(draws.flip[:, None] < 0.5, columns.flip(1), columns)
    rows = (torch.arange(batch, device=pixels.device)[:, None] * side + rows) * side
    index = rows[:, :, None] + columns[:, None]
    return pixels.reshape(-1, channels).index_select(0, index.view(-1)).view(pixels.shape)


def _window(side: int, pad: int, position: Tensor) -> Tensor:
    """Int64 [B, side]: which row each row of a window comes from; beyond an edge they run back (edge not repeated)."""
    offset = (position * (2 * pad + 1)).floor().to(torch.int64) - pad
    period = max(1, 2 * (side - 1))
    source = (torch.arange(side, device=position.device) + offset[:, None]) % period
    return torch.minimum(source, period - source)


def _affine_options(config: DataConfig) -> tuple[float, float, float]:
    return config.rotation, config.translate, config.scale


def _affine(pixels: Tensor, config: DataConfig, draws: Draws) -> Tensor:
    """Rotate and zoom about the centre, then shift: one bilinear sampling, reflecting at the edges."""
    angle = math.radians(config.rotation) * (2 * draws.angle - 1)
    zoom = 1 + config.scale * (2 * draws.zoom - 1)
    shift = 2 * config.translate * (2 * torch.stack([draws.shift_x, draws.shift_y], dim=1) - 1)  # the side is 2 long
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    back = torch.stack([torch.stack([cos, sin], dim=1), torch.stack([-sin, cos], dim=1)], dim=1)  # output to input
    theta = torch.cat([back, -back @ shift[:, :, None]], dim=2).to(torch.float32)
    images = pixels.permute(0, 3, 1, 2).to(torch.float32)
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return moved.permute(0, 2, 3, 1).contiguous()


def _around_one(spread: float, position: Tensor) -> Tensor:
    """Factors within 1 plus or minus `spread`: float32 [B, 1, 1, 1]."""
    return (1 + spread * (2 * position - 1)).to(torch.float32)[:, None, None, None]
