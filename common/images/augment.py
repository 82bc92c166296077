"""Augmentation per image, on whole batches, on the device that trains.

Every number drawn comes from the caller's NumPy generator on the CPU, so that all devices see the same
images. Each image takes its nine numbers in one fixed order whether they are used or not: switching
one option does not change what the others draw. With all options off, nothing is drawn.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.config import DataConfig


class Draws(NamedTuple):
    """Uniform numbers in [0, 1), each float64 [B]: one image's are the same place of all nine."""

    flip: NDArray[np.float64]
    crop_y: NDArray[np.float64]
    crop_x: NDArray[np.float64]
    angle: NDArray[np.float64]
    shift_y: NDArray[np.float64]
    shift_x: NDArray[np.float64]
    zoom: NDArray[np.float64]
    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]


def draw(images: int, generator: np.random.Generator) -> Draws:
    """What one batch draws."""
    return Draws(*generator.random((images, len(Draws._fields))).T)


def augment(pixels: Tensor, config: DataConfig, generator: np.random.Generator) -> Tensor:
    """Augment uint8 [B, S, S, C] as `config` says: the same shape, uint8 or float32, values 0 to 255.

    Flip and crop only move pixels and stay uint8; the other options compute in float32. Feed the
    result to `normalise`.
    """
    options = (config.flip, config.crop, *_affine_options(config), config.brightness, config.contrast)
    return transform(pixels, config, draw(len(pixels), generator)) if any(options) else pixels


def transform(pixels: Tensor, config: DataConfig, draws: Draws) -> Tensor:
    """Augment with numbers already drawn; shapes as in `augment`."""
    assert pixels.shape[1] == pixels.shape[2], pixels.shape
    if config.flip or config.crop:
        pixels = _flip_and_crop(pixels, config, draws)
    if any(_affine_options(config)):
        pixels = _affine(pixels, config, draws)
    if config.brightness:
        pixels = (pixels * _around_one(config.brightness, draws.brightness, pixels.device)).clamp_(0, 255)
    if config.contrast:
        mean = pixels.to(torch.float32).mean(dim=(1, 2, 3), keepdim=True)
        factor = _around_one(config.contrast, draws.contrast, pixels.device)
        pixels = torch.lerp(mean, pixels.to(torch.float32), factor).clamp_(0, 255)
    return pixels


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(x / 255 - mean) / std per channel: [B, H, W, C], uint8 or float32, to float32 [B, C, H, W].

    The result is in channels-last memory order: the input's order, so that nothing is moved.
    """
    batch, height, width, channels = pixels.shape
    constants = torch.tensor([[1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]])
    scale, shift = constants.repeat(1, width).to(pixels.device)  # [W * C] each: long rows are quicker than C values
    rows = pixels.to(torch.float32).reshape(batch, height, width * channels)
    return torch.addcmul(shift, rows, scale).view(pixels.shape).permute(0, 3, 1, 2)


def _flip_and_crop(pixels: Tensor, config: DataConfig, draws: Draws) -> Tensor:
    """Reflect-pad by `crop`, take a random window of the old size, mirror: one gather of whole pixels."""
    batch, side, _, channels = pixels.shape
    rows = _window(side, config.crop, draws.crop_y)
    columns = _window(side, config.crop, draws.crop_x)
    if config.flip:
        columns = np.where(draws.flip[:, None] < 0.5, columns[:, ::-1], columns)
    rows = (np.arange(batch)[:, None] * side + rows) * side
    index = torch.from_numpy(rows).to(pixels.device)[:, :, None] + torch.from_numpy(columns).to(pixels.device)[:, None]
    return pixels.reshape(-1, channels).index_select(0, index.view(-1)).view(pixels.shape)


def _window(side: int, pad: int, position: NDArray[np.float64]) -> NDArray[np.int64]:
    """[B, side]: which row each row of a window comes from; beyond an edge they run back (edge not repeated)."""
    offset = np.floor(position * (2 * pad + 1)).astype(np.int64) - pad
    period = max(1, 2 * (side - 1))
    source: NDArray[np.int64] = (np.arange(side) + offset[:, None]) % period
    return np.minimum(source, period - source, out=source)


def _affine_options(config: DataConfig) -> tuple[float, float, float]:
    return config.rotation, config.translate, config.scale


def _affine(pixels: Tensor, config: DataConfig, draws: Draws) -> Tensor:
    """Rotate and zoom about the centre, then shift: one bilinear sampling, reflecting at the edges."""
    angle = np.deg2rad(config.rotation) * (2 * draws.angle - 1)
    zoom = 1 + config.scale * (2 * draws.zoom - 1)
    shift = 2 * config.translate * (2 * np.stack([draws.shift_x, draws.shift_y], axis=1) - 1)  # the side is 2 long
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    back = np.stack([np.stack([cos, sin], axis=1), np.stack([-sin, cos], axis=1)], axis=1)  # output to input
    theta = np.concatenate([back, -back @ shift[:, :, None]], axis=2).astype(np.float32)
    images = pixels.permute(0, 3, 1, 2).to(torch.float32)
    grid = torch.nn.functional.affine_grid(
        torch.from_numpy(theta).to(pixels.device), list(images.shape), align_corners=False
    )
    moved = torch.nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return moved.permute(0, 2, 3, 1).contiguous()


def _around_one(spread: float, position: NDArray[np.float64], device: torch.device) -> Tensor:
    """Factors within 1 plus or minus `spread`: float32 [B, 1, 1, 1]."""
    factors = (1 + spread * (2 * position - 1)).astype(np.float32)
    return torch.from_numpy(factors).to(device)[:, None, None, None]
