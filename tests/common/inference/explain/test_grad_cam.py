"""Grad-CAM is that of captum."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedshelf.common.errors import ConfigError
from fedshelf.common.images.augment import normalise
from fedshelf.common.inference.explain.grad_cam import grad_cam
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor
from tests.helpers.colour_predictor import ColourPredictor
from tests.helpers.saved_models import save_model, spec_of

PHOTO = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def opened(folder: Path, seed: int = 0) -> TorchPredictor:
    predictor = load(save_model(folder, spec_of(), seed=seed), "cpu")
    assert isinstance(predictor, TorchPredictor)
    return predictor


@pytest.mark.parametrize("target", [0, 1, 2])
def test_it_is_that_of_captum(tmp_path: Path, target: int) -> None:
    attribution = pytest.importorskip("captum.attr")
    predictor = opened(tmp_path, seed=1)
    network = predictor.network
    last = [layer for layer in network.module.modules() if isinstance(layer, nn.ReLU)][-1]
    inputs = normalise(torch.from_numpy(PHOTO[None]), network.spec.mean, network.spec.std)
    expected = attribution.LayerGradCam(network.module, last).attribute(
        inputs.requires_grad_(), target, relu_attributions=True
    )
    heat = grad_cam(predictor, PHOTO, target)
    assert heat.max() > 0
    assert np.abs(heat - expected[0, 0].detach().numpy()).max() < 1e-6


def test_random_weights_give_another_map(tmp_path: Path) -> None:
    maps = [grad_cam(opened(tmp_path / str(seed), seed=seed), PHOTO, 0).ravel() for seed in (1, 2)]
    assert abs(np.corrcoef(maps)[0, 1]) < 0.5


def test_it_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    predictor = opened(tmp_path)
    before = predictor.predict(PHOTO[None]).probabilities
    grad_cam(predictor, PHOTO, 0)
    assert np.array_equal(predictor.predict(PHOTO[None]).probabilities, before)


def test_models_without_gradients_or_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--method occlusion"):
        grad_cam(ColourPredictor(), PHOTO, 0)
    predictor = opened(tmp_path)
    linear = predictor.network.module
    for name, layer in list(linear.named_children()):
        if isinstance(layer, nn.ReLU):
            setattr(linear, name, nn.Identity())
    with pytest.raises(ConfigError, match="no activations with places"):
        grad_cam(predictor, PHOTO, 0)
