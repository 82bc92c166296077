"""Models as ONNX files whose answers can be checked by hand: no training, no PyTorch.

The locator finds squares of 16 pixels and of any bright colour on a dark photo, whose middles lie
at 4 k + 2 pixels; the classifier tells red, green and blue apart; the mask network takes all that
is bright for a product.
"""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fedshelf.common.inference.locators.onnx_locator import MAPS
from fedshelf.common.inference.masks.onnx_masks import MASKS
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.onnx_predictor import (
    EMBEDDING,
    IMAGES,
    LOGITS,
    MODEL_SHA256_KEY,
    OUTPUT_KEY,
    PROBABILITIES,
)
from fedshelf.common.inference.predictors.onnx_seal import sealed
from fedshelf.common.names import DESCRIPTION_KEY
from tests.helpers.saved_models import spec_of

SQUARE = 16  # pixels, on a photo of the locator's own size
COLOURS = ("red", "green", "blue")


def write_square_locator(
    file: Path,
    side: int = 160,
    least: float = 0.9,
    model_sha256: str | None = None,
    classes: tuple[str, ...] = ("product",),
    **described: Any,
) -> Path:
    """Write a locator for photos of `side` pixels, and return its file.

    least: share of white from which on a square counts; a low one finds places on any photo
    model_sha256: of the `model.safetensors` that it is said to come from
    classes: names of one class, or of three, by a square's colour
    described: further values of its `ModelDescription`, as `provenance`
    """
    steepness = 6 / (1 - least)  # 6 at a square; if it must be nearly white, -54 on black
    kernel = np.full((len(classes), 1, SQUARE, SQUARE), 1 / SQUARE**2, np.float32)
    half = np.float32(np.log(SQUARE / 2 / 4))  # to each edge, in cells of 4 pixels
    nodes = [
        helper.make_node("Cast", [IMAGES], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMax", ["planes", "channel_axis"], ["bright"], keepdims=1)
        if len(classes) == 1
        else helper.make_node("Identity", ["planes"], ["bright"]),
        helper.make_node("Div", ["bright", "white"], ["shares"]),
        helper.make_node(
            "Conv",
            ["shares", "kernel"],
            ["covered"],
            strides=[4, 4],
            pads=[6, 6, 6, 6],
            group=len(classes),
        ),
        helper.make_node("Sub", ["covered", "least"], ["above"]),
        helper.make_node("Mul", ["above", "steepness"], ["centres"]),
        helper.make_node("ReduceMax", ["covered", "channel_axis"], ["any"], keepdims=1),
        helper.make_node("Mul", ["any", "zeros"], ["nothing"]),
        helper.make_node("Add", ["nothing", "half"], ["edges"]),
        helper.make_node("Concat", ["centres", "edges"], [MAPS], axis=1),
    ]
    constants = {
        "channel_axis": np.array([1], np.int64),
        "white": np.float32(255),
        "kernel": kernel,
        "least": np.float32(least),
        "steepness": np.float32(steepness),
        "zeros": np.zeros((1, 4, 1, 1), np.float32),
        "half": half,
    }
    spec = spec_of("locator", classes, side)
    description = ModelDescription(spec, spec.classes, **described)
    metadata = {OUTPUT_KEY: "boxes"}
    if model_sha256 is not None:
        metadata[MODEL_SHA256_KEY] = model_sha256
    outputs = [helper.make_tensor_value_info(MAPS, TensorProto.FLOAT, ["N", "maps", "h", "w"])]
    return _write(file, nodes, constants, outputs, description, metadata)


def write_colour_classifier(file: Path, side: int = 16) -> Path:
    """Write a classifier whose scores are a photo's mean red, green and blue, and return it."""
    nodes = [
        helper.make_node("Cast", [IMAGES], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], [EMBEDDING], keepdims=0),
        helper.make_node("Div", [EMBEDDING, "scale"], [LOGITS]),
        helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=1),
    ]
    constants = {"axes": np.array([1, 2], np.int64), "scale": np.float32(40)}
    description = ModelDescription(spec_of(classes=COLOURS, size=side), COLOURS)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3])
        for name in (PROBABILITIES, EMBEDDING, LOGITS)
    ]
    return _write(file, nodes, constants, outputs, description, {MODEL_SHA256_KEY: "0" * 64})


def write_bright_masks(file: Path, side: int = 32) -> Path:
    """Write a mask network that takes what is brighter than grey for a product."""
    nodes = [
        helper.make_node("Cast", [IMAGES], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMax", ["planes", "channel_axis"], ["bright"], keepdims=1),
        helper.make_node("Sub", ["bright", "grey"], ["scores"]),
        helper.make_node("Sigmoid", ["scores"], ["product"]),
        helper.make_node("Sub", ["one", "product"], ["background"]),
        helper.make_node("Concat", ["background", "product"], [MASKS], axis=1),
    ]
    constants = {
        "channel_axis": np.array([1], np.int64),
        "grey": np.float32(127.5),
        "one": np.float32(1),
    }
    regions = ("background", "product")
    description = ModelDescription(spec_of("unet", regions, side), regions)
    outputs = [helper.make_tensor_value_info(MASKS, TensorProto.FLOAT, ["N", 2, "h", "w"])]
    return _write(file, nodes, constants, outputs, description, {OUTPUT_KEY: "masks"})


def _write(
    file: Path,
    nodes: list[object],
    constants: dict[str, np.ndarray | np.float32],
    outputs: list[object],
    description: ModelDescription,
    metadata: dict[str, str],
) -> Path:
    images = helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", "H", "W", 3])
    tensors = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "hand-made", [images], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    for key, value in {DESCRIPTION_KEY: description.to_json(), **metadata}.items():
        model.metadata_props.add(key=key, value=value)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(sealed(model.SerializeToString()))
    return file
