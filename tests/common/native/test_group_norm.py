"""The compiled operation against PyTorch's own."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedshelf.common import models
from fedshelf.common.models import SCENES
from fedshelf.common.models.head import set_training
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.native.fuse import fuse
from fedshelf.common.native.group_norm import GroupNorm, group_norm


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("channels", "groups", "side"), [(16, 8, 16), (12, 3, 5), (7, 1, 3), (5, 5, 4), (64, 8, 1)]
)
@pytest.mark.parametrize("relu", [True, False])
def test_results_and_gradients_are_those_of_the_layers(
    channels: int, groups: int, side: int, relu: bool
) -> None:
    torch.manual_seed(1)
    norm = nn.GroupNorm(groups, channels)
    with torch.no_grad():
        norm.weight.uniform_(-2, 2)
        norm.bias.uniform_(-1, 1)
    plain = nn.Sequential(norm, *([nn.ReLU()] if relu else []))
    fused = fuse(plain, torch.zeros(1, channels, side, side))
    assert [type(layer) for layer in fused.children()] == [GroupNorm]
    pixels = 3 + 2 * torch.randn(4, channels, side, side)  # off centre, as activations are
    mine = pixels.clone().requires_grad_()
    torchs = pixels.clone().requires_grad_()
    got = fused(mine)
    expected = plain(torchs)
    assert relative(got.detach(), expected.detach()) < 1e-5
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(got, [mine, *norm.parameters()], upstream)
    wanted = torch.autograd.grad(expected, [torchs, *norm.parameters()], upstream)
    assert all(relative(a, b) < 1e-4 for a, b in zip(gradients, wanted, strict=True))


def test_by_hand() -> None:
    """Two pixels of one channel, 1 and 3: mean 2, standard deviation 1."""
    fused = fuse(nn.Sequential(nn.GroupNorm(1, 1, eps=0)), torch.zeros(1, 1, 2, 2))
    assert fused(torch.tensor([[[[1.0, 3.0], [3.0, 1.0]]]])).tolist() == [[[[-1, 1], [1, -1]]]]


def test_what_is_not_a_number_stays_so() -> None:
    fused = fuse(nn.Sequential(nn.GroupNorm(1, 2), nn.ReLU()), torch.zeros(1, 2, 2, 2))
    assert fused(torch.full((1, 2, 2, 2), float("nan"))).isnan().all()


@pytest.mark.parametrize(
    "norm",
    [nn.GroupNorm(2, 4, affine=False), nn.GroupNorm(2, 4).requires_grad_(requires_grad=False)],
)
def test_norms_without_weights_that_train_are_left_alone(norm: nn.GroupNorm) -> None:
    plain = nn.Sequential(norm, nn.ReLU())
    assert list(fuse(plain, torch.zeros(1, 4, 2, 2)).children()) == list(plain)


@pytest.mark.parametrize("name", SCENES)
def test_norms_within_our_networks_are_fused_for_all_sizes(name: str) -> None:
    """A copy computes what the network does, in both modes, with the network's own layers."""
    spec = ModelSpec(name, ("product", "other"), 32, 3, (0.5,) * 3, (0.25,) * 3)
    module = models.build(spec)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.GroupNorm)]
    names = [key for key, _ in module.named_parameters()]
    fused = fuse(module, torch.zeros(1, 3, 32, 32))
    assert [layer.norm for layer in fused.modules() if isinstance(layer, GroupNorm)] == norms
    assert [key for key, _ in module.named_parameters()] == names
    for side, mode in ((32, True), (48, False)):
        set_training(module, mode=mode)
        pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))
        got, expected = fused(pixels), module(pixels)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
        mine, torchs = (
            torch.autograd.grad(each.square().sum(), list(module.parameters()))
            for each in (got, expected)
        )
        assert all(relative(a, b) < 1e-3 for a, b in zip(mine, torchs, strict=True))


def test_the_layer_after_a_norm_may_change_its_result_in_place() -> None:
    """As ReLU6 does in MobileNets."""
    images = torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(1))
    gradients = []
    for is_compiled in (False, True):
        norm = nn.GroupNorm(4, 16)
        layer = group_norm(norm, relu=False) if is_compiled else norm
        assert layer is not None
        functional.relu6(layer(images), inplace=True).square().sum().backward()
        assert norm.weight.grad is not None
        gradients.append(norm.weight.grad)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-4)
