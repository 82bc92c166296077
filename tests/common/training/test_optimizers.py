"""Our flat optimizers take the very steps of torch.optim."""

from collections.abc import Callable

import pytest
import torch

from fedshelf.common.config import TrainConfig
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.training.optimizers import OPTIMIZERS, lr_shares


def theirs_sgd(w: torch.Tensor, c: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD([w], lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)


def theirs_adam(w: torch.Tensor, c: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam([w], lr=c.lr, weight_decay=c.weight_decay)


def theirs_adamw(w: torch.Tensor, c: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW([w], lr=c.lr, weight_decay=c.weight_decay)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(
    ("name", "make"), [("sgd", theirs_sgd), ("adam", theirs_adam), ("adamw", theirs_adamw)]
)
def test_equals_torch(name: str, make: Callable, momentum: float, decay: float) -> None:
    config = TrainConfig(optimizer=name, lr=0.03, momentum=momentum, weight_decay=decay)
    ours = torch.linspace(-2, 2, 50)
    theirs = ours.clone().requires_grad_()
    optimizer = OPTIMIZERS[name](config, None)
    reference = make(theirs, config)
    for step in range(10):
        gradient = torch.sin(ours * (step + 1))
        theirs.grad = gradient.clone()
        reference.step()
        optimizer.step(ours, gradient, config.lr)
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-7)
        ours = theirs.detach().clone()


@pytest.mark.parametrize(
    ("name", "make"), [("sgd", theirs_sgd), ("adam", theirs_adam), ("adamw", theirs_adamw)]
)
def test_shares_of_the_rate_are_torchs_parameter_groups(name: str, make: Callable) -> None:
    config = TrainConfig(optimizer=name, lr=0.03, momentum=0.9, weight_decay=0.1, backbone_lr=0.25)
    ours = torch.linspace(-2, 2, 10)
    share = torch.tensor([0.25] * 6 + [1.0] * 4)
    slow, fast = (part.clone().requires_grad_() for part in ours.split([6, 4]))
    optimizer = OPTIMIZERS[name](config, share)
    references = [make(slow, config), make(fast, config)]
    references[0].param_groups[0]["lr"] = 0.25 * 0.03
    for step in range(10):
        gradient = torch.sin(ours * (step + 1))
        slow.grad = gradient[:6].clone()
        fast.grad = gradient[6:].clone()
        for reference in references:
            reference.step()
        optimizer.step(ours, gradient, config.lr)
        torch.testing.assert_close(ours, torch.cat([slow, fast]).detach(), rtol=1e-5, atol=1e-6)


def test_a_step_by_hand_with_a_slower_backbone() -> None:
    """lr 0.1, of which the backbone takes a fifth: a gradient of 10 moves it by 0.2, the head
    by 1.
    """
    config = TrainConfig(lr=0.1, momentum=0.0, backbone_lr=0.2)
    shapes = (torch.Size([2]), torch.Size([1, 2]), torch.Size([1]))
    layout = Layout(("conv.weight", "fc.weight", "fc.bias"), shapes, trainable=5, size=5, head="fc")
    weights = torch.zeros(5)
    share = lr_shares(config, layout, weights.device)
    OPTIMIZERS["sgd"](config, share).step(weights, torch.full((5,), 10.0), config.lr)
    torch.testing.assert_close(weights, torch.tensor([-0.2, -0.2, -1.0, -1.0, -1.0]))
    assert lr_shares(TrainConfig(), layout, weights.device) is None
