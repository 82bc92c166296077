"""The compiled loss of boxes against PyTorch's own operations."""

import pytest
import torch

from fedshelf.common.native.centre_loss import box_losses
from fedshelf.common.scenes.centre_loss import centre_losses, centre_targets
from fedshelf.common.scenes.difficult import DIFFICULT

STRIDE, HEIGHT, WIDTH = 4, 13, 17


def drawn_boxes(photos: int, count: int, classes: int) -> torch.Tensor:
    """Boxes that overlap, padding, products that are hardly seen; the first photo has none."""
    random = torch.Generator().manual_seed(classes)
    low = torch.rand(photos, count, 2, generator=random)
    low *= STRIDE * torch.tensor([WIDTH, HEIGHT]) - 8
    sides = 30 * torch.rand(photos, count, 2, generator=random)
    labels = torch.randint(DIFFICULT, classes, (photos, count, 1), generator=random)
    boxes = torch.cat([low, low + sides, labels], 2)
    boxes[0] = 0
    boxes[1, count // 2 :] = 0
    return boxes


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("classes", "count"), [(1, 9), (3, 9), (1, 0)])
def test_losses_and_gradients_are_those_of_the_equations(
    classes: int, count: int, order: torch.memory_format
) -> None:
    boxes = drawn_boxes(5, count, classes)
    random = torch.Generator().manual_seed(1)
    maps = 3 * torch.randn(5, classes + 4, HEIGHT, WIDTH, generator=random)
    maps[:, -4:, 0, 0] = torch.tensor([11.0, -11, 0, 2])  # beyond where logarithms are cut
    mine, torchs = (maps.contiguous(memory_format=order).requires_grad_() for _ in range(2))
    got = box_losses(mine, boxes, STRIDE)
    expected = centre_losses(torchs, centre_targets(boxes, classes, STRIDE, HEIGHT, WIDTH))
    assert type(got.grad_fn).__name__ == "_BoxLossesBackward"
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    shares = torch.arange(1.0, 6)
    (gradient,) = torch.autograd.grad(got @ shares, mine)
    (wanted,) = torch.autograd.grad(expected @ shares, torchs)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


def test_what_is_not_a_number_stays_so() -> None:
    maps = torch.zeros(1, 5, HEIGHT, WIDTH)
    maps[0, 0, 3, 3] = float("nan")
    assert box_losses(maps, drawn_boxes(3, 4, 1)[2:], STRIDE).isnan().all()


def test_other_precision_is_left_to_pytorch() -> None:
    maps = torch.zeros(1, 5, HEIGHT, WIDTH, dtype=torch.float64)
    losses = box_losses(maps, drawn_boxes(3, 4, 1)[2:], STRIDE)
    assert losses.dtype == torch.float64
