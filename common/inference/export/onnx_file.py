"""A finished model as one ONNX file.

    images -> resize on whole numbers -> normalise -> network -> logits -> probabilities
                                                         `-> embedding

The file has all that its use needs: any number and size of photos go in, calibrated probabilities
come out, and the description is in its metadata. Two exports of a model give the same bytes, which
say nothing of the machine that made them.
"""

import copy
import warnings
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fedshelf.common.errors import DataError
from fedshelf.common.inference.export.comparison import Comparison
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.onnx_predictor import (
    EMBEDDING,
    IMAGES,
    LOGITS,
    MODEL_SHA256_KEY,
    OUTPUT_KEY,
    PROBABILITIES,
    OnnxPredictor,
    start_session,
)
from fedshelf.common.inference.predictors.onnx_seal import sealed
from fedshelf.common.inference.predictors.predictor import Pixels, Predictor
from fedshelf.common.inference.predictors.torch_predictor import (
    TorchPredictor,
    pooled,
    resized_planes,
)
from fedshelf.common.models.spec import ModelSpec, Output
from fedshelf.common.names import DESCRIPTION_KEY
from fedshelf.common.system.extras import import_extra

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 21  # in 20, group normalisation has other inputs, which runtimes read differently
_MAX_BYTES = 2**31 - 1  # of a protobuf message
_EXAMPLE = (2, 61, 67)  # photos, rows and columns: three different numbers, none of them 1


def make_graph(predictor: TorchPredictor, model_sha256: str) -> "ModelProto":
    """Return the graph of a model, with its description.

    Args:
        predictor: the model
        model_sha256: of the `model.safetensors` that it comes from

    Raises:
        DataError: PyTorch cannot export the network, or it is too large for one file.
        ConfigError: the packages for it are not installed.
    """
    spec = predictor.network.spec
    graph = trace(WholeModel(predictor), spec, [PROBABILITIES, EMBEDDING, LOGITS])
    describe_graph(graph, predictor.description, model_sha256)
    return graph


def export_classifier(predictor: TorchPredictor, model_sha256: str) -> bytes:
    """Return the bytes of a classifier's ONNX file, which predicts as the model does.

    Args:
        predictor: the model
        model_sha256: of the `model.safetensors` that it comes from

    Raises:
        DataError: PyTorch cannot export the network, or the file predicts otherwise.
        ConfigError: the packages for it are not installed.
    """
    content = file_content(make_graph(predictor, model_sha256))
    check_parity(predictor, content, drawn_photos(predictor.description))
    return content


def trace(whole: nn.Module, spec: ModelSpec, outputs: Sequence[str]) -> "ModelProto":
    """Return the graph of a network with all that stands before and after it.

    Args:
        whole: takes uint8 [N, H, W, C]
        spec: of its network
        outputs: names of its outputs

    Raises:
        DataError: PyTorch cannot export the network, or it is too large for one file.
        ConfigError: the packages for it are not installed.
    """
    import_extra("onnx", "export")
    import_extra("onnxscript", "export")
    if 4 * sum(weight.numel() for weight in whole.parameters()) > _MAX_BYTES:
        raise DataError(
            f"The network {spec.name} does not fit into one ONNX file, which holds at most 2 GiB;"
            " use its model.safetensors."
        )
    start_autograd()
    example, sizes = example_photos(spec.channels)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                whole.eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[IMAGES],
                output_names=list(outputs),
                dynamic_shapes={IMAGES: sizes},
                verbose=False,
            )
    except Exception as error:  # a network may do anything
        raise DataError(
            f"PyTorch {torch.__version__} cannot export the network {spec.name} to ONNX"
            f" ({type(error).__name__}); use its model.safetensors."
        ) from error
    assert program is not None
    graph = program.model_proto
    strip(graph)
    graph.producer_name = "fedshelf"
    graph.producer_version = ""
    return graph


def start_autograd() -> None:
    """Let autograd start before PyTorch's exporter is used.

    The exporter registers a device. If autograd starts after it, it starts a thread for that
    device, and no worker process that is forked later can train.
    """
    with torch.enable_grad():
        torch.ones((), requires_grad=True).backward()


def file_content(graph: "ModelProto") -> bytes:
    """Return the bytes of the file of a graph, sealed; the same for the same graph."""
    return sealed(graph.SerializeToString(deterministic=True))


def check_parity(predictor: Predictor, content: bytes, pixels: Pixels) -> Comparison:
    """Compare a file's predictions with those of the model that it was made of.

    Args:
        predictor: the model
        content: of the file
        pixels: photos, uint8 [N, S, S, C], at the model's own size

    Raises:
        DataError: they are not equal to rounding.
    """
    exported = predictor_of(content, predictor.description).predict(pixels)
    comparison = Comparison()
    comparison.add(
        predictor.predict(pixels).probabilities, exported.probabilities, [None] * len(pixels)
    )
    comparison.check_exact()
    return comparison


def predictor_of(content: bytes, description: ModelDescription) -> OnnxPredictor:
    """Return the predictor of a file that is not written yet. Raises DataError, ConfigError."""
    return OnnxPredictor(start_session(content, Path("exported.onnx")), description)


def drawn_photos(description: ModelDescription, count: int = 16) -> Pixels:
    """Return pictures with soft colours and edges: uint8 [N, S, S, C], always the same."""
    form = description.pixel_format
    draws = np.random.default_rng(0)
    coarse = draws.integers(0, 256, (count, 6, 6, form.channels))
    soft = nn.functional.interpolate(
        torch.from_numpy(coarse.astype(np.float32)).permute(0, 3, 1, 2),
        (form.image_size, form.image_size),
        mode="bicubic",
    )
    pixels = soft.clamp(0, 255).permute(0, 2, 3, 1).numpy().astype(np.uint8)
    edge = form.image_size // 3
    pixels[:, edge : 2 * edge, edge : 2 * edge] = draws.integers(0, 256, (count, 1, 1, 1))
    return np.ascontiguousarray(pixels)


def example_photos(channels: int) -> tuple[Tensor, dict[int, Any]]:
    """Return photos with which a model is traced, uint8 [2, 61, 67, C], and the axes that vary."""
    names = enumerate(("N", "H", "W"))
    sizes = {axis: torch.export.Dim(name) for axis, name in names}
    return torch.zeros(*_EXAMPLE, channels, dtype=torch.uint8), sizes


class Preparation(nn.Module):
    """All that a photo goes through before its network: resizing and normalisation.

    Args:
        spec: of the network
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self._side = spec.image_size
        mean = torch.tensor(spec.mean).view(-1, 1, 1)
        std = torch.tensor(spec.std).view(-1, 1, 1)
        self.scale = nn.Buffer(1 / (255 * std))
        self.shift = nn.Buffer(-mean / std)

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's input, float32 [N, C, S, S], of uint8 [N, H, W, C]."""
        planes = resized_planes(images.permute(0, 3, 1, 2), self._side)
        inputs: Tensor = planes.to(torch.float32) * self.scale + self.shift
        return inputs


class WholeModel(nn.Module):
    """A network with all that stands before and after it.

    Args:
        predictor: its network is copied
    """

    def __init__(self, predictor: TorchPredictor) -> None:
        super().__init__()
        spec = predictor.network.spec
        self.network = copy.deepcopy(predictor.network.module).cpu().requires_grad_(False)
        self._temperature = predictor.description.temperature
        self._head = self.network.get_submodule(predictor.network.layout.head)
        self.prepare = Preparation(spec)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities, embeddings and scores of uint8 [N, H, W, C]."""
        inputs = self.prepare(images)
        inputs_of_head: list[Tensor] = []
        handle = self._head.register_forward_pre_hook(
            lambda _, values: inputs_of_head.append(values[0])
        )
        try:
            logits = self.network(inputs)
        finally:
            handle.remove()
        probabilities = torch.softmax(logits / self._temperature, dim=1)
        return probabilities, pooled(self._head, inputs_of_head[0]), logits


def strip(message: Any) -> None:
    """Remove from a message, and from all within it, texts that say how and where it was made."""
    for field, value in list(message.ListFields()):
        if field.name in ("doc_string", "metadata_props", "value_info"):
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for inner in value if isinstance(value, MutableSequence) else (value,):
                strip(inner)


def describe_graph(
    graph: "ModelProto",
    description: ModelDescription,
    model_sha256: str,
    output: Output = "classes",
) -> None:
    """Write a model's description, and what goes with it, into the metadata of its graph.

    Args:
        graph: gets them
        description: of the model
        model_sha256: of the `model.safetensors` that it comes from
        output: the kind of its result; classes are not written, as in files of earlier versions
    """
    told = replace(description, provenance=_without_folders(description.provenance))
    for key, value in ((DESCRIPTION_KEY, told.to_json()), (MODEL_SHA256_KEY, model_sha256)):
        graph.metadata_props.add(key=key, value=value)
    if output != "classes":
        graph.metadata_props.add(key=OUTPUT_KEY, value=output)


def _without_folders(provenance: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the provenance with the names of files and folders alone: paths are of one machine."""
    if provenance is None:
        return None
    return {
        key: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for key, value in provenance.items()
    }
