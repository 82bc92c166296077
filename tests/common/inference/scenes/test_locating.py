"""The score from which on boxes count is the one that the model carries."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.locators.box_predictor import STRIDE
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Pixels
from fedshelf.common.inference.scenes.locating import counting_score, locate_scene
from fedshelf.common.models.networks import locator as locator_network
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.scenes.boxes import Boxes

DESCRIPTION = ModelDescription(
    ModelSpec("locator", ("product",), 32, 3, (0.5,) * 3, (0.5,) * 3), ("product",)
)


class TwoBoxes:
    """A locator that finds the same two boxes on each photo, with scores 0.25 and 0.5."""

    def __init__(self, counting: Mapping[str, Any] | None) -> None:
        self.description = replace(DESCRIPTION, provenance={"counting": counting})
        self.pixel_format = PixelFormat(32)

    def locate(self, pixels: Pixels) -> list[Boxes]:
        corners = np.array([[0, 0, 8, 8], [16, 16, 24, 24]], np.float32)
        boxes = Boxes(corners, np.full(2, -1), np.array([0.5, 0.25], np.float32))
        return [boxes] * len(pixels)


@pytest.mark.parametrize(
    ("counting", "score", "found"),
    [
        (None, 0.3, 1),
        ({"threshold": 0.2}, 0.2, 2),
        ({"threshold": 0.6}, 0.6, 0),
        ({"threshold": 0.01}, 0.1, 2),  # boxes below 0.1 are not told at all
        ({"threshold": "high"}, 0.3, 1),
    ],
)
def test_boxes_count_from_the_score_that_counted_best(
    counting: Mapping[str, Any] | None, score: float, found: int
) -> None:
    locator = TwoBoxes(counting)
    assert counting_score(locator) == score
    photo = Image.new("RGB", (32, 32))
    assert len(locate_scene(locator, photo, tiles=1)) == found
    assert len(locate_scene(locator, photo, tiles=1, score=0.4)) == 1


def test_the_stride_without_pytorch_is_the_networks() -> None:
    assert STRIDE == locator_network.STRIDE


class SureInTiles:
    """A locator of ten boxes in each tile, of which a given share of each view is sure.

    Args:
        shares: of the views of 1, 2 by 2, 3 by 3 tiles and so on
    """

    def __init__(self, *shares: float) -> None:
        self.description = DESCRIPTION
        self.pixel_format = PixelFormat(32)
        self.views = 0  # that were looked at
        self._shares = shares
        self._waiting: list[float] = []  # scores of the boxes in the tiles that follow

    def locate(self, pixels: Pixels) -> list[Boxes]:
        if not self._waiting:
            self.views += 1
            boxes = 10 * self.views**2
            sure = round(self._shares[self.views - 1] * boxes)
            self._waiting = [0.9] * sure + [0.2] * (boxes - sure)
        scores, self._waiting = self._waiting[:10], self._waiting[10:]
        left = np.arange(10, dtype=np.float32) * 3 + 1
        corners = np.stack([left, left, left + 2, left + 2], axis=1)
        return [Boxes(corners, np.full(10, -1), np.array(scores, np.float32))]


@pytest.mark.parametrize(
    ("shares", "views"),
    [
        ((0.5, 0.9, 0.7, 1), 3),  # looks no closer after a fall
        ((0, 0.1, 0, 1), 3),  # a tenth is enough to tell it
        ((0, 0, 0, 0.6, 0.5, 1), 5),
    ],
)
def test_it_looks_closer_until_the_share_of_sure_boxes_falls(
    shares: tuple[float, ...], views: int
) -> None:
    locator = SureInTiles(*shares)
    assert len(locate_scene(locator, Image.new("RGB", (512, 512)), score=0.5)) > 0
    assert locator.views == views


def test_a_fall_of_nearly_nothing_does_not_end_the_search() -> None:
    """One box in forty is sure in 2 by 2 tiles, none in 3 by 3, and all are in 4 by 4."""
    locator = SureInTiles(0, 0.025, 0, 1, 0.5, 1)
    assert len(locate_scene(locator, Image.new("RGB", (512, 512)), score=0.5)) > 100
    assert locator.views == 5
