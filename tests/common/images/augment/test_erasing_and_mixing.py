import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.common.config import DataConfig
from fedshelf.common.images.augment import BatchBounds, augment, transform
from fedshelf.common.images.augment.erasing import GREY
from tests.helpers.drawn import augmented, drawn, noise, ramp

ERASING = DataConfig(flip=False, erasing=0.5)
MIXUP = DataConfig(flip=False, mixup=0.5)
CUTMIX = DataConfig(flip=False, cutmix=0.5)


def test_a_rectangle_is_greyed_out() -> None:
    # 24 of 100 pixels
    numbers = drawn(erase=0.4, erase_area=(0.24 - 0.02) / 0.38, erase_y=0.0, erase_x=0.999)
    result = transform(ramp(side=10), ERASING, numbers)[0, :, :, 0]
    grey = result == GREY
    # a square of 4.9
    assert grey.nonzero().tolist() == [[row, column] for row in range(5) for column in range(5, 10)]
    assert torch.equal(result[~grey], ramp(side=10)[0, :, :, 0][~grey])


def test_its_height_to_its_width_is_the_aspect() -> None:
    black = torch.zeros(1, 20, 20, 1, dtype=torch.uint8)
    tall = (
        transform(black, ERASING, drawn(erase=0.0, erase_area=0.2, erase_aspect=1.0))[0, :, :, 0]
        == GREY
    )
    assert tall.any(dim=1).sum() / tall.any(dim=0).sum() == 11 / 3  # about 1 / 0.3
    assert tall.sum() == 33  # of 400: about 0.02 + 0.2 * 0.38


def test_other_images_stay() -> None:
    assert torch.equal(transform(ramp(), ERASING, drawn(erase=0.5)), ramp())


def test_erasing_takes_the_share_of_images_that_was_asked_for() -> None:
    erased, _ = augmented(noise(2000, 4), DataConfig(flip=False, erasing=0.3))
    assert (erased == GREY).all(dim=3).flatten(1).any(dim=1).float().mean() == pytest.approx(
        0.3, abs=0.03
    )


def mixed(config: DataConfig, images: int = 3, **fixed: float):
    """Images 0, 10, 20, ... all over."""
    pixels = (10 * torch.arange(images)).to(torch.uint8)[:, None, None, None].expand(-1, 4, 4, 1)
    numbers = drawn(images, **fixed)
    return augment(pixels, torch.arange(images), config, numbers, BatchBounds(0, images))


def test_mixup_by_hand() -> None:
    # the next image is the partner
    result, blend = mixed(MIXUP, mixup=0.4, mixup_share=0.25, partner=0.0)
    # a quarter of 0, 10, 20 and the rest of 10, 20, 0
    assert result[:, 0, 0, 0].tolist() == [7.5, 17.5, 5.0]
    assert blend.others.tolist() == [1, 2, 0]
    assert blend.shares.tolist() == [0.25] * 3


def test_cutmix_by_hand() -> None:
    # Three quarters remain: a rectangle of half the side, from row 1 to 2 and column 2 to 3.
    result, blend = mixed(
        CUTMIX, cutmix=0.4, cutmix_share=0.75, cutmix_y=0.5, cutmix_x=0.8, partner=0.99
    )
    assert result.dtype == torch.uint8
    assert blend.others.tolist() == [2, 0, 1]
    assert result[1, :, :, 0].tolist() == [
        [10, 10, 10, 10],
        [10, 10, 0, 0],
        [10, 10, 0, 0],
        [10, 10, 10, 10],
    ]
    assert blend.shares.tolist() == [0.75] * 3


def test_a_rectangle_over_the_edge_counts_as_much_as_is_seen() -> None:
    result, blend = mixed(
        CUTMIX, cutmix=0.4, cutmix_share=0.0, cutmix_y=0.0, cutmix_x=0.0, partner=0.0
    )
    assert result[0, :, :, 0].tolist() == [
        [10, 10, 0, 0],
        [10, 10, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert blend.shares.tolist() == [0.75] * 3


def test_where_nothing_is_mixed_in_the_image_is_all_there_is() -> None:
    result, blend = mixed(DataConfig(flip=False, mixup=0.5, cutmix=0.5), mixup=0.5, cutmix=0.5)
    assert result[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert blend.shares.tolist() == [1, 1, 1]


def test_an_image_that_is_cut_is_not_blended() -> None:
    both = DataConfig(flip=False, mixup=1.0, cutmix=0.5)
    numbers = {"cutmix": 0.4, "cutmix_share": 0.75, "partner": 0.0, "mixup_share": 0.5}
    result, blend = mixed(both, **numbers)
    expected, alone = mixed(CUTMIX, **numbers)
    assert torch.equal(result, expected.float())
    assert torch.equal(blend.shares, alone.shares)


@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_partners_are_others_of_the_same_batch(sizes: list[int], seed: int) -> None:
    """Batches that lie one after the other, each with room for six."""
    numbers = torch.rand(
        6 * len(sizes), drawn().shape[1], dtype=torch.float64, generator=torch.manual_seed(seed)
    )
    first = (6 * torch.arange(len(sizes))).repeat_interleave(6)
    pixels = noise(6 * len(sizes), 2)
    places = torch.arange(6 * len(sizes))
    batches = BatchBounds(first, torch.tensor(sizes).repeat_interleave(6))
    _, blend = augment(pixels, places, MIXUP, numbers, batches)
    for batch, size in enumerate(sizes):
        own = slice(6 * batch, 6 * batch + size)
        assert blend is not None
        others = blend.others[own] - 6 * batch
        assert ((others >= 0) & (others < size)).all()
        assert (others != torch.arange(size)).all() or size == 1
        alone = augment(pixels[own], places[own], MIXUP, numbers[own], BatchBounds(0, size))[1]
        assert alone is not None
        assert torch.equal(alone.others, blend.others[own])
        assert torch.equal(alone.shares, blend.shares[own])


@pytest.mark.parametrize("option", ["mixup", "cutmix"])
def test_each_image_has_its_own_share(option: str) -> None:
    _, blend = augmented(noise(16), DataConfig.model_validate({option: 1.0}))
    assert blend is not None
    assert len(set(blend.shares.tolist())) > 8
    assert len(set(blend.others.tolist())) > 4


def test_every_other_image_is_as_likely_a_partner() -> None:
    numbers = drawn(5).repeat(400, 1)
    numbers[:, 17] = (torch.arange(2000) // 5 + 0.5) / 400
    batches = BatchBounds(5 * (torch.arange(2000) // 5), torch.full((2000,), 5))
    _, blend = augment(noise(2000, 1), torch.arange(2000) % 5, MIXUP, numbers, batches)
    assert blend is not None
    assert blend.others[::5].bincount().tolist() == [0, 100, 100, 100, 100]
