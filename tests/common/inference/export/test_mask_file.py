"""A mask network as an ONNX file gives the masks that PyTorch gives."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from fedshelf.common.errors import DataError
from fedshelf.common.inference.export.mask_file import export_masks
from fedshelf.common.inference.loading import load, load_masks
from fedshelf.common.inference.masks.mask_predictor import product_pixels
from fedshelf.common.inference.masks.onnx_masks import OnnxMaskPredictor
from fedshelf.common.inference.masks.torch_masks import TorchMaskPredictor
from tests.helpers.client_command import refused, run
from tests.helpers.saved_models import save_model, spec_of

SIDE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = spec_of("unet", ("background", "product"), SIDE)
    return save_model(tmp_path_factory.mktemp("model"), spec)


def test_masks_are_those_of_pytorch(tmp_path: Path, folder: Path) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(photos[0]).save(tmp_path / "a.png")
    out = tmp_path / "masks.onnx"
    arguments = [str(folder), "--out", str(out), "--photos", str(tmp_path / "a.png")]
    done = run(tmp_path, "export-onnx", *arguments)
    assert done.returncode == 0, done.stderr
    assert "a mask network." in done.stderr
    by_torch, by_onnx = load_masks(folder, "cpu"), load_masks(out)
    assert isinstance(by_onnx, OnnxMaskPredictor)
    assert by_onnx.description.sha256 == by_torch.description.sha256
    expected = by_torch.masks(photos)
    assert expected.shape == (3, 2, SIDE, SIDE)
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(by_onnx.masks(photos), expected, atol=1e-3)
    larger = np.kron(photos, np.ones((1, 2, 3, 1), np.uint8))  # of any size
    np.testing.assert_allclose(by_onnx.masks(larger), by_torch.masks(larger), atol=5e-3)
    assert product_pixels(by_onnx, Image.fromarray(larger[0])).shape == (2 * SIDE, 3 * SIDE)
    for model in (out, folder):
        with pytest.raises(DataError, match=r"is a mask network.*flower-client segment"):
            load(model)


@pytest.mark.slow
def test_two_exports_are_one_and_other_masks_none(folder: Path) -> None:
    """The photos that are compared decide: the model is changed after the file was made."""
    predictor = load_masks(folder, "cpu")
    assert isinstance(predictor, TorchMaskPredictor)
    assert export_masks(predictor, "0" * 64) == export_masks(predictor, "0" * 64)

    def changed() -> Iterator[np.ndarray]:
        last = list(predictor.network.module.modules())[-1]
        assert isinstance(last, nn.Conv2d)
        last.weight.data[1] += 1
        yield np.full((1, SIDE, SIDE, 3), 200, np.uint8)

    with pytest.raises(DataError, match="gives other masks than the model"):
        export_masks(predictor, "0" * 64, changed())


def test_options_of_classifiers_are_refused(tmp_path: Path, folder: Path) -> None:
    arguments = ["export-onnx", str(folder), "--out", str(tmp_path / "m.onnx")]
    assert "is a mask network, which is exported as it is" in refused(
        tmp_path, 2, *arguments, "--half"
    )
    (tmp_path / "empty").mkdir()
    assert "--photos has no photo that can be used" in refused(
        tmp_path, 3, *arguments, "--photos", str(tmp_path / "empty")
    )
    assert not (tmp_path / "m.onnx").exists()
