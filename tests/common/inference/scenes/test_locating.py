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
