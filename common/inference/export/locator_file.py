"""A finished locator as one ONNX file: photos of any size in, maps of centres and edges out.

    images -> resize on whole numbers -> normalise -> network -> maps

`common.scenes.centre_map` makes boxes of a map, without PyTorch.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from fedshelf.common.errors import DataError
from fedshelf.common.inference.export.onnx_file import (
    Preparation,
    describe_graph,
    drawn_photos,
    file_content,
    trace,
)
from fedshelf.common.inference.locators.onnx_locator import MAPS, OnnxBoxPredictor
from fedshelf.common.inference.locators.torch_locator import TorchBoxPredictor
from fedshelf.common.inference.predictors.onnx_predictor import start_session

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_DIFFERENCE = 1e-3
"""The greatest difference of a map's values between a locator and its export."""


class WholeLocator(nn.Module):
    """A locator's network with all that stands before it.

    Args:
        locator: its network is copied
    """

    def __init__(self, locator: TorchBoxPredictor) -> None:
        super().__init__()
        self.prepare = Preparation(locator.network.spec)
        self.network = copy.deepcopy(locator.network.module).cpu().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps of uint8 [N, H, W, C]."""
        maps: Tensor = self.network(self.prepare(images))
        return maps


def make_locator_graph(locator: TorchBoxPredictor, model_sha256: str) -> "ModelProto":
    """Return the graph of a locator, with its description.

    Args:
        locator: the model
        model_sha256: of the `model.safetensors` that it comes from

    Raises:
        DataError: PyTorch cannot export the network, or it is too large for one file.
        ConfigError: the packages for it are not installed.
    """
    if locator.is_detector:
        raise DataError(
            f"A model {locator.network.spec.name} cannot be exported: programs without PyTorch read"
            " maps of a locator alone; use its model.safetensors, or train a locator."
        )
    graph = trace(WholeLocator(locator), locator.network.spec, [MAPS])
    describe_graph(graph, locator.description, model_sha256, "boxes")
    return graph


def export_locator(locator: TorchBoxPredictor, model_sha256: str) -> bytes:
    """Return the bytes of a locator's ONNX file, which gives the maps that the model gives.

    Args:
        locator: the model
        model_sha256: of the `model.safetensors` that it comes from

    Raises:
        DataError: PyTorch cannot export the network, or the file gives other maps.
        ConfigError: the packages for it are not installed.
    """
    content = file_content(make_locator_graph(locator, model_sha256))
    session = start_session(content, Path("exported.onnx"))
    pixels = drawn_photos(locator.description)
    exported = OnnxBoxPredictor(session, locator.description).maps(pixels)
    difference = float(np.abs(exported - locator.maps(pixels)).max())
    if not difference <= MAX_DIFFERENCE:  # also nan
        raise DataError(
            f"The exported locator gives other maps than the model (by {difference:.1e}); use its"
            " model.safetensors."
        )
    return content
