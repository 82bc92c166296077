"""A finished model, read back from the `model.safetensors` that a run leaves behind."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.models.weights import check_finite
from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.common.release.verify import verify_release_of


@dataclass(frozen=True)
class SavedModel:
    """The content of a model file.

    Attributes:
        path: the file
        spec: architecture, classes, image size, normalisation
        tensors: the whole state dict by torch names, on the CPU
        metadata: the texts in the file
        sha256: of the file's bytes
    """

    path: Path
    spec: ModelSpec
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    sha256: str


def read(path: Path) -> SavedModel:
    """Return the model in a run directory, or in a `model.safetensors`.

    The file alone is enough: its metadata hold the specification. `common.training.predict.load`
    makes a network of it.

    Raises:
        DataError: there is no model, or it cannot be read, or is not finite, or it is one of a
            release that is not as it was signed.
        ConfigError: the keys of releases cannot be read.
    """
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if not file.is_file():
        place = file.parent if file.name == WEIGHTS_FILE else path
        raise DataError(
            f"There is no model in {place}: expected a {WEIGHTS_FILE}, or the directory of a run"
            " that has one."
        )
    verify_release_of(file)
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        with safe_open(file, framework="pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
            spec = ModelSpec.from_json(metadata["spec"])
            tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except KeyError:
        raise DataError(
            f"{file} does not say what network it is for; expected the {WEIGHTS_FILE} of a run."
        ) from None
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(
            f"Cannot read the model {file}: it is no model, or damaged ({_first_line(error)});"
            f" expected the {WEIGHTS_FILE} of a run."
        ) from error
    check_finite(tensors, str(file))
    return SavedModel(file, spec, tensors, metadata, sha256)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
