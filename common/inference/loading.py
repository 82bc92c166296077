"""Opening of a finished model, whatever it lies in."""

from collections.abc import Sequence
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.inference.predictors.ensemble import Combination, Ensemble
from fedshelf.common.inference.predictors.predictor import Predictor
from fedshelf.common.names import WEIGHTS_FILE


def load(path: Path, device: str = "auto") -> Predictor:
    """Return the model in a run directory or a `model.safetensors`, ready for use.

    Args:
        path: the directory or the file
        device: auto, cpu, mps, cuda or cuda:N

    Raises:
        DataError: there is no model, its files do not belong together, it lacks parts that stay at
            the stores, or it does not tell products.
        ConfigError: there is no such device.
    """
    if not path.exists():
        raise DataError(
            f"There is no model at {path}; expected the directory of a run, or its {WEIGHTS_FILE}."
        )
    return _load_weights(path / WEIGHTS_FILE if path.is_dir() else path, device)


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


def _load_weights(file: Path, device: str) -> Predictor:
    """Return the model in a `model.safetensors`, for PyTorch. Raises DataError, ConfigError."""
    from fedshelf.common.inference.predictors.description import read_description
    from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor
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
    description.check_usable(model.path)
    keep_freed_memory()
    return TorchPredictor(predict.load(model, pick_device(device)), description)
