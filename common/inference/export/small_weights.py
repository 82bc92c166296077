"""Smaller forms of an exported model: weights of 16 bits, and arithmetic on 8 bits."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from fedshelf.common.inference.export.onnx_file import strip
from fedshelf.common.inference.predictors.onnx_predictor import IMAGES
from fedshelf.common.inference.predictors.predictor import Pixels
from fedshelf.common.system.extras import import_extra, import_onnx_runtime

if TYPE_CHECKING:
    from onnx import ModelProto

_LAYERS = ("Conv", "Gemm")
# A clamp after a layer becomes a part of it, and the layer's range is what the clamp leaves of it:
# without, 88.7% of 372 photos kept their class in our default network, with it 97.3%.
_CLAMPS = ("Relu", "Clip")

_LEAST_WEIGHTS = 256  # of a tensor that is worth a step of its own


def with_half_weights(graph: "ModelProto") -> "ModelProto":
    """Return a graph whose weights take half the room.

    They are float16 in the file, and float32 again when it is loaded: arithmetic in float16 is
    slower on CPUs.

    Args:
        graph: it stays as it is
    """
    onnx = import_extra("onnx", "export")
    small: ModelProto = onnx.ModelProto()
    small.CopyFrom(graph)
    casts = []
    for tensor in small.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _LEAST_WEIGHTS:
            continue
        name = tensor.name
        weights = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(weights, f"{name}.half"))
        casts.append(
            onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *small.graph.node]
    del small.graph.node[:]
    small.graph.node.extend(nodes)
    return small


def with_int8_arithmetic(graph: "ModelProto", pixels: Pixels) -> "ModelProto":
    """Return a graph whose convolutions and dense layers compute on 8 bits.

    The ranges of their inputs are those of the given photos; each output channel has a scale of its
    own. Weights take 7 bits of the 8, because CPUs without VNNI add two products in 16 bits, which
    would overflow unnoticed (ONNX Runtime's documentation on quantization, "reduce_range").

    Args:
        graph: it stays as it is
        pixels: photos, uint8 [N, S, S, C], like those that the model is for
    """
    onnx = import_extra("onnx", "export")
    import_onnx_runtime("export")
    quantization = import_extra("onnxruntime.quantization", "export")
    shape_inference = import_extra("onnxruntime.quantization.shape_inference", "export")
    with TemporaryDirectory(prefix="fedshelf-int8-") as folder, _quiet():
        plain, shaped, small = (Path(folder) / f"{name}.onnx" for name in ("plain", "shaped", "8"))
        plain.write_bytes(graph.SerializeToString())
        shape_inference.quant_pre_process(
            str(plain), str(shaped), skip_optimization=True, skip_symbolic_shape=True
        )
        quantization.quantize_static(
            str(shaped),
            str(small),
            _CalibrationPhotos(pixels),
            op_types_to_quantize=[*_LAYERS, *_CLAMPS],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        quantized: ModelProto = onnx.load(small)
    metadata = list(graph.metadata_props)
    strip(quantized)
    quantized.metadata_props.extend(metadata)
    quantized.producer_name = graph.producer_name
    quantized.producer_version = ""
    return quantized


class _CalibrationPhotos:
    """Photos one at a time, as ONNX Runtime's calibration asks for them.

    Args:
        pixels: uint8 [N, S, S, C]
    """

    def __init__(self, pixels: Pixels) -> None:
        self._photos: Iterator[Pixels] = iter(pixels[:, None])

    def get_next(self) -> dict[str, Pixels] | None:
        """Return the inputs of the next pass; None: there is none."""
        photo = next(self._photos, None)
        return None if photo is None else {IMAGES: photo}

    def __iter__(self) -> Any:
        return iter(self.get_next, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the advice of ONNX Runtime's tools, which is for programmers, from the console."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
