"""The bare loop for scenes computes what our training does."""

import pytest
import torch

from benchmarks.rivals.plain_scenes import LOSSES
from fedshelf.common.config import TrainConfig
from fedshelf.common.tasks import TASKS
from tests.helpers.small_scenes import SIDE, scenes


@pytest.mark.parametrize(
    ("network", "objective", "shape"),
    [("locator", "boxes", (5, SIDE // 4, SIDE // 4)), ("unet", "masks", (2, SIDE, SIDE))],
)
def test_its_loss_and_gradient_are_ours(
    network: str, objective: str, shape: tuple[int, ...]
) -> None:
    targets = scenes(6, objective).learned
    outputs = torch.randn(6, *shape, generator=torch.Generator().manual_seed(1))
    found = []
    for loss in (LOSSES[network], TASKS[objective].loss):
        leaf = outputs.clone().requires_grad_()
        given = (leaf, targets) if loss is LOSSES[network] else (leaf, targets, TrainConfig())
        value = loss(*given)
        found.append((value.item(), *torch.autograd.grad(value, leaf)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
