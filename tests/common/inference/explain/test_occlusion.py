"""Occlusion finds the part of a photo that speaks for a class."""

from pathlib import Path

import numpy as np
import pytest

from fedshelf.common.inference.explain.occlusion import CELLS_PER_SIDE, occlusion
from fedshelf.common.inference.loading import load
from tests.helpers.colour_predictor import ColourPredictor
from tests.helpers.saved_models import save_model


def test_the_part_that_speaks_for_a_class_is_found() -> None:
    """The model sees the mean colour. Hiding the red cell takes away most red and puts in the mean;
    hiding the green one takes away green, which speaks against red.
    """
    photo = np.zeros((16, 16, 3), np.uint8)
    photo[2:4, 4:6, 0] = 255  # row 1, column 2
    photo[12:14, 10:12, 1] = 255  # row 6, column 5
    model = ColourPredictor()
    heat = occlusion(model, photo, 0)
    assert heat.shape == (CELLS_PER_SIDE, CELLS_PER_SIDE)
    assert model.photos_seen == 65
    assert np.unravel_index(heat.argmax(), heat.shape) == (1, 2)
    assert np.unravel_index(heat.argmin(), heat.shape) == (6, 5)
    assert heat == pytest.approx(-occlusion(model, photo[..., [1, 0, 2]], 1) * -1, abs=1e-5)


def test_the_drop_is_that_of_the_odds() -> None:
    """Red covers one cell of 64. The scores of the photo are 8/64, 0, 0; without the cell all
    channels have the mean, round(255/64) / 255, and red the same in 64 cells.
    """
    photo = np.zeros((16, 16, 3), np.uint8)
    photo[:2, :2, 0] = 255
    before = 8 / 64
    after = 8 * (round(255 / 64) / 255) / 64
    odds = [score - np.log(2) for score in (before, after)]
    heat = occlusion(ColourPredictor(), photo, 0)
    assert heat[0, 0] == pytest.approx(odds[0] - odds[1], abs=1e-4)


def test_a_photo_of_one_colour_has_no_parts() -> None:
    photo = np.full((16, 16, 3), 77, np.uint8)
    assert np.all(occlusion(ColourPredictor(), photo, 1) == 0)


def test_sides_that_eight_does_not_divide() -> None:
    photo = np.zeros((21, 21, 3), np.uint8)
    photo[18:, 18:, 2] = 255
    heat = occlusion(ColourPredictor(size=21), photo, 2)
    assert np.unravel_index(heat.argmax(), heat.shape) == (7, 7)


def test_random_weights_give_another_map(tmp_path: Path) -> None:
    """Adebayo et al. 2018, "Sanity Checks for Saliency Maps": a map that does not depend on the
    weights explains nothing.
    """
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    maps = [
        occlusion(load(save_model(tmp_path / str(seed), seed=seed)), photo, 0).ravel()
        for seed in (0, 1)
    ]
    assert abs(np.corrcoef(maps)[0, 1]) < 0.5
