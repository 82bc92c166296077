"""Augmentation that moves pixels: flip, crop, and affine maps."""

import math

import torch
from torch import Tensor

from fedshelf.common.config import DataConfig
from fedshelf.common.images.augment.draws import BasicDraws


def flip_and_crop(pixels: Tensor, config: DataConfig, draws: BasicDraws) -> Tensor:
    """Reflect-pad by `crop`, take a random window of the old size, and mirror.

    All in one gather of whole pixels.

    Args:
        pixels: uint8 [B, S, S, C]; the result has the same shape
        config: its options `flip` and `crop`
        draws: float64 [B] each
    """
    batch, side, _, channels = pixels.shape
    rows = _window(side, config.crop, draws.crop_y)
    columns = _window(side, config.crop, draws.crop_x)
    if config.flip:
        columns = torch.where(draws.flip[:, None] < 0.5, columns.flip(1), columns)
    rows = (torch.arange(batch, device=pixels.device)[:, None] * side + rows) * side
    index = rows[:, :, None] + columns[:, None]
    return pixels.reshape(-1, channels).index_select(0, index.view(-1)).view(pixels.shape)


def _window(side: int, pad: int, position: Tensor) -> Tensor:
    """Return the source row of each row of a window: int64 [B, side].

    Beyond an edge the rows run back (edge not repeated).
    """
    offset = window_offsets(pad, position)
    period = max(1, 2 * (side - 1))
    source = (torch.arange(side, device=position.device) + offset[:, None]) % period
    return torch.minimum(source, period - source)


def window_offsets(pad: int, position: Tensor) -> Tensor:
    """Return the rows by which windows begin below an image's first row: int64 [B].

    Args:
        pad: most rows, up and down
        position: float64 [B], drawn, 0 to 1
    """
    return (position * (2 * pad + 1)).floor().to(torch.int64) - pad


def affine(pixels: Tensor, config: DataConfig, draws: BasicDraws) -> Tensor:
    """Rotate and zoom images about the centre, then shift them.

    Args:
        pixels: [B, S, S, C]; the result has the same shape, float32
        config: its options `rotation`, `scale` and `translate`
        draws: float64 [B] each
    """
    angle = math.radians(config.rotation) * (2 * draws.angle - 1)
    zoom = 1 + config.scale * (2 * draws.zoom - 1)
    # the side is 2 long
    shift = 2 * config.translate * (2 * torch.stack([draws.shift_x, draws.shift_y], dim=1) - 1)
    cos = angle.cos() / zoom
    sin = angle.sin() / zoom
    # output to input
    back = torch.stack([torch.stack([cos, sin], dim=1), torch.stack([-sin, cos], dim=1)], dim=1)
    return warp(pixels, torch.cat([back, -back @ shift[:, :, None]], dim=2))


def warp(pixels: Tensor, theta: Tensor) -> Tensor:
    """Sample images bilinearly, reflecting at the edges.

    Args:
        pixels: [B, S, S, C]; the result has the same shape, float32
        theta: [B, 2, 3], from positions (x, y, 1) of the result to positions in `pixels`; an image
            reaches from -1 to 1
    """
    images = pixels.permute(0, 3, 1, 2).to(torch.float32)
    grid = torch.nn.functional.affine_grid(
        theta.to(torch.float32), list(images.shape), align_corners=False
    )
    moved = torch.nn.functional.grid_sample(
        images, grid, padding_mode="reflection", align_corners=False
    )
    return moved.permute(0, 2, 3, 1).contiguous()
