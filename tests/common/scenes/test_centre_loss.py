"""Targets and loss of a map of centres, by hand; and both ways between boxes and maps."""

import math

import pytest
import torch

from fedshelf.common.scenes.centre_loss import CentreTargets, centre_losses, centre_targets
from fedshelf.common.scenes.centre_map import boxes_of_map
from fedshelf.common.scenes.difficult import DIFFICULT

BOX = [8.0, 4.0, 24.0, 20.0, 0.0]  # of 4x4 cells; the centre is in cell 4, 3
PADDING = [0.0] * 5


def perfect_map(targets: CentreTargets) -> torch.Tensor:
    """Return the map that tells each box exactly, with sure centres."""
    _, _, height, width = targets.corners.shape
    x, y = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
    left, top, right, bottom = targets.corners.unbind(1)
    edges = torch.stack([x - left, y - top, right - x, bottom - y], 1).clamp_min(0.01).log()
    return torch.cat([torch.where(targets.heat == 1, 40.0, -40.0), edges], 1)


def test_the_bump_has_its_peak_at_the_centre() -> None:
    targets = centre_targets(torch.tensor([[BOX, PADDING]]), 1, 4, 6, 8)
    assert targets.heat.shape == (1, 1, 6, 8)
    assert targets.counts.tolist() == [1]
    assert (targets.heat == 1).nonzero().tolist() == [[0, 0, 3, 4]]
    # 4 cells wide: a deviation of 0.09 * 4 is below the least one, 0.4
    assert targets.heat[0, 0, 3, 5].item() == pytest.approx(math.exp(-0.5 / 0.4**2))
    assert targets.weights.sum().item() == pytest.approx(1)
    assert targets.corners[0, :, 3, 4].tolist() == [2, 1, 6, 5]


def test_a_photo_without_boxes_has_an_empty_target_and_pays_for_guesses_alone() -> None:
    targets = centre_targets(torch.tensor([[PADDING], [BOX]]), 1, 4, 6, 8)
    assert targets.heat[0].max() == 0
    assert targets.weights[0].max() == 0
    sure, unsure = (
        centre_losses(torch.full((2, 5, 6, 8), level), targets)[0].item() for level in (-40.0, 0.0)
    )
    assert sure == pytest.approx(0, abs=1e-6)
    # 48 cells: p^2 (-log(1 - p)) at p = 1/2
    assert unsure == pytest.approx(48 * 0.25 * math.log(2))


def test_the_loss_of_one_cell_by_hand() -> None:
    """One cell of 1x1, p = 1/2 at its centre; the guessed box is twice as wide as the true one."""
    targets = centre_targets(torch.tensor([[[0.0, 0, 4, 4, -1]]]), 1, 4, 1, 1)
    edges = torch.tensor([1.0, 0.5, 1.0, 0.5]).log()
    centre_map = torch.cat([torch.zeros(1), edges]).view(1, 5, 1, 1)
    # (1 - p)^2 (-log p), and five times 1 - GIoU: the hull is the larger box, so GIoU is 1/2
    expected = 0.25 * math.log(2) + 5 * (1 - 0.5)
    assert centre_losses(centre_map, targets).item() == pytest.approx(expected)


def test_boxes_far_away_pay_more_than_boxes_near() -> None:
    targets = centre_targets(torch.tensor([[BOX]]), 1, 4, 6, 8)
    exact = perfect_map(targets)
    losses = [
        centre_losses(exact + torch.tensor([0.0, shift, 0, 0, 0]).view(1, 5, 1, 1), targets).item()
        for shift in (0.0, 0.1, 0.3, 1.0)
    ]
    assert losses[0] == pytest.approx(0, abs=1e-5)
    assert losses == sorted(losses)


def test_the_loss_of_a_photo_does_not_depend_on_its_batch() -> None:
    boxes = torch.tensor([[BOX, PADDING], [PADDING, PADDING], [BOX, [0.0, 0, 8, 9, 0]]])
    maps = torch.randn(3, 5, 6, 8, generator=torch.Generator().manual_seed(1))
    together = centre_losses(maps, centre_targets(boxes, 1, 4, 6, 8))
    alone = [
        centre_losses(maps[[i]], centre_targets(boxes[[i]], 1, 4, 6, 8)).item() for i in range(3)
    ]
    assert together.tolist() == pytest.approx(alone)


def test_a_guess_near_the_centre_of_a_difficult_product_costs_nothing() -> None:
    difficult = [*BOX[:4], DIFFICULT]
    targets = centre_targets(torch.tensor([[difficult]]), 1, 4, 6, 8)
    assert targets.counts.tolist() == [0]
    assert targets.heat.max() == targets.weights.max() == 0
    # the bump is exp(-0.5 / 0.4^2) = 0.04 one cell away, below the least weight of 0.1
    assert (~targets.is_asked).nonzero().tolist() == [[0, 3, 4]]
    free, wrong = torch.full((2, 1, 5, 6, 8), -40.0).unbind()
    free[0, 0, 3, 4], wrong[0, 0, 2, 4] = 4.0, 4.0
    assert centre_losses(free, targets).item() == pytest.approx(0, abs=1e-6)
    assert centre_losses(wrong, targets).item() > 1


def test_a_product_is_asked_for_in_front_of_a_difficult_one() -> None:
    behind = [BOX[0] + 1, *BOX[1:4], DIFFICULT]  # its centre is in the same cell
    alone = centre_targets(torch.tensor([[BOX]]), 1, 4, 6, 8)
    both = centre_targets(torch.tensor([[BOX, behind]]), 1, 4, 6, 8)
    assert both.is_asked.all()
    assert torch.equal(both.heat, alone.heat)
    assert torch.equal(both.weights, alone.weights)


def test_boxes_are_read_back_from_their_own_targets() -> None:
    boxes = torch.tensor([[[4.0, 4, 20, 28, 1], [24, 0, 44, 23, 0], [2, 30, 40, 47, 1], PADDING]])
    targets = centre_targets(boxes, 2, 4, 12, 12)
    assert targets.counts.tolist() == [3]
    found = boxes_of_map(perfect_map(targets)[0].numpy(), 4)
    assert sorted(zip(found.corners.round().tolist(), found.classes.tolist(), strict=True)) == (
        sorted((box[:4], int(box[4])) for box in boxes[0, :3].tolist())
    )


def test_the_gradient_is_that_of_the_equation() -> None:
    targets = centre_targets(torch.tensor([[BOX]], dtype=torch.float64), 1, 4, 6, 8)
    start = torch.randn(1, 5, 6, 8, generator=torch.Generator().manual_seed(2)).double()
    assert torch.autograd.gradcheck(
        lambda maps: centre_losses(maps, targets), start.requires_grad_(), atol=1e-4
    )
