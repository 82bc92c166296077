"""Predictions of PyTorch are those that the run measured."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fedshelf.common.images.types import Images
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.predictor import interpret
from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor, resized
from fedshelf.common.training.evaluate import features
from fedshelf.common.training.predict import log_probabilities
from tests.helpers.saved_models import save_model


def test_they_equal_those_of_an_evaluation(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    predictor = load(save_model(tmp_path, temperature=2.0))
    assert isinstance(predictor, TorchPredictor)
    predictions = predictor.predict(pixels)
    images = Images(torch.from_numpy(pixels), torch.zeros(9, dtype=torch.int64), torch.arange(9))
    logs = log_probabilities(predictor.network, images, 4)
    # at half the scores, the probabilities are the square roots, made to sum to 1 again
    roots = logs.exp().sqrt()
    np.testing.assert_allclose(
        predictions.probabilities, roots / roots.sum(dim=1, keepdim=True), rtol=1e-4
    )
    np.testing.assert_allclose(
        predictions.embeddings, features(predictor.network, images, 4), rtol=1e-4, atol=1e-6
    )
    assert np.isnan(predictions.familiarity).all()


def test_a_photo_does_not_depend_on_the_others(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    predictor = load(save_model(tmp_path))
    together = predictor.predict(pixels)
    alone = predictor.predict(pixels[8:])
    np.testing.assert_allclose(together.probabilities[8:], alone.probabilities, rtol=1e-5)
    assert len(predictor.predict(pixels[:0])) == 0


def test_energy_is_told_from_the_threshold(tmp_path: Path) -> None:
    described = load(save_model(tmp_path, energy_threshold=1.0)).description
    scores = np.array([[0.0, 0.0, 0.0], [np.log(6), 0.0, 0.0]], np.float32)
    told = interpret(scores, np.zeros((2, 1), np.float32), described)
    np.testing.assert_allclose(told.familiarity, [np.log(3) - 1, np.log(8) - 1], rtol=1e-6)
    np.testing.assert_allclose(told.probabilities[1], [6 / 8, 1 / 8, 1 / 8], rtol=1e-6)


def test_other_sizes_are_resized_as_pillow_does() -> None:
    smooth = np.linspace(0, 255, 90 * 60 * 3).reshape(90, 60, 3).astype(np.uint8)
    ours = resized(torch.from_numpy(smooth)[None], 32)[0].numpy().astype(int)
    pillow = Image.fromarray(smooth).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(ours - np.asarray(pillow).astype(int)).max() <= 1
    same = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    assert resized(same, 32) is same
