"""A finished model, read back from the `model.safetensors` that a run leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.models.weights import check_finite
from fedshelf.common.names import WEIGHTS_FILE


@dataclass(frozen=True)
class SavedModel:
    """The content of a model file.

    Attributes:
        path: the file
        spec: architecture, classes, image size, normalisation
        tensors: the whole state dict by torch names, on the CPU
    """

    path: Path
    spec: ModelSpec
    tensors: Mapping[str, Tensor]


def read(path: Path) -> SavedModel:
    """Return the model in a run directory, or in a `model.safetensors`.

    The file alone is enough: its metadata hold the specification. `common.training.predict.load`
    makes a network of it.

    Raises:
        DataError: there is no model, or it cannot be read, or is not finite.
    """
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"There is no model in {path}: expected a {WEIGHTS_FILE}, or the directory of a run"
            " that has one."
        )
    try:
        with safe_open(file, framework="pt") as opened:
            spec = ModelSpec.from_json((opened.metadata() or {})["spec"])
            tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except KeyError:
        raise DataError(
            f"{file} does not say what network it is for; expected the {WEIGHTS_FILE} of a run."
        ) from None
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(
            f"Cannot read the model {file} ({_first_line(error)}); expected the {WEIGHTS_FILE} of a"
            " run."
        ) from error
    check_finite(tensors, str(file))
    return SavedModel(file, spec, tensors)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
