"""A store's own model: the global one with the parts that never left the store (see `common.personal`)."""

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

from safetensors.torch import save

from client.home import STATES, known_home
from client.states import KEPT_RUNS, StateStore
from common import claims, personal
from common.errors import ConfigError, DataError
from common.files import write_atomic, write_json
from common.models import saved

DESCRIPTION = "model.json"


def export_own(model: Path, name: str, out: Path) -> Path:
    """Write the store's own `model.safetensors` and `model.json` into `out`; the path of the former.

    model: a run's directory or model.safetensors, model.json beside it
    Raises ConfigError if no part of the model is a store's own or the store has none of it, DataError, OSError.
    """
    shared = saved.read(model)
    described = _described(shared.path.with_name(DESCRIPTION), shared.tensors.keys())
    provenance = described["provenance"]
    if not (names := provenance["personal"]):
        raise ConfigError(f"No part of {shared.path} stays at the stores; use it as it is.")
    kept = StateStore(known_home(name) / STATES).load(provenance["run_id"], name, provenance["round"] + 1)
    own = personal.own_tensors(kept, {each: shared.tensors[each] for each in names})
    if not own:
        raise ConfigError(
            f"Store {name} has no part of the model {shared.path}: it trained in no round of that run up"
            f" to {provenance['round']}, or has taken part in {KEPT_RUNS} others since."
        )
    if (path := out / saved.FILE).exists():
        raise ConfigError(f"--out got {out}, which holds a model already; name another folder.")
    content = save({**shared.tensors, **own}, metadata={"spec": shared.spec.to_json()})
    provenance.pop("weights_sha256", None)  # of what all stores share
    write_json(out / DESCRIPTION, described | {"provenance": provenance | {"store": name}})
    write_atomic(path, lambda file: file.write(content))  # last: until it is there, the command may be given again
    return path


def _described(path: Path, tensors: Set[str]) -> dict[str, Any]:
    """What stands beside a model: whose run it is of, after which round, and which of its tensors are the stores'."""
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        told = described["provenance"]
        claims.run_id(told["run_id"])
        if type(told["round"]) is not int or not isinstance(told["personal"], list):
            raise ValueError("round or personal is of another type")
        if unknown := set(told["personal"]) - tensors:
            raise ValueError(f"the model has no {min(unknown)}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"Cannot read {path} ({error}); a model of stores needs the {DESCRIPTION} of its run."
        ) from error
    return described
