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
from fedshelf.common.scenes.tiles import spread_tiles

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
        shares: of the views of 1, 2 by 2, 3 by 3 tiles and so on, each told by at most nine tiles;
            0 in all tiles that are looked at later
    """

    def __init__(self, *shares: float) -> None:
        self.description = DESCRIPTION
        self.pixel_format = PixelFormat(32)
        self.tiles = 0  # that were looked at
        self._scores: list[float] = []
        for view, share in enumerate(shares, start=1):
            boxes = 10 * len(spread_tiles(view))
            sure = round(share * boxes)
            self._scores += [0.9] * sure + [0.2] * (boxes - sure)

    def locate(self, pixels: Pixels) -> list[Boxes]:
        scores = self._scores[10 * self.tiles :][:10] or [0.2] * 10
        self.tiles += 1
        left = np.arange(10, dtype=np.float32) * 3 + 1
        corners = np.stack([left, left, left + 2, left + 2], axis=1)
        return [Boxes(corners, np.full(10, -1), np.array(scores, np.float32))]


@pytest.mark.parametrize(
    ("shares", "views", "best"),
    [
        ((0.5, 0.9, 0.7, 0.6, 1), 4, 2),  # two views after the best one are less sure
        ((0.5, 0.9, 0.7, 1, 0.6, 0.5, 1), 6, 4),  # one alone does not end the search
        ((0, 0.3, 0, 0, 0.8, 0.7, 0.6, 1), 7, 5),  # of few sure boxes it says nothing
    ],
)
def test_it_looks_closer_until_the_share_of_sure_boxes_stays_smaller(
    shares: tuple[float, ...], views: int, best: int
) -> None:
    """The tiles by which views were judged, and those of the best one that were not among them."""
    locator = SureInTiles(*shares)
    found = locate_scene(locator, Image.new("RGB", (512, 512)), score=0.5)
    judged = [min(view, 3) ** 2 for view in range(1, views + 1)]
    assert locator.tiles == sum(judged) + best**2 - judged[best - 1]
    assert len(found) > 0


def test_one_sure_box_alone_does_not_end_the_search() -> None:
    """1 of 1 and two more is a third; all views after it are surer than 0 and less sure than it."""

    class OneSure(SureInTiles):
        def locate(self, pixels: Pixels) -> list[Boxes]:
            (boxes,) = super().locate(pixels)
            return [boxes.select(np.arange(1))] if self.tiles == 1 else [boxes]

    locator = OneSure(0.1, 0.2, 0.2, 0.6, 0, 0)
    locate_scene(locator, Image.new("RGB", (512, 512)))
    assert locator.tiles == 1 + 4 + 4 * 9 + (16 - 9)


def test_there_are_at_most_twelve_tiles_in_a_row_and_none_is_smaller_than_the_square() -> None:
    for side, most in ((31, 1), (57, 2), (2000, 12)):
        locator = SureInTiles(*[view / 20 for view in range(1, 13)])
        locate_scene(locator, Image.new("RGB", (side, side)))
        assert locator.tiles == sum(min(view, 3) ** 2 for view in range(1, most)) + most**2
