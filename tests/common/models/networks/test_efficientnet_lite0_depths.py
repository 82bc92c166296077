"""The head's inputs against activations that timm's network shows, and pooling by hand."""

import math

import pytest
import torch
from torch import Tensor

from fedshelf.common import models
from fedshelf.common.models.frozen_part import cut
from fedshelf.common.models.head import set_training
from fedshelf.common.models.networks.efficientnet_lite0_depths import (
    ROOT_OFFSET,
    EfficientNetLite0Depths,
    WindowPooling,
)
from fedshelf.common.models.spec import ModelSpec

timm = pytest.importorskip("timm")


def spec(freeze: str = "none") -> ModelSpec:
    name = "efficientnet-lite0-depths"
    half = (0.5, 0.5, 0.5)
    return ModelSpec(name, ("hat", "shoe"), 96, 3, half, half, norm="frozen", freeze=freeze)


def test_a_window_weighs_the_middle_most() -> None:
    # two pixels lie a quarter of the side from the middle, so their weights are equal
    assert WindowPooling()(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])).item() == pytest.approx(4)
    # three lie 1/3, 0 and 1/3 of the side from it: exp(-(1/3)^2 / (2 / 16)) = 0.411
    outer = math.exp(-8 / 9)
    share = 1 / (1 + 2 * outer)
    middle = torch.zeros(1, 1, 3, 3)
    middle[0, 0, 1, 1] = 1
    assert WindowPooling()(middle).item() == pytest.approx(share**2)
    corner = torch.zeros(1, 1, 3, 3)
    corner[0, 0, 0, 2] = 1
    assert WindowPooling()(corner).item() == pytest.approx((share * outer) ** 2)


def test_the_head_gets_roots_of_three_depths_of_timms_network() -> None:
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=2).eval()
    ours = models.build(spec()).eval()
    assert isinstance(ours, EfficientNetLite0Depths)
    backbone = {k: v for k, v in theirs.state_dict().items() if not k.startswith("classifier")}
    assert not ours.load_state_dict(backbone, strict=False).unexpected_keys
    seen: dict[str, Tensor] = {}
    for name in ("blocks.3.0.bn1", "blocks.5.0.bn1"):  # timm's norms include the activation
        theirs.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output})
        )
    heard: list[Tensor] = []
    ours.classifier.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    pictures = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        ours(pictures)
        seen["final"] = theirs.bn2(
            theirs.conv_head(theirs.blocks(theirs.bn1(theirs.conv_stem(pictures))))
        )
    pool = WindowPooling()
    expected = torch.cat(
        [
            factor * (pool(seen[name]) + ROOT_OFFSET).sqrt()
            for name, factor in (("final", 0.5), ("blocks.3.0.bn1", 3.5), ("blocks.5.0.bn1", 2.0))
        ],
        dim=1,
    )
    assert expected.shape == (2, 1280 + 240 + 672)
    torch.testing.assert_close(heard[0], expected)


def test_its_frozen_part_ends_at_the_head() -> None:
    module = models.build(spec("backbone"))
    set_training(module, mode=False)
    parts = cut(module, torch.zeros(1, 3, 96, 96))
    assert parts is not None
    assert parts.shape == (2192,)
    pictures = torch.rand(5, 3, 96, 96, generator=torch.Generator().manual_seed(4))
    channels_last = pictures.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        together = parts.backbone(channels_last)
        alone = torch.cat([parts.backbone(picture) for picture in channels_last.split(1)])
        torch.testing.assert_close(parts.rest(together), module(pictures), rtol=1e-4, atol=1e-5)
    assert torch.equal(together, alone)
