"""Models for browsers that run them themselves: their ONNX files, and what browsers must know."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedshelf.common.errors import DataError
from fedshelf.common.inference.loading import onnx_file_of
from fedshelf.common.inference.locators.box_predictor import LEAST_SCORE
from fedshelf.common.inference.locators.onnx_locator import open_onnx_locator_content
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.onnx_predictor import open_onnx_content, read_onnx
from fedshelf.common.inference.predictors.onnx_seal import seal_of
from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW
from fedshelf.common.inference.scenes.locating import counting_score
from fedshelf.common.inference.scenes.scene_reader import names_products


@dataclass(frozen=True)
class DeviceModel:
    """The two files that the page in device mode loads.

    Attributes:
        onnx: `model.onnx`, or `locator.onnx`
        description: `model.json`, or `locator.json`, as UTF-8: classes, form of the pixels,
            thresholds, and the seal at the end of the ONNX file, by which a browser sees that both
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


def read_device_model(file: Path, name: str, *, has_locator: bool = False) -> DeviceModel:
    """Return a model for browsers.

    Args:
        file: its ONNX file
        name: of the model, as the page calls it
        has_locator: whether a locator goes with it, which the browser runs, too

    Raises:
        DataError: it cannot be used, or a browser would predict otherwise.
        ConfigError: ONNX Runtime is not installed, or the keys of releases cannot be read.
    """
    content = read_onnx(file)
    told = open_onnx_content(content, file).description
    values = {
        "name": name,
        **_form(told, file),
        "energy_threshold": told.energy_threshold,
        "unsure_below": UNSURE_BELOW,
        "has_locator": has_locator,
    }
    return _device_model(content, values)


def read_device_locator(file: Path) -> DeviceModel:
    """Return a locator for browsers.

    Args:
        file: its ONNX file

    Raises:
        DataError: it cannot be used, or a browser would find other boxes.
        ConfigError: ONNX Runtime is not installed, or the keys of releases cannot be read.
    """
    content = read_onnx(file)
    locator = open_onnx_locator_content(content, file)
    values = {
        **_form(locator.description, file),
        "names_products": names_products(locator.description),
        "counting_score": counting_score(locator),
        "least_score": LEAST_SCORE,
    }
    return _device_model(content, values)


def _form(told: ModelDescription, file: Path) -> dict[str, Any]:
    """Return the classes, and the form of the pixels, of any model. Raises DataError."""
    form = told.pixel_format
    if form.denoise:
        raise DataError(
            f"{file} was trained on photos that were denoised (data.denoise={form.denoise}), which"
            " a browser does not do; serve it instead: flower-client serve."
        )
    return {
        "classes": told.class_names,
        "image_size": form.image_size,
        "channels": form.channels,
    }


def _device_model(content: bytes, values: dict[str, Any]) -> DeviceModel:
    described = values | {"seal": seal_of(content)}
    return DeviceModel(content, json.dumps(described, ensure_ascii=False).encode())
