"""Networks of the Hugging Face hub, `hf:OWNER/NAME`: timm's, and releases of Fedshelf.

A repository says in `config.json` which architecture of timm it has; a release of Fedshelf says in
`model.safetensors` itself. The name of the architecture and the normalisation go into the model's
specification, so that stores, and whoever uses the finished model, need no hub.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fedshelf.common import hub
from fedshelf.common.errors import DataError
from fedshelf.common.models.spec import TIMM, ModelInfo, ModelSpec, received_spec
from fedshelf.common.models.weights import LoadedWeights, read_weights
from fedshelf.common.names import WEIGHTS_FILE

CONFIG_FILE = "config.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
COLOURS = 3  # red, green, blue


def find_timm(name: str) -> ModelInfo | None:
    """Return the facts about a repository with an architecture of timm; None if it is a release.

    Raises:
        ConfigError: the hub's library or timm is not installed, or the name has another form.
        DataError: the repository cannot be had, or has neither.
    """
    folder = _folder(name)
    if _released(folder):
        return None
    from fedshelf.common.models import timm_zoo

    told = _config(name, folder)
    architecture = told.get("architecture")
    if not isinstance(architecture, str):
        raise DataError(
            f"{name} is no model of timm: its {CONFIG_FILE} has no architecture (it names"
            f" {told.get('architectures') or told.get('model_type') or 'none'}); expected a"
            " repository of timm, or a release of Fedshelf."
        )
    if told.get("model_args"):
        raise DataError(
            f"{name} has arguments of its own for {architecture} ({told['model_args']}), which a"
            " model's name does not tell others; use a repository without model_args."
        )
    known = timm_zoo.find(architecture)
    facts = told.get("pretrained_cfg") or told
    size, mean, std = (facts.get(key) for key in ("input_size", "mean", "std"))
    return replace(
        known,
        architecture=f"{TIMM}{architecture}",
        default_size=int(size[-1]) if size else known.default_size,
        mean=_colours(name, mean) or known.mean,
        std=_colours(name, std) or known.std,
    )


def released_spec(name: str) -> ModelSpec:
    """Return the specification in a release of Fedshelf.

    Raises:
        DataError: it is not one.
    """
    spec = _released(_folder(name))
    if spec is None:
        raise DataError(f"{name} is no release of Fedshelf.")
    return spec


def read(name: str) -> LoadedWeights:
    """Return the weights in a repository.

    Raises:
        ConfigError: the hub's library is not installed, or the name has another form.
        DataError: the repository cannot be had, or its weights cannot be used.
    """
    weights = read_weights(_folder(name) / WEIGHTS_FILE)
    return replace(weights, source=name)


def _folder(name: str) -> Path:
    """Return the folder of a repository that has weights in safetensors.

    Raises ConfigError, DataError.
    """
    folder = hub.snapshot(name, "model", (WEIGHTS_FILE, CONFIG_FILE))
    if not (folder / WEIGHTS_FILE).is_file():
        pickles = [path.name for pattern in PICKLES for path in folder.glob(pattern)]
        found = f"; {pickles[0]} is a pickle, which runs code when it is read" if pickles else ""
        raise DataError(
            f"{name} has no {WEIGHTS_FILE}{found}. Nothing else is ever opened: use another"
            " repository, or convert its weights once and pass --weights FILE.safetensors."
        )
    return folder


def _released(folder: Path) -> ModelSpec | None:
    """Return the specification in a file of weights, if Fedshelf wrote it."""
    try:
        with safe_open(folder / WEIGHTS_FILE, "pt") as file:
            return received_spec(file.metadata()["spec"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _config(name: str, folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name} has no readable {CONFIG_FILE} ({error}), which names its architecture; use"
            " another repository."
        ) from error
    if not isinstance(told, dict):
        raise DataError(f"The {CONFIG_FILE} of {name} is no JSON object; use another repository.")
    return told


def _colours(name: str, values: Any) -> tuple[float, ...]:
    """Return a mean or deviation per channel; () if there is none."""
    if values is None:
        return ()
    numbers = tuple(float(value) for value in values)
    if len(numbers) != COLOURS:
        raise DataError(f"{name} is for images of {len(numbers)} channels; expected 3 (RGB).")
    return numbers
