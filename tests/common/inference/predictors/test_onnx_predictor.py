"""An ONNX file predicts as the model that it was exported from, without PyTorch, or is refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.onnx_predictor import OnnxPredictor
from fedshelf.common.inference.predictors.onnx_seal import sealed
from fedshelf.common.names import DESCRIPTION_FILE
from tests.helpers.exported_models import save_exported
from tests.helpers.saved_models import save_model

CLASSIFY_WITHOUT_TORCH = """
import sys
from fedshelf.client.main import app
app(["classify", *sys.argv[1:]], standalone_mode=False)
assert "onnxruntime" in sys.modules
assert "torch" not in sys.modules, "loaded"
"""

PREDICT = """
import sys
import fedshelf
fedshelf.load(sys.argv[1]).predict(sys.argv[2:])
"""


def smooth(count: int, height: int, width: int) -> np.ndarray:
    """Photos without noise, of which two resizes agree to rounding: uint8 [N, H, W, 3]."""
    rows = np.linspace(0, 200, height)[:, None, None] + np.linspace(0, 50, width)[None, :, None]
    tints = np.random.default_rng(0).uniform(0.2, 1, (count, 1, 1, 3))
    return (rows * tints).astype(np.uint8)


def test_it_predicts_as_pytorch_at_any_size(tmp_path: Path) -> None:
    weights, file = save_exported(tmp_path)
    ours, theirs = load(file), load(weights, "cpu")
    assert isinstance(ours, OnnxPredictor)
    assert ours.description == theirs.description
    assert ours.pixel_format == theirs.pixel_format
    for photos, tolerance in ((smooth(5, 32, 32), 1e-5), (smooth(3, 200, 90), 0.01)):
        one, other = ours.predict(photos), theirs.predict(photos)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=tolerance)
        np.testing.assert_allclose(one.embeddings, other.embeddings, atol=10 * tolerance)
        np.testing.assert_allclose(one.familiarity, other.familiarity, atol=10 * tolerance)
        np.testing.assert_allclose(one.probabilities.sum(axis=1), 1, atol=1e-6)


def test_a_photo_does_not_depend_on_the_others(tmp_path: Path) -> None:
    predictor = load(save_exported(tmp_path)[1])
    photos = smooth(40, 32, 32)  # more than a pass takes
    together, alone = predictor.predict(photos), predictor.predict(photos[39:])
    np.testing.assert_allclose(together.probabilities[39:], alone.probabilities, atol=1e-6)
    assert len(predictor.predict(photos[:0])) == 0


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    weights, file = save_exported(tmp_path / "model")
    renamed = tmp_path / "a.safetensors"
    shutil.copy(file, renamed)
    assert isinstance(load(renamed), OnnxPredictor)
    shutil.copy(weights, tmp_path / "b.onnx")
    assert not isinstance(load(tmp_path / "b.onnx"), OnnxPredictor)


def test_torch_is_not_loaded(tmp_path: Path) -> None:
    file = save_exported(tmp_path / "model")[1]
    Image.fromarray(smooth(1, 50, 60)[0]).save(tmp_path / "photo.png")
    subprocess.run(
        [sys.executable, "-c", CLASSIFY_WITHOUT_TORCH, str(file), str(tmp_path / "photo.png")],
        check=True,
        capture_output=True,
    )


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = save_exported(tmp_path)[1]
    content = file.read_bytes()
    positions = np.random.default_rng(0).integers(9, len(content), 20)
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"is damaged|is not an ONNX file"):
            load(file)
    for length in (9, 200, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(DataError, match="its end is missing"):
            load(file)
    file.write_bytes(b"")
    with pytest.raises(DataError, match="Cannot read the model"):
        load(file)


def foreign_model() -> onnx.ModelProto:
    """An ONNX model that has nothing to do with ours."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [value("x", onnx.TensorProto.FLOAT, ["N"])],
        [value("y", onnx.TensorProto.FLOAT, ["N"])],
    )
    return onnx.helper.make_model(graph, ir_version=10)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "relu.onnx"
    file.write_bytes(foreign_model().SerializeToString())
    with pytest.raises(DataError, match="is not an ONNX file that Fedshelf exported"):
        load(file)
    file.write_bytes(sealed(foreign_model().SerializeToString()))
    with pytest.raises(DataError, match="is not an ONNX file that Fedshelf exported"):
        load(file)
    described = foreign_model()
    whole = onnx.load_from_string(save_exported(tmp_path / "model")[1].read_bytes())
    described.metadata_props.extend(whole.metadata_props[:2])
    file.write_bytes(sealed(described.SerializeToString()))
    with pytest.raises(DataError, match="is not an ONNX file that Fedshelf exported"):
        load(file)
    file.write_bytes(sealed(b"\x08\x0a nothing that can be parsed"))
    with pytest.raises(DataError, match="cannot run the model"):
        load(file)


def test_another_description_is_refused(tmp_path: Path) -> None:
    file = save_exported(tmp_path / "one")[1]
    other = save_model(tmp_path / "other", seed=1)
    shutil.copy(file, other / "model.onnx")
    with pytest.raises(DataError, match=r"is not the model that the model\.json beside"):
        load(other / "model.onnx")
    graph = onnx.load_from_string(file.read_bytes())
    told = json.loads(graph.metadata_props[0].value)
    told |= {"classes": ["boot", "hat"], "class_names": ["Boots", "Hats"]}
    graph.metadata_props[0].value = json.dumps(told)
    file.write_bytes(sealed(graph.SerializeToString()))
    (file.parent / DESCRIPTION_FILE).unlink()
    with pytest.raises(DataError, match="does not fit its own description"):
        load(file)


def test_only_the_processor_runs_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="runs on the CPU"):
        load(save_exported(tmp_path)[1], "cuda")


def test_its_runtime_reports_nothing(tmp_path: Path) -> None:
    """ONNX Runtime's packages write an identity of the machine and send it with what is run.

    They do neither where a variable says that this is a test or a build.
    """
    file = save_exported(tmp_path / "model")[1]
    Image.new("RGB", (20, 20)).save(tmp_path / "photo.png")
    home = tmp_path / "home"
    home.mkdir()
    path = os.environ["PATH"]
    environment = {"HOME": str(home), "PATH": path, "FEDSHELF_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", PREDICT, str(file), str(tmp_path / "photo.png")]
    subprocess.run(command, env=environment, check=True)
    assert list(home.iterdir()) == []
