"""A locator as an ONNX file finds the boxes that PyTorch finds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedshelf.common.errors import DataError
from fedshelf.common.inference.export.locator_file import export_locator
from fedshelf.common.inference.loading import load, load_locator
from fedshelf.common.inference.locators.onnx_locator import OnnxBoxPredictor
from fedshelf.common.inference.locators.torch_locator import TorchBoxPredictor
from fedshelf.common.models.weights import file_sha256
from tests.helpers.saved_models import save_model, spec_of


def eager(module: nn.Module) -> None:
    """Let an untrained locator be sure of boxes: with their usual weights, heads find none."""
    for parameter in module.parameters():
        if parameter.ndim == 4 and parameter.shape[0] == 5:
            parameter.normal_(std=0.5, generator=torch.Generator().manual_seed(3))


def test_boxes_are_those_of_pytorch(tmp_path: Path) -> None:
    spec = spec_of("locator", ("product",), 64)
    folder = save_model(tmp_path / "model", spec, set_weights=eager)
    weights = folder / "model.safetensors"
    by_torch = load_locator(folder, "cpu")
    assert isinstance(by_torch, TorchBoxPredictor)
    file = tmp_path / "locator.onnx"
    file.write_bytes(export_locator(by_torch, file_sha256(weights)))
    by_onnx = load_locator(file)
    assert isinstance(by_onnx, OnnxBoxPredictor)
    assert by_onnx.description.sha256 == by_torch.description.sha256
    photos = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    for expected, found in zip(by_torch.locate(photos), by_onnx.locate(photos), strict=True):
        assert len(expected) > 5
        np.testing.assert_allclose(found.corners, expected.corners, atol=0.05)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
    [large] = by_onnx.locate(np.kron(photos[:1], np.ones((1, 2, 3, 1), np.uint8)))
    assert large.corners.max(axis=0).tolist() <= [192, 128, 192, 128]
    assert large.corners[:, 2].max() > 64  # boxes are in pixels of the photo that was given
    for model in (file, folder):
        with pytest.raises(DataError, match="is a locator, which finds the products"):
            load(model)


def test_a_classifier_is_no_locator(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    with pytest.raises(DataError, match="is a classifier, which names the product"):
        load_locator(folder)
