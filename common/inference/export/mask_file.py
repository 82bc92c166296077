"""A finished mask network as one ONNX file: photos of any size in, probabilities of pixels out.

    images -> resize on whole numbers -> normalise -> network -> softmax -> masks

The masks have the network's own size, whatever the size of the photos.
"""

import copy
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fedshelf.common.errors import DataError
from fedshelf.common.inference.export.onnx_file import (
    Preparation,
    describe_graph,
    drawn_photos,
    file_content,
    trace,
)
from fedshelf.common.inference.masks.onnx_masks import MASKS, OnnxMaskPredictor
from fedshelf.common.inference.masks.torch_masks import TorchMaskPredictor
from fedshelf.common.inference.predictors.onnx_predictor import start_session
from fedshelf.common.inference.predictors.predictor import Pixels

MAX_DIFFERENCE = 1e-3
"""The greatest difference of a probability between a mask network and its export."""


class WholeMaskNetwork(nn.Module):
    """A mask network with all that stands before and after it.

    Args:
        predictor: its network is copied
    """

    def __init__(self, predictor: TorchMaskPredictor) -> None:
        super().__init__()
        self.prepare = Preparation(predictor.network.spec)
        self.network = copy.deepcopy(predictor.network.module).cpu().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities [N, classes, S, S] of uint8 [N, H, W, C]."""
        return torch.softmax(self.network(self.prepare(images)), dim=1)


def export_masks(
    predictor: TorchMaskPredictor, model_sha256: str, photos: Iterable[Pixels] = ()
) -> bytes:
    """Return the bytes of a mask network's ONNX file, which gives the masks that the model gives.

    Args:
        predictor: the model
        model_sha256: of the `model.safetensors` that it comes from
        photos: on which both are compared, uint8 [N, H, W, C] each, beside some drawn pictures

    Raises:
        DataError: PyTorch cannot export the network, or the file gives other masks.
        ConfigError: the packages for it are not installed.
    """
    graph = trace(WholeMaskNetwork(predictor), predictor.network.spec, [MASKS])
    describe_graph(graph, predictor.description, model_sha256, "masks")
    content = file_content(graph)
    session = start_session(content, Path("exported.onnx"))
    exported = OnnxMaskPredictor(session, predictor.description)
    for pixels in (drawn_photos(predictor.description), *photos):
        difference = float(np.abs(exported.masks(pixels) - predictor.masks(pixels)).max())
        if not difference <= MAX_DIFFERENCE:  # also nan
            raise DataError(
                f"The exported mask network gives other masks than the model (by {difference:.1e});"
                " use its model.safetensors."
            )
    return content
