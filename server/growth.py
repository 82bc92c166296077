"""A run that goes on from a finished model, with more classes: what it takes over."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from common.config import RunConfig, resolve
from common.errors import ConfigError
from common.models.grow import grow, without_new
from common.models.saved import SavedModel, read
from common.training import Network
from server.run_directory import RunDirectory

_NETWORK = {"model.name": "name", "model.norm": "norm", "data.image_size": "image_size"}


@dataclass(frozen=True)
class Origin:
    """The finished model that a run goes on from.

    params: float32 [P], the run's first model choosing among the old classes only; None: its head has no bias
    """

    saved: SavedModel
    params: Tensor | None


def adopt(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flat settings, with the network of the model in `model.resume_from` and its run's `data.split` if that is set.

    Raises ConfigError for a setting that contradicts the model, DataError if there is none.
    """
    if not (path := settings.get("model.resume_from")):
        return dict(settings)
    saved, config = read(Path(str(path))), resolve(settings)
    found = {"model.resume_from": str(saved.path.resolve())}
    for key, field in _NETWORK.items():
        section, _, name = key.partition(".")
        asked, old = getattr(getattr(config, section), name), getattr(saved.spec, field)
        if key in settings and asked not in (old, 0):
            raise ConfigError(
                f"Setting {key} got {asked!r}, but the model {saved.path} to go on from has {old!r}; leave it out."
            )
        found[key] = old
    if "data.split" not in settings and RunDirectory.is_run(saved.path.parent):
        found["data.split"] = RunDirectory.stored(saved.path.parent, {}).data.split  # photos held out stay unseen
    _check(config, saved)
    return {**settings, **found}


def _check(config: RunConfig, saved: SavedModel) -> None:
    if config.model.weights != "none":
        raise ConfigError(
            f"Setting model.weights got {config.model.weights!r}, but the run goes on from {saved.path}, which has all"
            " weights; leave one of them out."
        )
    lost = [name for name in saved.spec.classes if config.data.classes and name not in config.data.classes]
    if lost:
        raise ConfigError(
            f"--classes leaves out {lost[0]!r}, which the model {saved.path} knows: name all of its classes"
            f" ({', '.join(saved.spec.classes)}), and the new ones beside them."
        )


def take_over(network: Network, saved: SavedModel) -> Origin:
    """Copy a finished model into a run's first one, whose new classes' rows stay as they were drawn."""
    classes, layout = network.spec.classes, network.layout
    grow(network.module, saved, classes)
    if (bias := f"{layout.head}.bias") not in layout.names:
        return Origin(saved, None)
    params = network.vector.detach().clone()
    params[layout.span(bias)] = without_new(params[layout.span(bias)], saved, classes)
    return Origin(saved, params)


def provenance(saved: SavedModel) -> dict[str, Any]:
    """Which model it was: its file's SHA-256, and what the model.json beside it says of the run that made it."""
    told: dict[str, Any] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = dict(json.loads(saved.path.with_name("model.json").read_text(encoding="utf-8"))["provenance"])
    digest = hashlib.sha256(saved.path.read_bytes()).hexdigest()
    made = {key: told.get(key) for key in ("run_id", "made", "round", "weights_sha256")}
    return {"file_sha256": digest, "classes": list(saved.spec.classes), **made}


__all__ = ["Origin", "adopt", "provenance", "take_over"]
