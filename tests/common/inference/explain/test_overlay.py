import numpy as np
from PIL import Image

from fedshelf.common.inference.explain.overlay import overlay


def test_what_speaks_for_the_class_is_tinted_and_the_rest_is_untouched() -> None:
    photo = Image.new("RGB", (80, 40), (10, 20, 200))
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0], heat[3, 3] = 2, -5
    tinted = np.asarray(overlay(photo, heat))
    assert tinted.shape == (40, 80, 3)
    assert tinted[0, 0, 0] > 150  # red
    assert tinted[0, 0, 2] < 100
    assert np.all(tinted[20:, 40:] == (10, 20, 200))


def test_a_map_of_nothing_changes_nothing() -> None:
    photo = Image.new("RGB", (8, 8), (10, 20, 200))
    assert np.array_equal(
        np.asarray(overlay(photo, np.full((8, 8), -1, np.float32))), np.asarray(photo)
    )
