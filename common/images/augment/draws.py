"""The numbers that images draw for their augmentation, and their order."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.config import DataConfig
from fedshelf.common.images.augment import own
from fedshelf.common.seeding import rng


class BasicDraws(NamedTuple):
    """The numbers for flip, crop, affine and colour options: uniform in [0, 1), float64 [B]."""

    flip: Tensor
    crop_y: Tensor
    crop_x: Tensor
    angle: Tensor
    shift_y: Tensor
    shift_x: Tensor
    zoom: Tensor
    brightness: Tensor
    contrast: Tensor


class FurtherDraws(NamedTuple):
    """The numbers for the options that change more than a view of the image.

    Each is uniform in [0, 1): float64 [B].
    """

    operation: Tensor
    level: Tensor
    sign: Tensor
    erase: Tensor
    erase_area: Tensor
    erase_aspect: Tensor
    erase_y: Tensor
    erase_x: Tensor
    partner: Tensor
    mixup: Tensor
    mixup_share: Tensor
    cutmix: Tensor
    cutmix_share: Tensor
    cutmix_y: Tensor
    cutmix_x: Tensor


BASIC_DRAWS = len(BasicDraws._fields)
FURTHER_DRAWS = len(FurtherDraws._fields)


class DrawStream:
    """The numbers that the images of one local training draw, batch after batch.

    Basic, further and own numbers have an address each: an option of one kind changes nothing for
    the other kinds.
    """

    def __init__(self, config: DataConfig, seed: int, round_number: int, store: str) -> None:
        self.width = draws_per_image(config)
        self._basic = rng(seed, "augment", round_number, store)
        self._further = rng(seed, "augment further", round_number, store)
        self._own = rng(seed, "augment own", round_number, store)

    def take(self, images: int) -> NDArray[np.float64]:
        """Return the next images' numbers: float64 [images, width]."""
        if self.width <= BASIC_DRAWS:
            return self._basic.random((images, self.width))
        return np.hstack(
            [
                self._basic.random((images, BASIC_DRAWS)),
                self._further.random((images, FURTHER_DRAWS)),
                self._own.random((images, self.width - BASIC_DRAWS - FURTHER_DRAWS)),
            ]
        )


def draws_per_image(config: DataConfig) -> int:
    """Return how many numbers an image draws: 0 if all options are off."""
    if config.augmentation:
        return BASIC_DRAWS + FURTHER_DRAWS + own.find(config.augmentation).draws
    if config.trivial_augment or config.erasing or config.mixup or config.cutmix:
        return BASIC_DRAWS + FURTHER_DRAWS
    plain = (config.flip, config.crop, config.rotation, config.translate, config.scale)
    return BASIC_DRAWS if any(plain) or config.brightness or config.contrast else 0


def basic_draws(numbers: Tensor) -> BasicDraws:
    """Return the basic numbers of `numbers`, float64 [B, width]."""
    return BasicDraws(*numbers[:, :BASIC_DRAWS].unbind(1))


def further_draws(numbers: Tensor) -> FurtherDraws:
    """Return the further numbers of `numbers`, float64 [B, width].

    They exist only if an option needs them.
    """
    return FurtherDraws(*numbers[:, BASIC_DRAWS : BASIC_DRAWS + FURTHER_DRAWS].unbind(1))


def own_draws(numbers: Tensor) -> Tensor:
    """Return the numbers for an augmentation of one's own, float64 [B, draws]."""
    return numbers[:, BASIC_DRAWS + FURTHER_DRAWS :]
