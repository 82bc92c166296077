"""The constant part of a run, saved once beside its checkpoints.

With it each checkpoint can become a model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fedshelf.common.config import RunConfig
from fedshelf.common.errors import RunError
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import Plan
from fedshelf.common.system.files import write_atomic

PLAN_FILE = "plan.safetensors"
_FROZEN = "frozen"


@dataclass(frozen=True)
class SavedPlan:
    """A run's plan and origin.

    Attributes:
        resumed_from: the finished model that the run went on from, as
            `server.training.resume_model.provenance` describes it; None: there is none
        initial_weights: source and SHA-256 of the weights that training began with; None: drawn
    """

    plan: Plan
    resumed_from: Mapping[str, Any] | None
    initial_weights: Mapping[str, str] | None = None


def write(directory: Path, saved: SavedPlan) -> None:
    """Write the plan beside the checkpoints, atomically. Raises OSError."""
    plan = saved.plan
    metadata = {
        "spec": plan.spec.to_json(),
        "run_id": plan.run_id,
        "resumed_from": json.dumps(saved.resumed_from),
        "initial_weights": json.dumps(saved.initial_weights),
    }
    tensors = {} if plan.frozen is None else {_FROZEN: plan.frozen.contiguous()}
    content = save(tensors, metadata=metadata)
    write_atomic(directory / PLAN_FILE, lambda file: file.write(content))


def read(directory: Path, config: RunConfig) -> SavedPlan:
    """Read what `write` wrote, for a run of this configuration.

    Raises:
        RunError: it cannot be read
    """
    path = directory / PLAN_FILE
    if not path.is_file():
        raise RunError(
            f"There is no {path}, the description of the network whose checkpoints lie beside it:"
            " an earlier version made them. Continue the run with --resume, which writes it."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            frozen = file.get_tensor(_FROZEN) if _FROZEN in file.keys() else None  # noqa: SIM118
        plan = Plan(metadata["run_id"], config, ModelSpec.from_json(metadata["spec"]), frozen)
        # an earlier version's file does not have the last
        weights = json.loads(metadata.get("initial_weights", "null"))
        return SavedPlan(plan, json.loads(metadata["resumed_from"]), weights)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); continue the run with --resume, which writes it."
        ) from error
