"""Train one product-image classifier across many stores; the photos never leave them."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedshelf.common.inference.finished_model import FinishedModel


def load(
    model: str | PathLike[str] | Sequence[str | PathLike[str]], device: str = "auto"
) -> "FinishedModel":
    """Return a finished model: `fedshelf.load("shop.onnx").predict(["photo.jpg"])`.

    Args:
        model: the directory of a run, its `model.safetensors`, or an exported ONNX file, which
            needs no PyTorch; or several of them, which then answer together
        device: auto, cpu, mps, cuda or cuda:N
    """
    from fedshelf.common.inference.finished_model import open_finished

    return open_finished(model, device)
