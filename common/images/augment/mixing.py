"""Mixtures of two images of a batch: mixup and cutmix.

Zhang, Cisse, Dauphin and Lopez-Paz 2018, "mixup: Beyond Empirical Risk Minimization"; Yun, Han, Oh,
Chun, Choe and Yoo 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with
Localizable Features". Both papers draw the share of the first image from Beta(alpha, alpha). Here
alpha is 1 (a uniform share, as in cutmix), and the setting is the share of the images that are
mixed at all. Each image has a partner and a share of its own.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fedshelf.common.config import DataConfig
from fedshelf.common.images.augment.draws import FurtherDraws
from fedshelf.common.images.augment.erasing import span_mask


class Blend(NamedTuple):
    """The targets and shares of mixed images.

    The loss of an image is share L(own target) + (1 - share) L(other target).

    others: int64 [B], targets of the partners
    shares: float32 [B], share of the image itself; 1 if nothing was mixed in
    """

    others: Tensor
    shares: Tensor


class BatchBounds(NamedTuple):
    """The batch of each of B images, in which it finds its partner.

    Both are int64 [B], or one number for all images.

    first: index of the batch's first image
    sizes: images in the batch
    """

    first: Tensor | int
    sizes: Tensor | int


def mix(
    pixels: Tensor, targets: Tensor, config: DataConfig, draws: FurtherDraws, batches: BatchBounds
) -> tuple[Tensor, Blend | None]:
    """Mix some images with partners of their batch; an image is its own partner only if alone.

    Mixup leaves an image alone if cutmix has taken it.

    Args:
        pixels: [B, S, S, C], uint8 or float32
        targets: int64 [B]
        config: its options `mixup` and `cutmix`, shares of the images
        draws: float64 [B] each
        batches: the batch of each image

    Returns:
        pixels of the same shape; and the blend, None if both options are off
    """
    if not (config.mixup or config.cutmix):
        return pixels, None
    partners = _partners(draws.partner, batches)
    shares = torch.ones(len(pixels), dtype=torch.float32, device=pixels.device)
    mixed = pixels
    cut = torch.zeros_like(shares, dtype=torch.bool)
    if config.cutmix:
        cut = draws.cutmix < config.cutmix
        mixed, shares = _cut(pixels, partners, cut, draws)
    if config.mixup:
        blended = (draws.mixup < config.mixup) & ~cut
        share = torch.where(blended, draws.mixup_share.to(torch.float32), 1.0)
        mixed = torch.lerp(
            pixels.index_select(0, partners).float(), mixed.float(), share[:, None, None, None]
        )
        shares = shares * share
    return mixed, Blend(targets.index_select(0, partners), shares)


def _partners(position: Tensor, batches: BatchBounds) -> Tensor:
    """Return the index of each image's partner: int64 [B].

    It is one of the others of the batch, each as likely.

    position: float64 [B], uniform in [0, 1)
    """
    index_in_batch = torch.arange(len(position), device=position.device) - batches.first
    others = batches.sizes - 1
    step = 1 + (position * others).floor().to(torch.int64)
    return batches.first + (index_in_batch + step) % batches.sizes


def _cut(
    pixels: Tensor, partners: Tensor, cut: Tensor, draws: FurtherDraws
) -> tuple[Tensor, Tensor]:
    """Put a rectangle of the partner, at the same position, into each image that `cut` selects.

    Return the images, [B, S, S, C], and the share of each that is left, float32 [B].

    cut: bool [B]
    """
    side = pixels.shape[1]
    half = (side * (1 - draws.cutmix_share).sqrt() / 2).floor()
    middle_y = (draws.cutmix_y * side).floor()
    middle_x = (draws.cutmix_x * side).floor()
    rows = span_mask(side, middle_y - half, middle_y + half)
    columns = span_mask(side, middle_x - half, middle_x + half)
    rows &= cut[:, None]
    area = rows.sum(dim=1) * columns.sum(dim=1)
    inside = rows[:, :, None, None] & columns[:, None, :, None]
    return (
        torch.where(inside, pixels.index_select(0, partners), pixels),
        1 - area.to(torch.float32) / side**2,
    )
