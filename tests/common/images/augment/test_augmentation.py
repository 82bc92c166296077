import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.common.config import DataConfig
from fedshelf.common.images.augment import (
    BatchBounds,
    augment,
    draws_per_image,
    normalise,
    transform,
)
from fedshelf.common.images.augment.draws import BASIC_DRAWS, FURTHER_DRAWS
from fedshelf.common.seeding import rng
from tests.helpers.drawn import augmented, drawn, noise, ramp, stream

OFF = DataConfig(flip=False)
VIEW = {
    "flip": True,
    "crop": 2,
    "rotation": 20,
    "translate": 0.1,
    "scale": 0.2,
    "brightness": 0.3,
    "contrast": 0.3,
}
ALL = DataConfig(**VIEW, trivial_augment=True, erasing=0.5, mixup=0.5, cutmix=0.5)


def test_nothing_on_changes_and_draws_nothing() -> None:
    pixels = ramp(3)
    result, blend = augmented(pixels, OFF)
    assert result is pixels
    assert blend is None
    assert stream(OFF).take(3).shape == (3, 0)


def test_the_default_s_pixels_stay_what_they_were() -> None:
    """Nine numbers an image, in this order: a change here changes what every seed gives."""
    pixels = noise(8)
    mirrored = rng(7, "augment", 1, "store").random((8, 9))[:, 0] < 0.5
    expected = torch.stack(
        [image.flip(1) if flip else image for image, flip in zip(pixels, mirrored, strict=True)]
    )
    assert 0 < mirrored.sum() < 8
    assert torch.equal(augmented(pixels, DataConfig())[0], expected)


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
    assert torch.equal(augmented(single, DataConfig(crop=3))[0], single)


def test_half_a_turn_is_two_mirrorings() -> None:
    turned = transform(ramp(side=6), DataConfig(flip=False, rotation=180), drawn(angle=1.0))
    torch.testing.assert_close(turned, ramp(side=6).flip(1, 2).float(), atol=1e-2, rtol=0)


def test_translation_moves_by_a_share_of_the_side() -> None:
    moved = transform(
        ramp(side=4), DataConfig(flip=False, translate=0.25), drawn(shift_x=1.0)
    )  # one pixel to the right
    torch.testing.assert_close(
        moved[0, 0, :, 0], torch.tensor([0.0, 0.0, 1.0, 2.0]), atol=1e-4, rtol=0
    )


def test_zoom_enlarges_about_the_centre() -> None:
    zoomed = transform(
        ramp(side=4), DataConfig(flip=False, scale=0.9), drawn(zoom=0.5 + 0.5 / 0.9 * 1.0 * 0.5)
    )
    # A factor of 1.5: columns at -1.5, -0.5, 0.5, 1.5 from the centre are taken from -1, -1/3, 1/3,
    # 1.
    torch.testing.assert_close(
        zoomed[0, 0, :, 0] - zoomed[0, 0, 0, 0],
        torch.tensor([0, 2 / 3, 4 / 3, 2]),
        atol=1e-2,
        rtol=0,
    )


def test_affine_in_the_middle_of_its_range_is_the_identity() -> None:
    config = DataConfig(flip=False, rotation=90, translate=0.5, scale=0.5)
    torch.testing.assert_close(
        transform(ramp(), config, drawn()), ramp().float(), atol=1e-3, rtol=0
    )


def test_brightness_multiplies_and_stays_in_range() -> None:
    config = DataConfig(flip=False, brightness=0.5)
    pixels = torch.tensor([0, 100, 200], dtype=torch.uint8).view(1, 1, 1, 3)
    assert transform(pixels, config, drawn(brightness=1.0)).flatten().tolist() == [0, 150, 255]
    assert transform(pixels, config, drawn(brightness=0.0)).flatten().tolist() == [0, 50, 100]


def test_contrast_spreads_about_the_image_s_own_mean() -> None:
    config = DataConfig(flip=False, contrast=0.5)
    pixels = torch.tensor([[80, 120, 100], [10, 10, 10]], dtype=torch.uint8).view(2, 1, 1, 3)
    changed = transform(pixels, config, drawn(images=2, contrast=1.0))
    torch.testing.assert_close(
        changed.view(2, 3), torch.tensor([[70.0, 130.0, 100.0], [10.0, 10.0, 10.0]])
    )


def test_the_same_address_gives_the_same_images_and_another_does_not() -> None:
    assert np.array_equal(stream(ALL, round=3).take(5), stream(ALL, round=3).take(5))
    assert not (stream(ALL, round=3).take(5) == stream(ALL, round=4).take(5)).any()
    pixels = noise(5)
    once, again = (augmented(pixels, ALL) for _ in range(2))
    assert torch.equal(once[0], again[0])


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
            "trivial_augment": True,
            "erasing": 1.0,
        }.items()
    ],
)
def test_each_image_has_its_own_draw(option: dict[str, float]) -> None:
    changed, _ = augmented(ramp(16, side=8), DataConfig(**option))
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 1


def test_an_image_s_draw_does_not_depend_on_the_options() -> None:
    bright, _ = augmented(ramp(4), DataConfig(flip=False, brightness=0.5))
    both, _ = augmented(ramp(4), DataConfig(flip=True, brightness=0.5))
    assert torch.equal(bright.sum(dim=(1, 2, 3)), both.sum(dim=(1, 2, 3)))
    plain = stream(DataConfig()).take(4)
    more = stream(DataConfig(erasing=0.1)).take(4)
    assert (plain.shape, more.shape) == ((4, BASIC_DRAWS), (4, BASIC_DRAWS + FURTHER_DRAWS))
    assert np.array_equal(plain, more[:, :BASIC_DRAWS])
    assert np.array_equal(more, stream(ALL).take(4))


@pytest.mark.parametrize("config", [OFF, DataConfig(), ALL])
@given(batches=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_batches_draw_what_all_of_them_draw_at_once(config: DataConfig, batches: list[int]) -> None:
    """So that a schedule may draw a round's numbers at once."""
    one_by_one = stream(config)
    at_once = stream(config).take(sum(batches))
    assert np.array_equal(np.concatenate([one_by_one.take(images) for images in batches]), at_once)
    assert at_once.shape[1] == draws_per_image(config)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 9), st.sampled_from([1, 3]))
def test_values_stay_in_range_and_the_shape_stays(
    seed: int, images: int, side: int, channels: int
) -> None:
    pixels = noise(images, side, channels, seed)
    before = pixels.clone()
    numbers = torch.from_numpy(
        np.random.default_rng(seed).random((images, BASIC_DRAWS + FURTHER_DRAWS))
    )
    changed, blend = augment(pixels, torch.arange(images), ALL, numbers, BatchBounds(0, images))
    assert changed.shape == pixels.shape
    assert torch.equal(pixels, before)
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 255
    assert blend is not None
    assert 0 <= float(blend.shares.min()) <= float(blend.shares.max()) <= 1


def test_normalise_by_hand_in_channels_last_order() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(2, 4, 5, 3)
    result = normalise(pixels, (0.5, 0.2, 0.0), (0.5, 0.1, 2.0))
    assert result.shape == (2, 3, 4, 5)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result[1, :, 3, 4], torch.tensor([-1.0, 0.0, 0.5]))
    torch.testing.assert_close(normalise(pixels.float(), (0.5, 0.2, 0.0), (0.5, 0.1, 2.0)), result)
