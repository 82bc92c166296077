"""The networks for scenes: sizes, shapes, gradients, and learning from one photo."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedshelf.common import models
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.scenes.boxes import Boxes, overlaps
from fedshelf.common.scenes.centre_loss import centre_losses, centre_targets
from fedshelf.common.scenes.centre_map import boxes_of_map
from fedshelf.server.training.setup import settle
from tests.helpers.model_specs import described


def network(name: str, classes: int = 1, channels: int = 3) -> torch.nn.Module:
    return models.build(described(name, classes=classes, size=48, channels=channels), seed=1)


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        # 3x3 convolutions 3*16, 16*32, 32*64, 64*64 six times, 32*32; 1x1 64*64+64,
        # 64*32+32; norms 2*(16+32+7*64+32); head 32*5+5
        (
            "locator",
            1,
            9 * (48 + 512 + 2048 + 6 * 4096 + 1024) + 4160 + 2080 + 1056 + 165,
        ),
        # 3x3: 3*16, 16*16, 16*24, 24*24, 24*32, 32*32, 32*48, 48*48; 80*32, 56*24, 40*16; norms
        # 4*(16+24+32+48) down, 2*(32+24+16) up; head 16*2+2
        ("unet", 2, 9 * (48 + 256 + 384 + 576 + 768 + 1024 + 1536 + 2304 + 4544) + 480 + 144 + 34),
    ],
)
def test_has_as_many_weights_as_its_layers_by_hand(
    name: str, classes: int, parameters: int
) -> None:
    assert sum(weight.numel() for weight in network(name, classes).parameters()) == parameters


@pytest.mark.parametrize(("height", "width"), [(8, 8), (44, 60), (104, 32)])
@pytest.mark.parametrize("channels", [1, 3])
def test_results_have_a_place_for_each_cell_or_pixel(
    height: int, width: int, channels: int
) -> None:
    pixels = torch.zeros(2, channels, height, width)
    cells = height // 4, width // 4
    assert network("locator", 3, channels)(pixels).shape == (2, 3 + 4, *cells)
    assert network("unet", 3, channels)(pixels).shape == (2, 3, height, width)


def test_a_first_map_expects_few_products() -> None:
    scores = network("locator")(torch.randn(2, 3, 48, 48))[:, 0].sigmoid()
    assert 0.003 < scores.mean() < 0.03


@pytest.mark.parametrize("name", ["locator", "unet"])
def test_every_parameter_gets_a_gradient(name: str) -> None:
    module = network(name, 2)
    module(torch.randn(2, 3, 48, 48)).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in module.parameters())


def test_a_side_that_is_no_multiple_of_the_stride_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"4 px or more, a multiple of 4, but .* is 50"):
        described("locator", size=50)
    assert described("locator", size=52).image_size == 52


def test_networks_for_scenes_do_not_tell_the_class_of_a_photo() -> None:
    assert [models.output_of(name) for name in ("cnn", "locator", "unet")] == [
        "classes",
        "boxes",
        "masks",
    ]
    with pytest.raises(ConfigError, match="objective got classes with model locator, which tells"):
        settle(resolve({"model.name": "locator"}), None, 3)


def test_the_locator_learns_where_products_stand() -> None:
    """Two photos with a bright rectangle each, learned by heart in 60 steps."""
    true = torch.tensor([[[4.0, 8, 20, 40, -1]], [[24, 4, 44, 22, -1]]])
    pixels = torch.full((2, 3, 48, 48), -1.0)
    for photo, box in zip(pixels, true[:, 0, :4].int().tolist(), strict=True):
        photo[:, box[1] : box[3], box[0] : box[2]] = 1
    module = network("locator")
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
    targets = centre_targets(true, 1, 4, 12, 12)
    for _ in range(60):
        optimizer.zero_grad()
        centre_losses(module(pixels), targets).mean().backward()
        optimizer.step()
    for result, expected in zip(module(pixels).detach().numpy(), true.numpy(), strict=True):
        found = boxes_of_map(result, 4, least_score=0.3)
        assert len(found) == 1
        assert overlaps(found, Boxes.drawn(expected[:, :4])).item() > 0.7


def test_the_u_net_learns_which_pixels_are_a_product() -> None:
    pixels = torch.zeros(1, 3, 32, 32)
    mask = torch.zeros(1, 32, 32, dtype=torch.int64)
    pixels[:, :, 6:20, 10:25] = 1
    mask[:, 6:20, 10:25] = 1
    module = network("unet", 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        functional.cross_entropy(module(pixels), mask).backward()
        optimizer.step()
    assert np.mean((module(pixels).argmax(1) == mask).numpy()) > 0.99
