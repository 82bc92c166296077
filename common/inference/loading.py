"""Opening of a finished model, whatever it lies in."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.inference.locators.box_predictor import BoxPredictor
from fedshelf.common.inference.masks.mask_predictor import MaskPredictor
from fedshelf.common.inference.predictors.ensemble import Combination, Ensemble
from fedshelf.common.inference.predictors.model_kinds import check_kind
from fedshelf.common.inference.predictors.onnx_seal import BEGINNING, is_onnx
from fedshelf.common.inference.predictors.predictor import Predictor
from fedshelf.common.models.spec import Output
from fedshelf.common.names import ONNX_FILE, WEIGHTS_FILE
from fedshelf.common.release.verify import is_release

if TYPE_CHECKING:
    from fedshelf.common.inference.predictors.description import ModelDescription
    from fedshelf.common.training.fit import Network


def load(path: Path, device: str = "auto") -> Predictor:
    """Return a model that names products, ready for use.

    Args:
        path: the directory of a run or of a release, a `model.safetensors`, or an ONNX file that
            was exported from it; a file's content decides, not its name
        device: auto, cpu, mps, cuda or cuda:N; an ONNX file runs on the CPU alone

    Raises:
        DataError: there is no model, it is damaged or not of Fedshelf, its files do not belong
            together or are not those that were signed, it lacks parts that stay at the stores, or
            it does not tell products.
        ConfigError: there is no such device, or a package for the file is not installed.
    """
    file = _file_of(path, device)
    return _load_onnx(file, device) if _is_onnx(file) else _load_weights(file, device)


def load_locator(path: Path, device: str = "auto") -> BoxPredictor:
    """Return a model that finds the products of a scene, ready for use.

    Args:
        path: see `load`
        device: see `load`

    Raises:
        DataError: it cannot be used (see `load`), or is no locator.
        ConfigError: there is no such device, or a package for the file is not installed.
    """
    file = _file_of(path, device)
    if _is_onnx(file):
        from fedshelf.common.inference.locators.onnx_locator import open_onnx_locator

        _check_onnx_device(file, device)
        return open_onnx_locator(file)
    from fedshelf.common.inference.locators.torch_locator import TorchBoxPredictor

    return TorchBoxPredictor(*_load_network(file, device, "boxes"))


def load_masks(path: Path, device: str = "auto") -> MaskPredictor:
    """Return a model that tells the pixels of products, ready for use.

    Args:
        path: see `load`
        device: see `load`

    Raises:
        DataError: it cannot be used (see `load`), or is no mask network.
        ConfigError: there is no such device, or a package for the file is not installed.
    """
    file = _file_of(path, device)
    if _is_onnx(file):
        from fedshelf.common.inference.masks.onnx_masks import open_onnx_masks

        _check_onnx_device(file, device)
        return open_onnx_masks(file)
    from fedshelf.common.inference.masks.torch_masks import TorchMaskPredictor

    return TorchMaskPredictor(*_load_network(file, device, "masks"))


def _file_of(path: Path, device: str) -> Path:
    """Return the file of a model that is opened for a device. Raises DataError: there is none."""
    if not path.exists():
        raise DataError(
            f"There is no model at {path}; expected the directory of a run, its {WEIGHTS_FILE}, an"
            " exported ONNX file, or a release."
        )
    if is_release(path) and device in ("auto", "cpu") and _can_run_onnx(path):
        return path / ONNX_FILE
    return path / WEIGHTS_FILE if path.is_dir() else path


def read_kind(weights: Path) -> "tuple[ModelDescription, Output]":
    """Return the description of a model and the kind of its result, whichever kind it is.

    Args:
        weights: its `model.safetensors`

    Raises:
        DataError: it cannot be used; see `load`.
        ConfigError: its network is not known here, or the keys of releases cannot be read.
    """
    from fedshelf.common import models
    from fedshelf.common.inference.predictors.description import read_description
    from fedshelf.common.models import saved

    model = saved.read(weights)
    description = read_description(model.path, model.metadata, model.sha256)
    description.check_usable(model.path)
    return description, models.output_of(model.spec.name)


def load_all(
    paths: Sequence[Path],
    device: str = "auto",
    combination: Combination = "mean",
    weights: Sequence[float] | None = None,
) -> Predictor:
    """Return one model, or several that answer together.

    Args:
        paths: see `load`
        device: see `load`
        combination: of several: mean or vote
        weights: of several: one above 0 for each, for the mean; None: equal ones

    Raises:
        DataError: a model cannot be used, or they do not go together.
        ConfigError: there is no such device, or the weights do not fit.
    """
    members = [load(path, device) for path in paths]
    return members[0] if len(members) == 1 else Ensemble(members, combination, weights)


def onnx_file_of(path: Path) -> Path | None:
    """Return the ONNX file of a model: the path itself, or that of a release; None: it has none.

    Raises:
        DataError: the path cannot be read.
    """
    file = path / ONNX_FILE if is_release(path) else path
    return file if file.is_file() and _is_onnx(file) else None


def _can_run_onnx(release: Path) -> bool:
    """Return whether a release has an ONNX file and this machine the package for it."""
    has_runtime = importlib.util.find_spec("onnxruntime") is not None
    return has_runtime and (release / ONNX_FILE).is_file()


def _is_onnx(file: Path) -> bool:
    """Return whether a file is ONNX, by its content. Raises DataError."""
    try:
        with file.open("rb") as stream:
            return is_onnx(stream.read(BEGINNING))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DataError(f"Cannot read the model {file} ({error.strerror or error}).") from error


def _load_onnx(file: Path, device: str) -> Predictor:
    """Return the model in an ONNX file, for ONNX Runtime. Raises DataError, ConfigError."""
    from fedshelf.common.inference.predictors.onnx_predictor import open_onnx

    _check_onnx_device(file, device)
    return open_onnx(file)


def _check_onnx_device(file: Path, device: str) -> None:
    """Raise ConfigError unless ONNX Runtime has the device."""
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"The ONNX file {file} runs on the CPU, but --device is {device!r}; use auto, or the"
            f" {WEIGHTS_FILE} that it was exported from."
        )


def _load_weights(file: Path, device: str) -> Predictor:
    """Return the model in a `model.safetensors`, for PyTorch. Raises DataError, ConfigError."""
    from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor

    return TorchPredictor(*_load_network(file, device, "classes"))


def _load_network(file: Path, device: str, output: Output) -> "tuple[Network, ModelDescription]":
    """Return a network of one kind with its description. Raises DataError, ConfigError."""
    from fedshelf.common import models
    from fedshelf.common.inference.predictors.description import read_description
    from fedshelf.common.models import saved
    from fedshelf.common.system.allocator import keep_freed_memory
    from fedshelf.common.system.device import pick_device
    from fedshelf.common.training import predict

    model = saved.read(file)
    description = read_description(model.path, model.metadata, model.sha256)
    if description.spec != model.spec:
        raise DataError(
            f"{model.path} and its description are of different networks; copy both from one run."
        )
    check_kind(models.output_of(model.spec.name), output, model.path)
    description.check_usable(model.path)
    keep_freed_memory()
    return predict.load(model, pick_device(device)), description
