"""Photos that are like nothing in the index are unknown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.errors import DataError
from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.predictors.verdicts import verdicts
from fedshelf.common.inference.search.familiarity import (
    NEIGHBOURS,
    UNKNOWN_SHARE,
    likeness,
    open_familiarity,
    own_threshold,
)
from fedshelf.common.inference.search.index_file import read_index, write_index
from fedshelf.common.inference.search.updating import update_index
from tests.helpers.colour_predictor import ColourPredictor


def test_likeness_is_the_mean_of_the_ten_nearest() -> None:
    """Twelve photos at cosines 1, 0.9, ... and 0, -1 to the query: the last two do not count."""
    cosines = np.array([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, -1.0])
    embeddings = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)
    assert likeness(embeddings, np.array([[1, 0]], np.float32)) == pytest.approx([0.55])


def test_the_threshold_leaves_each_photo_out() -> None:
    vectors = unit_vectors(np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32))
    products = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(products, -np.inf)
    means = np.sort(products, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    assert own_threshold(vectors) == pytest.approx(np.quantile(means, UNKNOWN_SHARE))


def test_few_photos() -> None:
    assert own_threshold(np.empty((0, 0), np.float32)) is None
    assert own_threshold(np.eye(1, 3, dtype=np.float32)) is None
    assert own_threshold(np.eye(2, 3, dtype=np.float32)) == 0


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Photos of reds, each with a light and a dark half."""
    (tmp_path / "shop").mkdir()
    for number in range(20):
        image = Image.new("RGB", (20, 20), (240, 3 * number, 0))
        image.paste((120, number, 0), (0, 0, 20, 10))
        image.save(tmp_path / "shop" / f"{number:02}.png")
    update_index(tmp_path / "shop.index", tmp_path / "shop", ColourPredictor(), [])
    return tmp_path


def halves(colour: tuple[int, int, int]) -> np.ndarray:
    photo = np.zeros((1, 16, 16, 3), np.uint8)
    photo[:, :8] = colour
    photo[:, 8:] = np.asarray(colour) // 2
    return photo


def test_a_photo_like_those_of_the_store_is_known_and_another_is_not(shop: Path) -> None:
    predictor = open_familiarity(ColourPredictor(), shop / "shop.index")
    pixels = np.concatenate([halves((240, 30, 0)), halves((240, 0, 240))])
    predictions = predictor.predict(pixels)
    assert predictions.familiarity[0] > 0 > predictions.familiarity[1]
    assert verdicts(predictions, pixels, 0) == ["sure", "unknown"]
    plain = ColourPredictor().predict(pixels)
    assert np.array_equal(plain.probabilities, predictions.probabilities)
    assert verdicts(plain, pixels, 0) == ["sure", "sure"]


def test_another_model_may_make_the_embeddings(shop: Path) -> None:
    small = ColourPredictor(sha256="cd" * 32, size=8)
    with pytest.raises(DataError, match="made by another model"):
        open_familiarity(small, shop / "shop.index")
    both = open_familiarity(small, shop / "shop.index", ColourPredictor())
    assert both.description is small.description
    assert both.pixel_format.image_size == 16
    assert both.predict(halves((240, 30, 0))).familiarity[0] > 0


def test_an_index_without_a_threshold_is_refused(shop: Path) -> None:
    half = replace(read_index(shop / "shop.index"), threshold=None, is_complete=False)
    write_index(shop / "shop.index", half)
    with pytest.raises(DataError, match="not finished"):
        open_familiarity(ColourPredictor(), shop / "shop.index")
