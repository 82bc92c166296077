"""Photos and overlays are pictures that a page can hold."""

import base64
import io

import numpy as np
from PIL import Image

from fedshelf.server.results.scenes.judging import MISSED, RIGHT, WRONG
from fedshelf.server.results.scenes.pictures import (
    COLOURS,
    MAX_BYTES,
    encoded_overlay,
    encoded_photos,
)


def opened(text: str, kind: str) -> Image.Image:
    head, _, data = text.partition(",")
    assert head == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_small_photos_keep_their_size_and_look_the_same() -> None:
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:, 32:] = 200, 100, 50
    grey = np.full((64, 64, 1), 90, np.uint8)
    first, second = (opened(text, "jpeg") for text in encoded_photos([colours, grey]))
    assert np.abs(np.asarray(first, np.int64) - colours)[:, :24].max() <= 3
    assert np.abs(np.asarray(first, np.int64) - colours)[:, 40:].max() <= 3
    assert np.abs(np.asarray(second, np.int64) - 90).max() <= 3


def test_large_noisy_photos_are_made_smaller_until_they_fit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 400, 400, 3), dtype=np.uint8)
    texts = encoded_photos(list(noise))
    assert sum(map(len, texts)) <= MAX_BYTES
    assert {opened(text, "jpeg").size for text in texts} == {(240, 240)}


def test_outcomes_of_pixels_have_their_colours_and_their_own_stripes() -> None:
    outcomes = np.repeat(np.array([[0, RIGHT, MISSED, WRONG]], np.uint8), 4, 0)
    pixels = np.asarray(opened(encoded_overlay(outcomes), "png").convert("RGBA"))
    assert pixels.shape == (320, 320, 4)
    nothing, right, missed, wrong = (pixels[:, place : place + 80] for place in (0, 80, 160, 240))
    assert (nothing[..., 3] == 0).all()
    assert (right == COLOURS[RIGHT]).all()
    for striped, kind, down in ((missed, MISSED, 1), (wrong, WRONG, -1)):
        drawn = striped[..., 3] > 0
        assert (striped[drawn] == COLOURS[kind]).all()
        assert drawn.mean() == 0.5
        # a stripe goes on to the right in the next row: downwards, or upwards
        assert (drawn[1:, 1:] == drawn[:-1, :-1]).all() == (down == 1)
        assert (drawn[:-1, 1:] == drawn[1:, :-1]).all() == (down == -1)
