"""Against torchvision's operations, which take one image and one strength at a time."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from fedshelf.common.config import DataConfig
from fedshelf.common.images.augment import transform, trivial
from tests.helpers.drawn import augmented, drawn, noise, ramp

ON = DataConfig(flip=False, trivial_augment=True)


def changed(pixels: Tensor, name: str, level: int, sign: float = 0.9) -> Tensor:
    """`pixels` after one operation at a level from 0 to 30; a sign above one half is positive."""
    place = (trivial.OPERATION_NAMES.index(name) + 0.5) / len(trivial.OPERATION_NAMES)
    return transform(
        pixels, ON, drawn(len(pixels), operation=place, level=(level + 0.5) / 31, sign=sign)
    )


def smooth(images: int = 3, side: int = 32) -> Tensor:
    """Images without noise, where bilinear sampling and torchvision's nearest pixel differ
    little.
    """
    small = noise(images, 4).permute(0, 3, 1, 2).float()
    large = torch.nn.functional.interpolate(small, size=side, mode="bicubic", align_corners=False)
    return large.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def theirs(pixels: Tensor, function, *given) -> Tensor:
    return torch.stack(
        [function(image.permute(2, 0, 1), *given).permute(1, 2, 0) for image in pixels]
    )


@pytest.mark.parametrize("level", [0, 7, 30])
@pytest.mark.parametrize("sign", [0.1, 0.9])
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("brightness", functional.adjust_brightness), ("colour", functional.adjust_saturation),
        ("contrast", functional.adjust_contrast), ("sharpness", functional.adjust_sharpness),
    ],
)  # fmt: skip
def test_enhancements(name: str, function, sign: float, level: int) -> None:
    pixels = noise(3)
    factor = 1 + math.copysign(0.99 * level / 30, sign - 0.5)
    found = changed(pixels, name, level, sign)
    expected = theirs(pixels, function, factor)
    assert (found.int() - expected.int()).abs().max() <= 2  # they cut decimals off where we round


@pytest.mark.parametrize(("level", "bits"), [(0, 8), (5, 7), (15, 5), (30, 2)])
def test_posterize_and_solarize(level: int, bits: int) -> None:
    pixels = noise(3)
    assert torch.equal(
        changed(pixels, "posterize", level), theirs(pixels, functional.posterize, bits)
    )
    expected = theirs(pixels, functional.solarize, 255 * (1 - level / 30))
    assert torch.equal(changed(pixels, "solarize", level), expected)


def test_what_has_no_strength() -> None:
    pixels = smooth() // 2 + 30
    assert torch.equal(changed(pixels, "identity", 30), pixels)
    assert torch.equal(changed(pixels, "autocontrast", 30), theirs(pixels, functional.autocontrast))
    assert torch.equal(changed(pixels, "equalize", 30), theirs(pixels, functional.equalize))


@pytest.mark.parametrize("sign", [0.1, 0.9])
@pytest.mark.parametrize("name", ["shear x", "shear y", "translate x", "translate y", "rotate"])
def test_moves_are_those_of_torchvision_but_for_the_direction(name: str, sign: float) -> None:
    """Compared where their result shows the image: beyond its edges they paint black, we
    reflect.
    """
    pixels = smooth(side=33)
    level = 10
    found = changed(pixels, name, level, sign).int()
    closest = 255.0
    for direction in (-1, 1):
        shear = math.degrees(math.atan(0.99 * level / 30)) * direction
        options: dict = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        options |= {
            "shear x": {"shear": [shear, 0.0]}, "shear y": {"shear": [0.0, shear]},
            "translate x": {"translate": [round(33 * 0.15) * direction, 0]},
            "translate y": {"translate": [0, round(33 * 0.15) * direction]},
            "rotate": {"angle": 45.0 * direction},
        }[name]  # fmt: skip
        given = torch.cat([pixels, torch.full_like(pixels[..., :1], 255)], dim=-1).permute(
            0, 3, 1, 2
        )
        expected = functional.affine(given, interpolation=v2.InterpolationMode.BILINEAR, **options)
        shown = (expected[:, 3:] == 255).permute(0, 2, 3, 1)
        assert shown.float().mean() > 0.5
        difference = (found - expected[:, :3].permute(0, 2, 3, 1).int()).abs() * shown
        closest = min(closest, float(difference.float().mean()))
    assert closest < 1.5


def test_a_move_of_no_strength_changes_nothing() -> None:
    for name in ("shear x", "translate y", "rotate"):
        assert torch.equal(changed(noise(2), name, 0), noise(2))


def test_each_operation_is_as_likely() -> None:
    numbers = drawn(1400)
    numbers[:, 9] = (torch.arange(1400) + 0.5) / 1400
    operations = (numbers[:, 9] * len(trivial.OPERATION_NAMES)).floor().long()
    assert operations.bincount().tolist() == [100] * 14
    numbers[:, 10] = 0.999
    pixels = (smooth(1, 32) // 2 + 30).repeat(1400, 1, 1, 1)
    result = transform(pixels, ON, numbers)
    assert len({tuple(image.flatten().tolist()) for image in result}) == 14


@pytest.mark.parametrize("channels", [1, 3])
def test_grouped_images_and_all_at_once_are_the_same(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(64, 8, channels)
    grouped, _ = augmented(pixels, ON)
    monkeypatch.setattr(trivial, "variant_for", lambda _: trivial.apply_to_all)
    together, _ = augmented(pixels, ON)
    assert grouped.dtype == together.dtype == torch.uint8
    assert torch.equal(grouped, together)
    assert not torch.equal(grouped, pixels)


def test_it_takes_what_an_affine_map_left() -> None:
    config = DataConfig(flip=False, rotation=10, trivial_augment=True)
    result = transform(ramp(2), config, drawn(2, operation=0.0))
    assert torch.equal(result, ramp(2))
