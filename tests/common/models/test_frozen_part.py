"""The two parts of a network with frozen layers against the whole of it."""

import pytest
import torch
from torch import Tensor, nn

from fedshelf.common import models
from fedshelf.common.models.frozen_part import FrozenPart, cut
from fedshelf.common.models.head import set_training
from fedshelf.common.models.spec import ModelSpec


def network(name: str, freeze: str, size: int = 64, channels: int = 3) -> nn.Module:
    """A network whose batch norms have seen images, so that their statistics matter."""
    spec = ModelSpec(
        name, ("a", "b"), size, channels, (0.5,) * channels, (0.25,) * channels, freeze=freeze
    )
    module = models.build(spec, seed=3)
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    set_training(module, mode=False)
    return module


def pictures(count: int, size: int = 64) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))


def parts(module: nn.Module, size: int = 64) -> FrozenPart:
    found = cut(module, torch.zeros(1, 3, size, size))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "freeze", "shape"),
    [
        ("cnn", "backbone", (256,)),
        ("efficientnet-lite0", "backbone", (1280,)),
        ("efficientnet-lite0", "last:2", (192, 2, 2)),
        ("resnet18", "last:1", (512, 2, 2)),
        ("mobilenet_v3_small", "backbone", (1024,)),
        ("squeezenet1_1", "backbone", (512, 3, 3)),
        # a map before the last block, and the pooled activations of two depths
        ("efficientnet-lite0-depths", "last:1", (320 * 2 * 2 + 240 + 672,)),
        ("densenet121", "last:1", (1024 * 2 * 2,)),
    ],
)
def test_parts_equal_the_whole(name: str, freeze: str, shape: tuple[int, ...]) -> None:
    module = network(name, freeze)
    two = parts(module)
    images = pictures(5)
    with torch.inference_mode():
        whole = module(images)
        features = two.backbone(images)
        scores = two.rest(features)
    assert features.shape == (5, *shape) == (5, *two.shape)
    assert features.dtype == torch.float32
    torch.testing.assert_close(scores, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))


@pytest.mark.parametrize(
    ("name", "freeze"), [("efficientnet-lite0-depths", "backbone"), ("resnet18", "last:1")]
)
def test_grey_images_pass_through_a_network_for_colour(name: str, freeze: str) -> None:
    module = network(name, freeze, channels=1)
    images = pictures(3)[:, :1]
    two = cut(module, images[:1])
    assert two is not None
    with torch.inference_mode():
        whole = module(images)
        scores = two.rest(two.backbone(images))
    torch.testing.assert_close(scores, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))


def test_an_image_has_the_same_features_whatever_its_batch() -> None:
    two = parts(network("efficientnet-lite0", "backbone"))
    images = pictures(21).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        together = two.backbone(images)
        alone = torch.cat([two.backbone(images[place : place + 1]) for place in range(21)])
    assert torch.equal(together, alone)


def test_the_rest_trains_the_layers_of_the_network() -> None:
    module = network("resnet18", "last:1")
    two = parts(module)
    trained = {name for name, weight in module.named_parameters() if weight.requires_grad}
    with torch.no_grad():
        features = two.backbone(pictures(2))
    two.rest(features).sum().backward()
    assert {
        name for name, weight in module.named_parameters() if weight.grad is not None
    } == trained
    assert not any(weight.requires_grad for weight in two.backbone.parameters())


def test_the_frozen_part_is_a_copy() -> None:
    module = network("resnet18", "backbone")
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    two = parts(module)
    with torch.no_grad():
        for weight in two.backbone.parameters():
            weight.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


class _Skipping(nn.Module):
    """Two values pass from frozen layers to the head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3).requires_grad_(False)
        self.second = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.head = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        one = self.first(images)
        two = self.second(one)
        joined: Tensor = self.head(torch.cat([one.mean((2, 3)), two.mean((2, 3))], dim=1))
        return joined


class _Crossing(nn.Module):
    """A map and two means pass from frozen layers to those that train."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(3, 4, 3).requires_grad_(False)
        self.block = nn.Conv2d(4, 2, 1)
        self.head = nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.frozen(images)
        means = maps.mean((2, 3))
        trained = self.block(maps).mean((2, 3))
        scores: Tensor = self.head(torch.cat([trained, means], dim=1))
        return scores


class _Choosing(nn.Module):
    """The way through it depends on the images."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3).requires_grad_(False)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        inner = self.first(images).mean((2, 3))
        if inner.sum() > 0:
            inner = -inner
        scores: Tensor = self.head(inner)
        return scores


def test_a_joined_value_is_the_cut_of_a_network_with_several_paths() -> None:
    assert parts(_Skipping(), 8).shape == (8,)


def test_values_that_cross_side_by_side_are_joined_in_the_order_they_are_made() -> None:
    module = _Crossing()
    two = parts(module, 8)
    images = pictures(3, 8)
    with torch.no_grad():
        maps = module.frozen(images)
        expected = torch.cat([maps.flatten(1), maps.mean((2, 3))], dim=1)
        features = two.backbone(images)
        assert two.shape == (4 * 6 * 6 + 4,)
        torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
        for count in (1, 3):  # any number of images
            torch.testing.assert_close(two.rest(features[:count]), module(images[:count]))


class _ByBatch(nn.Module):
    """The number of images passes from the frozen part to the head."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(3, 4, 3).requires_grad_(False)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.frozen(images)
        count = maps.shape[0]
        scores: Tensor = self.head(maps.mean((2, 3))).view(count, 2)
        return scores


def test_what_is_no_number_of_an_image_cannot_be_kept_for_it() -> None:
    assert cut(_ByBatch(), torch.zeros(1, 3, 8, 8)) is None


def test_a_network_that_cannot_be_cut_has_no_parts() -> None:
    example = torch.zeros(1, 3, 64, 64)
    assert cut(network("cnn", "none"), example) is None
    assert cut(_Choosing(), example) is None
    first_trains = _Skipping()
    first_trains.first.requires_grad_(True)
    assert cut(first_trains, example) is None
    hooked = network("efficientnet-lite0", "backbone")
    hooked.register_forward_pre_hook(lambda _, inputs: (2 * inputs[0],))
    assert cut(hooked, example) is None
