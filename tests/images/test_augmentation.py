import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import DataConfig
from common.images.augment import Draws, augment, draw, normalise, transform
from common.seeding import rng

OFF = DataConfig(flip=False)
ALL = DataConfig(flip=True, crop=2, rotation=20, translate=0.1, scale=0.2, brightness=0.3, contrast=0.3)


def drawn(images: int = 1, **fixed: float) -> Draws:
    """The same numbers for all images; 0.5 changes nothing."""
    return Draws(*(torch.full((images,), fixed.get(name, 0.5), dtype=torch.float64) for name in Draws._fields))


def ramp(images: int = 1, side: int = 4, channels: int = 1) -> torch.Tensor:
    """Rows count in tens, columns in ones: pixel (2, 3) is 23."""
    values = torch.arange(side)[:, None] * 10 + torch.arange(side)
    return values.to(torch.uint8)[None, :, :, None].repeat(images, 1, 1, channels)


def generator() -> np.random.Generator:
    return rng(7, "augment", 1, "store")


def test_nothing_on_changes_and_draws_nothing() -> None:
    pixels, stream = ramp(3), generator()
    assert augment(pixels, OFF, stream) is pixels
    assert stream.random() == generator().random()


def test_flip_mirrors_left_and_right() -> None:
    config = DataConfig(flip=True)
    assert transform(ramp(), config, drawn(flip=0.4))[0, 1, :, 0].tolist() == [13, 12, 11, 10]
    assert transform(ramp(), config, drawn(flip=0.6))[0, 1, :, 0].tolist() == [10, 11, 12, 13]


def test_crop_shifts_and_reflects() -> None:
    config = DataConfig(flip=False, crop=2)  # offsets -2, -1, 0, 1, 2, a fifth of [0, 1) each
    up = transform(ramp(), config, drawn(crop_y=0.99))[0, :, :, 0]
    assert up[:, 0].tolist() == [20, 30, 20, 10]  # rows 2, 3, then back
    left = transform(ramp(), config, drawn(crop_x=0.0))[0, :, :, 0]
    assert left[0].tolist() == [2, 1, 0, 1]
    assert torch.equal(transform(ramp(), config, drawn()), ramp())


def test_crop_wider_than_the_image_runs_to_and_fro() -> None:
    window = transform(ramp(), DataConfig(flip=False, crop=7), drawn(crop_x=0.999))[0, 0, :, 0]
    assert window.tolist() == [1, 2, 3, 2]  # columns 7, 8, 9, 10 of 0 1 2 3 2 1 0 1 2 3 2 ...
    single = torch.full((2, 1, 1, 3), 9, dtype=torch.uint8)
    assert torch.equal(augment(single, DataConfig(crop=3), generator()), single)


def test_half_a_turn_is_two_mirrorings() -> None:
    turned = transform(ramp(side=6), DataConfig(flip=False, rotation=180), drawn(angle=1.0))
    torch.testing.assert_close(turned, ramp(side=6).flip(1, 2).float(), atol=1e-2, rtol=0)


def test_translation_moves_by_a_share_of_the_side() -> None:
    moved = transform(
        ramp(side=4), DataConfig(flip=False, translate=0.25), drawn(shift_x=1.0)
    )  # one pixel to the right
    torch.testing.assert_close(moved[0, 0, :, 0], torch.tensor([0.0, 0.0, 1.0, 2.0]), atol=1e-4, rtol=0)


def test_zoom_enlarges_about_the_centre() -> None:
    zoomed = transform(ramp(side=4), DataConfig(flip=False, scale=0.9), drawn(zoom=0.5 + 0.5 / 0.9 * 1.0 * 0.5))
    # A factor of 1.5: columns at -1.5, -0.5, 0.5, 1.5 from the centre are taken from -1, -1/3, 1/3, 1.
    torch.testing.assert_close(
        zoomed[0, 0, :, 0] - zoomed[0, 0, 0, 0], torch.tensor([0, 2 / 3, 4 / 3, 2]), atol=1e-2, rtol=0
    )


def test_affine_in_the_middle_of_its_range_is_the_identity() -> None:
    config = DataConfig(flip=False, rotation=90, translate=0.5, scale=0.5)
    torch.testing.assert_close(transform(ramp(), config, drawn()), ramp().float(), atol=1e-3, rtol=0)


def test_brightness_multiplies_and_stays_in_range() -> None:
    config = DataConfig(flip=False, brightness=0.5)
    pixels = torch.tensor([0, 100, 200], dtype=torch.uint8).view(1, 1, 1, 3)
    assert transform(pixels, config, drawn(brightness=1.0)).flatten().tolist() == [0, 150, 255]
    assert transform(pixels, config, drawn(brightness=0.0)).flatten().tolist() == [0, 50, 100]


def test_contrast_spreads_about_the_image_s_own_mean() -> None:
    config = DataConfig(flip=False, contrast=0.5)
    pixels = torch.tensor([[80, 120, 100], [10, 10, 10]], dtype=torch.uint8).view(2, 1, 1, 3)
    changed = transform(pixels, config, drawn(images=2, contrast=1.0))
    torch.testing.assert_close(changed.view(2, 3), torch.tensor([[70.0, 130.0, 100.0], [10.0, 10.0, 10.0]]))


def test_the_same_address_gives_the_same_images_and_another_does_not() -> None:
    pixels = torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    once, again = (augment(pixels, ALL, rng(7, "fit", 3, "b")) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, augment(pixels, ALL, rng(7, "fit", 4, "b")))


@pytest.mark.parametrize(
    "option",
    [{"flip": True}]
    + [
        {"flip": False, key: value}
        for key, value in {
            "crop": 2,
            "rotation": 30,
            "translate": 0.3,
            "scale": 0.3,
            "brightness": 0.5,
            "contrast": 0.5,
        }.items()
    ],
)
def test_each_image_has_its_own_draw(option: dict[str, float]) -> None:
    changed = augment(ramp(images=16), DataConfig(**option), generator())
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 1


def test_an_image_s_draw_does_not_depend_on_the_options() -> None:
    assert draw(4, generator()).crop_x.tolist() == draw(4, generator()).crop_x.tolist()
    bright = augment(ramp(4), DataConfig(flip=False, brightness=0.5), generator())
    both = augment(ramp(4), DataConfig(flip=True, brightness=0.5), generator())
    assert torch.equal(bright.sum(dim=(1, 2, 3)), both.sum(dim=(1, 2, 3)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 9), st.sampled_from([1, 3]))
def test_values_stay_in_range_and_the_shape_stays(seed: int, images: int, side: int, channels: int) -> None:
    pixels = torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (images, side, side, channels), dtype=np.uint8)
    )
    before = pixels.clone()
    changed = augment(pixels, ALL, np.random.default_rng(seed))
    assert changed.shape == pixels.shape
    assert torch.equal(pixels, before)
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 255


def test_normalise_by_hand_in_channels_last_order() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(2, 4, 5, 3)
    result = normalise(pixels, (0.5, 0.2, 0.0), (0.5, 0.1, 2.0))
    assert result.shape == (2, 3, 4, 5)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result[1, :, 3, 4], torch.tensor([-1.0, 0.0, 0.5]))
    torch.testing.assert_close(normalise(pixels.float(), (0.5, 0.2, 0.0), (0.5, 0.1, 2.0)), result)
