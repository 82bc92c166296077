"""The model for use: `model.safetensors` and `model.json`."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from fedshelf.common.classes.display_names import ProductNames, display_name
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import RunError
from fedshelf.common.models.model_file import describe, encode_model, is_described_by
from fedshelf.common.names import DESCRIPTION_FILE, WEIGHTS_FILE, run_name
from fedshelf.common.protocol.messages import Plan
from fedshelf.common.protocol.model_delivery import MAX_DESCRIPTION_BYTES, DeliverOrder
from fedshelf.common.system.files import write_atomic, write_json
from fedshelf.common.training.fit import Network
from fedshelf.server.results.checkpoints import TrainingState
from fedshelf.server.results.release import read_release
from fedshelf.server.results.run_directory import finite


def write_model(
    directory: Path, plan: Plan, state: TrainingState, summary: dict[str, Any], names: ProductNames
) -> str:
    """Write the global model of `state` and all that is needed to use it, atomically.

    Return its SHA-256.

    model.safetensors: the whole state dict by torch names, with the spec and the content of the
                       other file in the metadata (see `common.models.model_file`)
    model.json: architecture, classes, image size, normalisation; provenance and test result of the
    raw model;
                       `temperature`: scores are divided by it before the softmax, so that
                           confidences can be trusted
                       (1: unchanged), also of the raw model; `energy_threshold`: log sum exp of its
                       scores below which an image is like nothing that it knows (null: not
                       measured); `denoise`: pixels, side of the median filter over a photo (0:
                       none); `adjustment`: which scores stores use
                       (see `server.training.final_evaluation`); `class_names` in the order of the
                       classes, if there are `names`; the SHA-256 of the other file

    Raises OSError.
    """
    network = Network(plan.spec, torch.device("cpu"))
    if plan.frozen is not None:
        network.load_frozen(plan.frozen)
    network.load(state.model)
    tensors = {
        name: tensor.detach().clone() for name, tensor in network.module.state_dict().items()
    }
    calibration = summary["calibration"] or {}
    use = {
        "temperature": calibration.get("temperature") or 1.0,
        "energy_threshold": calibration.get("energy_threshold"),
        "denoise": plan.config.data.denoise,
        "provenance": _provenance(plan, state, summary),
    }
    description = _with_names(finite(json.loads(plan.spec.to_json()) | use), names)
    return _write(directory, encode_model(plan.spec, tensors, description), description)


def rename_model(directory: Path, names: ProductNames) -> str:
    """Give the classes of the model in `directory` other names, in both of its files.

    Return its new SHA-256.

    Raises OSError, ValueError.
    """
    description = json.loads((directory / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    renamed = _with_names(description, names)
    return _write(directory, describe((directory / WEIGHTS_FILE).read_bytes(), renamed), renamed)


def _write(directory: Path, content: bytes, description: Mapping[str, Any]) -> str:
    """Write both files of a model, each atomically; return the SHA-256. Raises OSError."""
    write_atomic(directory / WEIGHTS_FILE, lambda file: file.write(content))
    sha256 = hashlib.sha256(content).hexdigest()
    write_json(directory / DESCRIPTION_FILE, {**description, "sha256": sha256})
    return sha256


def _with_names(description: Mapping[str, Any], names: ProductNames) -> dict[str, Any]:
    """Return the content of `model.json` with `class_names`, if there are `names`.

    They are in the order of the classes.
    """
    others = {key: value for key, value in description.items() if key != "class_names"}
    return others | (
        {"class_names": [display_name(names, label) for label in description["classes"]]}
        if names
        else {}
    )


def model_order(run: Path, config: RunConfig, folder: Path) -> DeliverOrder:
    """Return the delivery order for the model in `folder`, made by the run in the directory `run`.

    Raises RunError.
    """
    try:
        content = (folder / WEIGHTS_FILE).read_bytes()
        told = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        network = told["name"]
        run_id = told["provenance"]["run_id"]
        is_whole = is_described_by(content, told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"There is no whole model in {folder}: {WEIGHTS_FILE} or {DESCRIPTION_FILE} cannot be"
            " read."
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    # an earlier version's description does not say it
    if told.setdefault("sha256", sha256) != sha256:
        raise RunError(
            f"{folder / WEIGHTS_FILE} is not the model that the {DESCRIPTION_FILE} beside it names"
            " by its SHA-256."
        )
    if not is_whole:
        raise RunError(
            f"{folder / DESCRIPTION_FILE} does not agree with {folder / WEIGHTS_FILE}: one of them"
            " was changed. Export the model again (flower-server export)."
        )
    release = read_release(run, sha256)
    description = release.pop(DESCRIPTION_FILE, None) or (
        json.dumps(told, ensure_ascii=False, indent=2).encode() + b"\n"
    )
    if len(description) > MAX_DESCRIPTION_BYTES:
        raise RunError(
            f"{folder / DESCRIPTION_FILE} has {len(description)} bytes; stores take"
            f" {MAX_DESCRIPTION_BYTES}."
        )
    name = run_name(config.run.name or run.resolve().name)
    return DeliverOrder(
        run_id, name, network, description, sha256, len(content), content, release=release
    )


def weights_sha256(plan: Plan, state: TrainingState) -> str:
    """Return the SHA-256 of the bytes of the frozen and the travelling parameters.

    The bytes are float32, little-endian.
    """
    frozen = plan.frozen if plan.frozen is not None else torch.empty(0)
    digest = hashlib.sha256()
    for vector in (frozen, state.model):
        digest.update(vector.cpu().numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def _provenance(plan: Plan, state: TrainingState, summary: dict[str, Any]) -> dict[str, Any]:
    test = summary["test"]
    return {
        "run_id": plan.run_id,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "round": state.round,
        "rounds": summary["rounds"],
        "delivered_because": summary["delivered_because"],
        "dataset": _dataset_name(plan.config.data.dataset),
        "strategy": plan.config.strategy.name,
        "personal": summary["personal"],
        "stores": summary["stores"],
        "adjustment": summary["adjustment"],
        "counting": summary.get("counting"),
        "resumed_from": summary["resumed_from"],
        "initial_weights": summary.get("initial_weights"),  # an earlier version's lacks it
        "test": (
            {key: test[key] for key in ("accuracy", "macro_f1", "loss", "on")} if test else None
        ),
        "weights_sha256": summary["weights_sha256"],
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("fedshelf", "torch", "torchvision", "flwr")
        },
    }


def _dataset_name(dataset: str) -> str:
    """Return the name of a data set; of a folder its last part, as the model goes to others."""
    return Path(dataset).name if Path(dataset).is_absolute() else dataset
