"""A locator and a U-Net trained as a good PyTorch user writes it, with nothing of ours.

Targets are made for one photo after the other, with all boxes of a photo at once; losses are of the
whole batch, by operations of PyTorch and torchvision. The equations are those of the papers that
`common.scenes.centre_loss` names.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss

STRIDE = 4  # pixels of a cell
HIDDEN = 255  # pixels of a mask that nobody knows
DIFFICULT = -2  # the class of a product that is hardly seen: no cell near its centre is judged

Loss = Callable[[Tensor, Tensor], Tensor]


def train_epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
    pixels: Tensor,
    targets: Tensor,
    batches: Iterable[Tensor],
    clip_norm: float,
) -> float:
    """Train on batches of scenes; return the mean loss of a scene."""
    total = 0.0
    for batch in batches:
        optimizer.zero_grad()
        loss = loss_of(module(pixels[batch]), targets[batch])
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), clip_norm)
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(pixels)


def locator_loss(maps: Tensor, boxes: Tensor) -> Tensor:
    """Return the focal loss of the centres and 5 times that of the boxes, mean over photos.

    Args:
        maps: float32 [B, 1 + 4, H, W]
        boxes: float32 [B, K, 5] in pixels, and the class; rows without an area are padding
    """
    height, width = maps.shape[2:]
    targets = [_targets(rows, height, width) for rows in boxes]
    heat, corners, weights, judged = (torch.stack(parts) for parts in zip(*targets, strict=True))
    counts = (heat == 1).sum((1, 2)).clamp_min(1)
    logits = maps[:, 0]
    chance = logits.sigmoid()
    centres = torch.where(
        heat == 1,
        -((1 - chance) ** 2) * functional.logsigmoid(logits),
        -((1 - heat) ** 4) * chance**2 * functional.logsigmoid(-logits),
    )
    centres = (centres * judged).sum((1, 2))
    photo, row, column = weights.nonzero(as_tuple=True)
    distances = maps[photo, 1:, row, column].exp()
    middle = torch.stack([column, row], 1) + 0.5
    found = torch.cat([middle - distances[:, :2], middle + distances[:, 2:]], 1)
    missed = generalized_box_iou_loss(found, corners[photo, row, column])
    edges = torch.zeros_like(centres).index_add(0, photo, missed * weights[photo, row, column])
    return ((centres + 5 * edges) / counts).mean()


def _targets(rows: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return heat [H, W], the box of each cell [H, W, 4], its weight and if it is judged [H, W].

    Args:
        rows: float32 [K, 5], boxes in pixels and their class
        height: H, cells
        width: W, cells
    """
    rows = rows[(rows[:, 2:4] > rows[:, :2]).all(1)]
    is_difficult = rows[:, 4] == DIFFICULT
    boxes = rows[~is_difficult, :4] / STRIDE
    heat, nearest = _highest(_bumps(boxes, height, width))
    unsure, _ = _highest(_bumps(rows[is_difficult, :4] / STRIDE, height, width))
    judged = (unsure < 0.1) | (unsure <= heat)
    if not len(boxes):
        return heat, boxes.new_zeros(height, width, 4), heat, judged
    weights = torch.where(heat >= 0.1, heat, 0)
    sums = torch.zeros(len(boxes), device=boxes.device).index_add(
        0, nearest.flatten(), weights.flatten()
    )
    return heat, boxes[nearest], weights / sums[nearest].clamp_min(1e-6), judged


def _bumps(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return the bump of each box [K, 4], in cells: [K, H, W]."""
    centres = (boxes[:, :2] + boxes[:, 2:]).div(2).floor()
    deviations = (0.09 * (boxes[:, 2:] - boxes[:, :2])).clamp_min(0.4)
    across = torch.arange(width, device=boxes.device) - centres[:, :1].clamp(0, width - 1)
    down = torch.arange(height, device=boxes.device) - centres[:, 1:].clamp(0, height - 1)
    x = torch.exp(-0.5 * (across / deviations[:, :1]) ** 2)
    y = torch.exp(-0.5 * (down / deviations[:, 1:]) ** 2)
    return y[:, :, None] * x[:, None]


def _highest(bumps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest of the bumps [K, H, W] in each cell, 0 if K is 0, and which one it is."""
    if not len(bumps):
        nothing = bumps.new_zeros(bumps.shape[1:])
        return nothing, nothing.to(torch.int64)
    highest, place = bumps.max(0)
    return highest, place


def unet_loss(scores: Tensor, masks: Tensor) -> Tensor:
    """Return the cross-entropy of a photo's known pixels, mean over photos."""
    losses = functional.cross_entropy(
        scores, masks.long(), ignore_index=HIDDEN, reduction="none"
    ).sum((1, 2))
    return (losses / (masks != HIDDEN).sum((1, 2)).clamp_min(1)).mean()


LOSSES: Mapping[str, Loss] = {"locator": locator_loss, "unet": unet_loss}
