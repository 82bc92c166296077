"""Zones: a part of the picture."""

import pytest
from PIL import Image

from fedshelf.common.errors import ConfigError
from fedshelf.common.inference.video.zone import parse_zone

FRAME = Image.new("RGB", (200, 100))
FRAME.paste((255, 0, 0), (50, 20, 150, 70))


@pytest.mark.parametrize("text", ["50,20,100,50", "0.25,0.2,0.5,0.5", " 0.25, 0.2,0.5,0.5"])
def test_pixels_and_fractions_mean_the_same(text: str) -> None:
    part = parse_zone(text).crop(FRAME)
    assert part.size == (100, 50)
    assert part.getcolors() == [(5000, (255, 0, 0))]


def test_one_is_the_whole_frame() -> None:
    assert parse_zone("0,0,1,1").crop(FRAME).size == (200, 100)


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3", "a,b,c,d", "0.5,0,100,50", "0,0,0,50", "0.5,0,0.6,1", "-1,0,5,5", "0,0,nan,1",
     "0,0,inf,5", "1,2,3,4,5"],
)  # fmt: skip
def test_other_zones_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--zone got"):
        parse_zone(text)


def test_a_zone_must_lie_in_the_frame() -> None:
    with pytest.raises(ConfigError, match="reaches to 201,50; the frames have 200 x 100"):
        parse_zone("101,0,100,50").crop(FRAME)
    with pytest.raises(ConfigError, match="smaller than a pixel"):
        parse_zone("0,0,0.001,1").crop(FRAME)
