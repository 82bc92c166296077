"""Targets and loss of a locator's map of centres and edges (see `models.networks.locator`).

Centres: the penalty-reduced focal loss of Law and Deng 2018 ("CornerNet", Equation 1), as Zhou,
Wang and Krähenbühl 2019 ("Objects as Points", Equation 1) use it, over a heat map with a Gaussian
bump on each box. Its deviations follow the box's width and height (Liu et al. 2020,
"Training-Time-Friendly Network for Real-Time Object Detection", Section 3.2).

Edges: 1 - GIoU (Rezatofighi et al. 2019, "Generalized Intersection over Union") of the box that a
cell tells and the true one, in all cells near the centre, weighted by the bump (Liu et al.). It
asks for tight boxes of all sizes alike, where a difference of logarithms asks for large ones only.

A product that is hardly seen is neither asked for nor wrong: cells near its centre cost nothing.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fedshelf.common.scenes.difficult import DIFFICULT

EDGES = 4
DEVIATION = (
    0.09  # of the bump, as a share of the box's side: alpha / 6 with alpha 0.54 (Liu et al.)
)
LEAST_DEVIATION = 0.4  # cells; narrower bumps would be single cells
LEAST_WEIGHT = 0.1  # of the bump; cells with less do not tell the box
FOCUS, PENALTY = 2, 4  # alpha and beta of Law and Deng
EDGES_SHARE = 5.0  # of the edges' loss, beside 1 for the centres (Liu et al., Section 3.4)


class CentreTargets(NamedTuple):
    """The targets of a batch of maps.

    Attributes:
        heat: float32 [B, C, H, W], 1 in the cell of a centre and less around it
        corners: float32 [B, 4, H, W], the box that a cell tells: corners in cells
        weights: float32 [B, H, W], of a cell's box; they sum to 1 over the cells of one box
        counts: float32 [B], boxes of each photo
        is_asked: bool [B, H, W], False near the centre of a product that is hardly seen
    """

    heat: Tensor
    corners: Tensor
    weights: Tensor
    counts: Tensor
    is_asked: Tensor


def centre_targets(
    boxes: Tensor, classes: int, stride: int, height: int, width: int
) -> CentreTargets:
    """Return the targets of a batch.

    Args:
        boxes: float32 [B, K, 5]: left, top, right, bottom in pixels and the class; rows without an
            area are padding; a product that is hardly seen has the class `DIFFICULT`; other
            classes below 0 count as class 0
        classes: C
        stride: pixels of a photo for one cell
        height: H, cells
        width: W, cells
    """
    batch = len(boxes)
    if not boxes.shape[1]:  # no photo of a data set has a product
        boxes = boxes.new_zeros(batch, 1, 5)
    corners = boxes[:, :, :4] / stride
    low, high = corners[:, :, :2], corners[:, :, 2:]
    sides = (high - low).clamp_min(0)
    is_difficult = boxes[:, :, 4] == DIFFICULT
    has_area = sides.prod(2) > 0
    is_box = has_area & ~is_difficult
    every_bump = _bumps((low + high) / 2, sides, height, width)
    bumps = every_bump * is_box[:, :, None, None]
    difficult = (every_bump * (has_area & is_difficult)[:, :, None, None]).amax(1)
    labels = boxes[:, :, 4].to(torch.int64).clamp_min(0)
    of_class = functional.one_hot(labels, classes).to(bumps.dtype).transpose(1, 2)
    heat = torch.stack(
        [(bumps * share[:, :, None, None]).amax(1) for share in of_class.unbind(1)], dim=1
    )
    # where bumps meet, the cell tells the box of the higher one
    nearness, nearest = bumps.max(dim=1)
    weights = torch.where(nearness >= LEAST_WEIGHT, nearness, 0)
    cells = nearest.flatten(1)
    # no scatter: on a CUDA device its sums take another order each time
    places = torch.arange(boxes.shape[1], device=boxes.device)[:, None]
    sums = torch.where(cells[:, None] == places, weights.flatten(1)[:, None], 0).sum(2)
    shares = weights / sums.gather(1, cells).view_as(weights).clamp_min(1e-6)
    told = corners.gather(1, cells[:, :, None].expand(-1, -1, EDGES))
    return CentreTargets(
        heat,
        told.transpose(1, 2).reshape(batch, EDGES, height, width),
        shares,
        is_box.sum(1),
        (difficult < LEAST_WEIGHT) | (difficult <= nearness),
    )


def _bumps(centres: Tensor, sides: Tensor, height: int, width: int) -> Tensor:
    """Return a Gaussian bump for each box, 1 in the cell of its centre: [B, K, H, W].

    Args:
        centres: [B, K, 2], x and y in cells
        sides: [B, K, 2], width and height in cells
        height: H, cells
        width: W, cells
    """
    cells = centres.floor()
    deviations = (DEVIATION * sides).clamp_min(LEAST_DEVIATION)
    profiles = []
    for axis, length in enumerate((width, height)):
        middle = cells[:, :, axis, None].clamp(0, length - 1)
        distances = torch.arange(length, device=centres.device) - middle
        profiles.append(torch.exp(-0.5 * (distances / deviations[:, :, axis, None]).square()))
    return profiles[1][:, :, :, None] * profiles[0][:, :, None, :]


def centre_losses(maps: Tensor, targets: CentreTargets) -> Tensor:
    """Return the loss of each photo, float32 [B].

    It is the sum over cells divided by the photo's boxes, at least 1.

    Args:
        maps: float32 [B, C + 4, H, W], a locator's result
        targets: those of the same photos
    """
    counts = targets.counts.clamp_min(1)
    at_cells = _focal(maps[:, :-EDGES], targets.heat).sum(1)
    centres = (at_cells * targets.is_asked).sum((1, 2))
    missed = 1 - _overlap(maps[:, -EDGES:], targets.corners)
    edges = (missed * targets.weights).sum((1, 2))
    return (centres + EDGES_SHARE * edges) / counts


def _focal(logits: Tensor, heat: Tensor) -> Tensor:
    """Return the penalty-reduced focal loss of each cell.

    It is -(1 - p)^2 log p at a centre, else -(1 - heat)^4 p^2 log(1 - p).
    """
    present, absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    probability = logits.sigmoid()
    at_centre = -((1 - probability) ** FOCUS) * present
    elsewhere = -((1 - heat) ** PENALTY) * probability**FOCUS * absent
    return torch.where(heat == 1, at_centre, elsewhere)


def _overlap(edges: Tensor, corners: Tensor) -> Tensor:
    """Return GIoU, -1 to 1, of each cell's box and the true one: [B, H, W].

    Args:
        edges: [B, 4, H, W], logarithms of distances in cells
        corners: [B, 4, H, W], in cells
    """
    height, width = edges.shape[2:]
    middle_x = torch.arange(width, device=edges.device) + 0.5
    middle_y = torch.arange(height, device=edges.device)[:, None] + 0.5
    left, top, right, bottom = edges.clamp(-10, 10).exp().unbind(1)
    true_left, true_top = middle_x - corners[:, 0], middle_y - corners[:, 1]
    true_right, true_bottom = corners[:, 2] - middle_x, corners[:, 3] - middle_y
    shared_width = torch.minimum(left, true_left) + torch.minimum(right, true_right)
    shared_height = torch.minimum(top, true_top) + torch.minimum(bottom, true_bottom)
    shared = shared_width.clamp_min(0) * shared_height.clamp_min(0)
    true_area = (true_left + true_right) * (true_top + true_bottom)
    union = (left + right) * (top + bottom) + true_area - shared
    hull = (torch.maximum(left, true_left) + torch.maximum(right, true_right)) * (
        torch.maximum(top, true_top) + torch.maximum(bottom, true_bottom)
    )
    return shared / union.clamp_min(1e-6) - (hull - union) / hull.clamp_min(1e-6)
