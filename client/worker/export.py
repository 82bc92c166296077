"""Export of a store's own model.

It is the chain's model with the parts that never left the store (see
`common.strategies.shared.personalization`) and with the logarithms of the store's class shares in
the head's bias (see `common.strategies.shared.class_skew`).
"""

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedshelf.client.identity.home import STATES_FOLDER, known_home
from fedshelf.client.worker.logit_adjustments import ADJUSTMENTS_FOLDER, Adjustments
from fedshelf.client.worker.state_store import KEPT_RUNS, StateStore
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models import saved
from fedshelf.common.models.head import head_name, set_training
from fedshelf.common.models.model_file import encode_model
from fedshelf.common.models.saved import SavedModel
from fedshelf.common.names import DESCRIPTION_FILE, WEIGHTS_FILE, check_run_id
from fedshelf.common.strategies.shared import personalization
from fedshelf.common.system.files import write_atomic, write_json
from fedshelf.common.training.predict import load

# relative tolerance of scores: adding to the bias and adding to the score differ by rounding only
SCORE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ExportedModel:
    """A model that was written.

    Attributes:
        differences: Its differences from the chain's, in sentences.
    """

    path: Path
    differences: tuple[str, ...]


@dataclass(frozen=True)
class OwnParts:
    """A store's own parts of a model.

    Attributes:
        tensors: Its personal tensors, by name.
        adjustment: Its adjustment of the scores, float32 [C]; None: it has none.
    """

    tensors: Mapping[str, Tensor]
    adjustment: Tensor | None


def export_own(model: Path, name: str, out: Path) -> ExportedModel:
    """Write the store's own `model.safetensors` and `model.json` into `out`.

    Raises ConfigError if the store's model would equal the chain's or the store has no part of it,
    DataError, OSError.

    Args:
        model: A run's directory or model.safetensors, model.json beside it.
    """
    shared = saved.read(model)
    description = _read_description(shared.path.with_name(DESCRIPTION_FILE), shared.tensors.keys())
    own_parts = _own_parts(shared, description["provenance"], name)
    if (path := out / WEIGHTS_FILE).exists():
        raise ConfigError(f"--out got {out}, which holds a model already; name another folder.")
    tensors = {**shared.tensors, **own_parts.tensors}
    if own_parts.adjustment is not None:
        tensors = _with_bias(replace(shared, tensors=tensors), own_parts.adjustment)
    own_description = _own_description(description, name, shared.spec.classes, own_parts.adjustment)
    content = encode_model(shared.spec, tensors, own_description)
    write_json(
        out / DESCRIPTION_FILE, own_description | {"sha256": hashlib.sha256(content).hexdigest()}
    )
    # last: until the model is there, the command can be repeated
    write_atomic(path, lambda file: file.write(content))
    return ExportedModel(path, _differences(description["provenance"], own_parts))


def _own_parts(shared: SavedModel, provenance: Mapping[str, Any], name: str) -> OwnParts:
    """Return the store's own parts of the model. Raises ConfigError if there are none,
    DataError.
    """
    home = known_home(name)
    run_id = provenance["run_id"]
    names = provenance["personal"]
    scores_in_use = _scores_in_use(provenance)
    adjustment = (
        Adjustments(home / ADJUSTMENTS_FOLDER).load(run_id, shared.spec.classes)
        if scores_in_use == "adjusted"
        else None
    )
    if not names:
        if scores_in_use is None:
            raise ConfigError(
                f"No part of {shared.path} stays at the stores, and they add nothing to its scores;"
                " use it as it is."
            )
        if scores_in_use == "raw":
            raise ConfigError(
                f"On the stores' validation images {shared.path} did better as it is than with"
                " their shares of the classes added; use it as it is."
            )
        if adjustment is None:
            raise ConfigError(
                f"Store {name} has no shares of the classes for the model {shared.path}: it trained"
                " in no round of that run, keeps its classes to itself, or has taken part in"
                f" {KEPT_RUNS} others since."
            )
        return OwnParts({}, adjustment)
    state = StateStore(home / STATES_FOLDER).load(run_id, name, provenance["round"] + 1)
    own = personalization.local_tensors(
        state, {tensor_name: shared.tensors[tensor_name] for tensor_name in names}
    )
    if not own:
        raise ConfigError(
            f"Store {name} has no part of the model {shared.path}: it trained in no round of that"
            f" run up to {provenance['round']}, or has taken part in {KEPT_RUNS} others since."
        )
    return OwnParts(own, adjustment)


def _scores_in_use(provenance: Mapping[str, Any]) -> str | None:
    """Return the scores by which stores use the model, "adjusted" or "raw"; None: there is one kind
    only.
    """
    return provenance["adjustment"]["used"] if provenance.get("adjustment") else None


def _with_bias(model: SavedModel, adjustment: Tensor) -> dict[str, Tensor]:
    """Return the model's tensors with `adjustment` (float32 [C]) added to the head's bias.

    Raises ConfigError for a network whose scores do not rise by that (it has no bias, or does not
    end in its head), and for a model whose scores are not finite.
    """
    network = load(model, torch.device("cpu"))
    bias = f"{head_name(network.module)}.bias"
    spec = model.spec
    noise = torch.rand(
        2,
        spec.channels,
        spec.image_size,
        spec.image_size,
        generator=torch.Generator().manual_seed(0),
    )
    set_training(network.module, mode=False)
    with torch.no_grad():
        before = network.module(noise)
        if bias in model.tensors:
            network.module.get_parameter(bias).add_(adjustment)
        after = network.module(noise)
    if not before.isfinite().all():
        raise ConfigError(
            f"The model {model.path} gives scores that are not finite: a round of its run was"
            " spoilt. Wait for the model that replaces it."
        )
    if not torch.allclose(
        after,
        before + adjustment,
        rtol=SCORE_TOLERANCE,
        atol=SCORE_TOLERANCE * float(before.abs().max() + 1),
    ):
        raise ConfigError(
            f"The network {spec.name} does not end in a layer whose bias is added to its scores, so"
            " that no file can hold a store's shares of the classes; use the chain's model as it"
            " is, or train another network."
        )
    return {**model.tensors, bias: model.tensors[bias] + adjustment}


def _own_description(
    description: dict[str, Any], name: str, classes: tuple[str, ...], adjustment: Tensor | None
) -> dict[str, Any]:
    """Return the description of the store's model."""
    provenance = description["provenance"] | {"store": name}
    provenance.pop("weights_sha256", None)  # this is the hash of the parts that all stores share
    own_description = description | {"provenance": provenance}
    if adjustment is None:
        return own_description
    fitted = description["provenance"]["adjustment"]
    return own_description | {
        "temperature": fitted.get("temperature") or description.get("temperature", 1.0),
        # the chain's threshold is of other scores
        "energy_threshold": fitted.get("energy_threshold"),
        "added_to_bias": dict(zip(classes, adjustment.tolist(), strict=True)),
    }


def _differences(provenance: Mapping[str, Any], own_parts: OwnParts) -> tuple[str, ...]:
    """Describe in sentences how the store's model differs from the chain's."""
    differences = []
    if own_parts.tensors:
        differences.append(f"{len(own_parts.tensors)} of its tensors are the store's own.")
    if own_parts.adjustment is not None:
        differences.append(
            "Its scores count this store's shares of the classes; it is for this store's photos"
            " only."
        )
    elif _scores_in_use(provenance) == "raw":
        differences.append(
            "The store's shares of the classes are not added, because the model did better"
            " without them on the stores' validation images."
        )
    return tuple(differences)


def _read_description(path: Path, tensors: Set[str]) -> dict[str, Any]:
    """Read and check the `model.json` beside a model: its run, its round and its personal tensors.

    Raises DataError.
    """
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        provenance = description["provenance"]
        check_run_id(provenance["run_id"])
        if type(provenance["round"]) is not int or not isinstance(provenance["personal"], list):
            raise ValueError("round or personal is of another type")
        if unknown := set(provenance["personal"]) - tensors:
            raise ValueError(f"the model has no {min(unknown)}")
        if _scores_in_use(provenance) not in (None, "adjusted", "raw"):
            raise ValueError("adjustment says neither adjusted nor raw")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"Cannot read {path} ({error}); a model of stores needs the {DESCRIPTION_FILE} of its"
            " run."
        ) from error
    if "store" in provenance:
        raise ConfigError(
            f"{path.parent} holds a store's own model already, that of {provenance['store']}."
        )
    return description
