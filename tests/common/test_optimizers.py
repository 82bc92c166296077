"""Our flat optimizers take the very steps of torch.optim."""

from collections.abc import Callable

import pytest
import torch

from common.config import TrainConfig
from common.optimizers import OPTIMIZERS


def theirs_sgd(w: torch.Tensor, c: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD([w], lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)


def theirs_adam(w: torch.Tensor, c: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam([w], lr=c.lr, weight_decay=c.weight_decay)


def theirs_adamw(w: torch.Tensor, c: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW([w], lr=c.lr, weight_decay=c.weight_decay)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("name", "make"), [("sgd", theirs_sgd), ("adam", theirs_adam), ("adamw", theirs_adamw)])
def test_equals_torch(name: str, make: Callable, momentum: float, decay: float) -> None:
    config = TrainConfig(optimizer=name, lr=0.03, momentum=momentum, weight_decay=decay)
    ours = torch.linspace(-2, 2, 50)
    theirs = ours.clone().requires_grad_()
    optimizer, reference = OPTIMIZERS[name](config), make(theirs, config)
    for step in range(10):
        gradient = torch.sin(ours * (step + 1))
        theirs.grad = gradient.clone()
        reference.step()
        optimizer.step(ours, gradient, config.lr)
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-7)
        ours = theirs.detach().clone()
