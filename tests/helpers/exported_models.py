"""Finished models as ONNX files."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fedshelf.common.inference.export import onnx_file
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.models.weights import file_sha256
from fedshelf.common.names import WEIGHTS_FILE
from tests.helpers.saved_models import save_model


def open_torch(folder: Path) -> TorchPredictor:
    """The model in a folder, for PyTorch."""
    predictor = load(folder, "cpu")
    assert isinstance(predictor, TorchPredictor)
    return predictor


def exported(folder: Path) -> bytes:
    """The ONNX file of the model in a folder."""
    graph = onnx_file.make_graph(open_torch(folder), file_sha256(folder / WEIGHTS_FILE))
    return onnx_file.file_content(graph)


@cache
def _usual_content() -> bytes:
    with TemporaryDirectory() as folder:
        return exported(save_model(Path(folder), **USUAL))


USUAL: dict[str, Any] = {
    "temperature": 2.0,
    "energy_threshold": 1.0,
    "class_names": ("Boots", "Hats", "Shirts"),
}


def save_exported(
    folder: Path, spec: ModelSpec | None = None, **described: Any
) -> tuple[Path, Path]:
    """Write a model as a run leaves it and its `model.onnx` beside it; return both files.

    The usual one is exported once for all tests of a process, as that takes seconds.

    described: further values of its `ModelDescription`, as `provenance`
    """
    save_model(folder, spec, **{**USUAL, **described})
    content = exported(folder) if spec or described else _usual_content()
    (folder / "model.onnx").write_bytes(content)
    return folder / WEIGHTS_FILE, folder / "model.onnx"
