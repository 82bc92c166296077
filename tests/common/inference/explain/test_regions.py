import numpy as np
import pytest

from fedshelf.common.inference.explain.regions import place_in_words, window_weights


def at(rows: slice, columns: slice) -> np.ndarray:
    heat = np.full((8, 8), -1, np.float32)
    heat[rows, columns] = 1
    return heat


@pytest.mark.parametrize(
    ("heat", "words"),
    [
        (at(slice(0, 4), slice(0, 4)), "mostly because of the upper left"),
        (at(slice(0, 2), slice(3, 5)), "mostly because of the top"),
        (at(slice(2, 6), slice(2, 6)), "mostly because of the middle"),
        (at(slice(7, 8), slice(7, 8)), "mostly because of the lower right"),
        (at(slice(3, 5), slice(0, 1)), "mostly because of the left side"),
        (at(slice(0, 8), slice(0, 8)), "because of features spread over the whole photo"),
        (at(slice(0, 0), slice(0, 0)), "though no part of the photo speaks for it"),
    ],
)
def test_a_place_has_its_name(heat: np.ndarray, words: str) -> None:
    assert place_in_words(heat) == words


@pytest.mark.parametrize("cells", [1, 3, 7, 8, 9])
def test_a_window_is_half_a_side(cells: int) -> None:
    """Also where its edge lies within a cell."""
    assert window_weights(cells).sum(axis=1) == pytest.approx(np.full(3, cells / 2), rel=1e-6)


def test_half_of_the_evidence_is_needed() -> None:
    heat = np.zeros((8, 8), np.float32)
    heat[0, 0], heat[7, 7] = 1, 1
    assert place_in_words(heat) == "mostly because of the upper left"
    heat[7, 0] = 0.01
    assert place_in_words(heat) == "because of features spread over the whole photo"
