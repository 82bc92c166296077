"""ONNX files: exact, whole, the same each time, and silent on the machine that made them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from fedshelf.common.errors import DataError
from fedshelf.common.inference.export.onnx_file import (
    check_parity,
    drawn_photos,
    file_content,
    make_graph,
)
from fedshelf.common.inference.loading import load
from fedshelf.common.models import OURS, PRETRAINED
from fedshelf.common.models.saved import read
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.system.extras import import_onnx_runtime
from tests.helpers.exported_models import exported, open_torch, save_exported
from tests.helpers.saved_models import save_model, spec_of

ROOT = Path(__file__).parents[4]
TORCHVISION = {
    "resnet18": 64,
    "mobilenet_v3_small": 64,
    "efficientnet_b0": 64,
    "convnext_tiny": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "regnet_y_400mf": 64,
    "vit_b_16": 224,
    "swin_v2_t": 64,
}


def test_the_file_has_the_form_that_others_build_on(tmp_path: Path) -> None:
    weights, file = save_exported(tmp_path)
    graph = onnx.load(file)
    onnx.checker.check_model(graph, full_check=True)
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 21)]
    assert not graph.functions
    session = import_onnx_runtime("use").InferenceSession(
        str(file), providers=["CPUExecutionProvider"]
    )
    (images,) = session.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", [*"NHW", 3])
    outputs = {value.name: (value.type, value.shape[0]) for value in session.get_outputs()}
    assert outputs == dict.fromkeys(
        ("probabilities", "embedding", "logits"), ("tensor(float)", "N")
    )
    metadata = session.get_modelmeta().custom_metadata_map
    assert set(metadata) == {"description", "model_sha256", "sha256"}
    assert metadata["description"] == load(weights, "cpu").description.to_json()
    assert metadata["model_sha256"] == read(weights).sha256


def test_it_says_nothing_of_where_it_was_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = spec_of("niid-cnn", size=16, channels=1)
    data = str(tmp_path / "private" / "photos")
    run = save_model(tmp_path / "run", spec, provenance={"dataset": data, "stores": 5})
    capfd.readouterr()
    content = exported(run)
    assert capfd.readouterr() == ("", "")
    assert content == exported(run)
    (tmp_path / "alone.onnx").write_bytes(content)
    assert load(tmp_path / "alone.onnx").description.provenance == {
        "dataset": "photos",
        "stores": 5,
    }
    for word in (str(tmp_path), str(Path(__file__).parents[4]), 'File "', "stack_trace"):
        assert word.encode() not in content
    assert re.findall(rb"pkg\.torch|\.py\b|site-packages", content) == []
    grey = drawn_photos(load(run, "cpu").description, 4)
    assert grey.shape == (4, 16, 16, 1)
    assert check_parity(open_torch(run), content, grey).difference < 1e-5


def test_a_file_that_predicts_otherwise_is_refused(tmp_path: Path) -> None:
    weights, file = save_exported(tmp_path)
    predictor = open_torch(weights)
    photos = drawn_photos(predictor.description)
    comparison = check_parity(predictor, file.read_bytes(), photos)
    assert (comparison.photos, comparison.same_class) == (16, 16)
    assert comparison.difference < 1e-5
    graph = onnx.load(file)
    (last,) = (node for node in graph.graph.node if node.op_type == "Gemm")
    head = next(tensor for tensor in graph.graph.initializer if tensor.name == last.input[2])
    moved = onnx.numpy_helper.to_array(head) + np.array([0.1, 0, 0], np.float32)
    head.CopyFrom(onnx.numpy_helper.from_array(moved, head.name))
    with pytest.raises(DataError, match=r"does not predict like the original: on 16 photos"):
        check_parity(predictor, graph.SerializeToString(), photos)


def test_a_graph_is_its_own_definition(tmp_path: Path) -> None:
    """ONNX's own evaluator, which is slow and plain, gives the probabilities, too."""
    weights, file = save_exported(tmp_path)
    photos = drawn_photos(load(weights, "cpu").description, 2)
    graph = onnx.load(file)
    probabilities, embedding, logits = ReferenceEvaluator(graph).run(None, {"images": photos})
    predicted = load(file).predict(photos)
    np.testing.assert_allclose(probabilities, predicted.probabilities, atol=1e-4)
    np.testing.assert_allclose(embedding, predicted.embeddings, atol=1e-3)
    halved = np.exp(logits / 2)  # the temperature is 2
    np.testing.assert_allclose(probabilities, halved / halved.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.slow
def test_a_process_that_exported_trains_on_in_forked_workers(tmp_path: Path) -> None:
    """In a process of its own: only the first use of autograd decides."""
    script = """
import multiprocessing, sys
from tests.helpers.exported_models import exported
from pathlib import Path
import torch

def train():
    torch.ones((), requires_grad=True).backward()

exported(Path(sys.argv[1]))
train()
worker = multiprocessing.get_context("fork").Process(target=train)
worker.start()
worker.join()
sys.exit(worker.exitcode)
"""
    model = save_model(tmp_path / "model")
    ended = subprocess.run(
        [sys.executable, "-c", script, str(model)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow(minutes=0.3)
@pytest.mark.parametrize("network", [*OURS, *PRETRAINED, *TORCHVISION])
def test_networks_export(tmp_path: Path, network: str) -> None:
    size = TORCHVISION.get(network, 32)
    spec = ModelSpec(network, ("a", "b", "c"), size, 3, (0.5,) * 3, (0.25,) * 3)
    predictor = open_torch(save_model(tmp_path, spec))
    graph = make_graph(predictor, "0" * 64)
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}  # folded
    content = file_content(graph)
    for count in (1, 3):
        photos = drawn_photos(predictor.description, count)
        check_parity(predictor, content, photos)
