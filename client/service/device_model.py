"""A model for browsers that run it themselves: its ONNX file, and what they must know of it."""

import json
from dataclasses import dataclass
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.inference.loading import onnx_file_of
from fedshelf.common.inference.predictors.onnx_predictor import open_onnx_content, read_onnx
from fedshelf.common.inference.predictors.onnx_seal import seal_of
from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW


@dataclass(frozen=True)
class DeviceModel:
    """The two files that the page in device mode loads.

    Attributes:
        onnx: `model.onnx`
        description: `model.json`, as UTF-8: name, classes, form of the pixels, thresholds of the
            verdicts, and the seal at the end of the ONNX file, by which a browser sees that both
            belong together
    """

    onnx: bytes
    description: bytes


def device_model_file(path: Path) -> Path:
    """Return the ONNX file of a model.

    Raises:
        DataError: it has none.
    """
    if not path.exists():
        raise DataError(f"There is no model at {path}; expected an ONNX file, or a release.")
    if (file := onnx_file_of(path)) is None:
        raise DataError(
            f"{path} has no ONNX file, which a browser can run; make one first: flower-client"
            " export-onnx MODEL --out model.onnx."
        )
    return file


def read_device_model(file: Path, name: str) -> DeviceModel:
    """Return a model for browsers.

    Args:
        file: its ONNX file
        name: of the model, as the page calls it

    Raises:
        DataError: it cannot be used, or a browser would predict otherwise.
        ConfigError: ONNX Runtime is not installed, or the keys of releases cannot be read.
    """
    content = read_onnx(file)
    told = open_onnx_content(content, file).description
    form = told.pixel_format
    if form.denoise:
        raise DataError(
            f"{file} was trained on photos that were denoised (data.denoise={form.denoise}), which"
            " a browser does not do; serve it instead: flower-client serve."
        )
    values = {
        "name": name,
        "classes": told.class_names,
        "image_size": form.image_size,
        "channels": form.channels,
        "energy_threshold": told.energy_threshold,
        "unsure_below": UNSURE_BELOW,
        "seal": seal_of(content),
    }
    return DeviceModel(content, json.dumps(values, ensure_ascii=False).encode())
