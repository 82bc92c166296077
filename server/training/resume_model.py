"""Continuation of a run from a finished model, with more classes."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models import output_of
from fedshelf.common.models.expand_head import expand_head, mask_new_classes
from fedshelf.common.models.saved import SavedModel, read
from fedshelf.common.models.weights import load_fitting
from fedshelf.common.names import DESCRIPTION_FILE, WEIGHTS_FILE
from fedshelf.common.tasks import SceneTask, task_of
from fedshelf.common.training.fit import Network
from fedshelf.common.wording import format_list
from fedshelf.server.results.past_rounds import model_of_round
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.settings import recipes

_NETWORK = {"model.name": "name", "model.norm": "norm", "data.image_size": "image_size"}


@dataclass(frozen=True)
class Origin:
    """The finished model that a run goes on from.

    Attributes:
        params: float32 [P], the run's first model, with the new classes' biases set so that it
            chooses among the old classes only; None: its head has no bias
    """

    saved: SavedModel
    params: Tensor | None


def adopt(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat settings, with those that the model in `model.resume_from` decides.

    These are the settings of its network, and its run's `data.split` if that is not set.
    `model.resume_from` may also name a round of a run, finished or not: RUN@best, RUN@last or
    RUN@N.

    Raises ConfigError for a setting that contradicts the model; DataError or RunError if there is
    no model.
    """
    if not settings.get("model.resume_from"):
        return dict(settings)
    saved = read(_origin(settings))
    config = resolve(settings)
    inherited = {"model.resume_from": str(saved.path.resolve())}
    for key, field in _NETWORK.items():
        section, _, name = key.partition(".")
        setting = getattr(getattr(config, section), name)
        old = getattr(saved.spec, field)
        if key in settings and setting not in (old, 0):
            raise ConfigError(
                f"Setting {key} got {setting!r}, but the model {saved.path} to go on from has"
                f" {old!r}; leave it out."
            )
        inherited[key] = old
    objective = task_of(saved.spec)
    if isinstance(objective, SceneTask):
        if settings.get("train.objective", objective.name) != objective.name:
            raise ConfigError(
                f"Setting train.objective got {settings['train.objective']}, but the model"
                f" {saved.path} to go on from tells {objective.name}; leave it out."
            )
        inherited["train.objective"] = objective.name
    # a recipe may choose another part to train; whether the images are photos, the model decides
    chosen = recipes.complete({**settings, **inherited}, photos=True).settings
    if "model.freeze" not in chosen and saved.spec.freeze != "none":
        inherited["model.freeze"] = saved.spec.freeze
    runs = [
        directory
        for directory in (saved.path.parent, saved.path.parent.parent)
        if RunDirectory.is_run(directory)
    ]
    # the run's own model, or that of another of its rounds
    if "data.split" not in settings and runs:
        # photos held out stay unseen
        inherited["data.split"] = RunDirectory.read_config(runs[0]).data.split
    _check(config, saved)
    return {**settings, **inherited}


def _origin(settings: Mapping[str, Any]) -> Path:
    """Return the path of the model file or finished run.

    A model of a round is first written into its run.
    """
    path = Path(str(settings["model.resume_from"]))
    own_run = Path(str(settings.get("run.out") or ""))
    if path.exists():
        _check_finished(path)
        return path
    run, is_round, which = str(path).rpartition("@")
    if not (is_round and RunDirectory.is_run(Path(run))):
        return path  # `read` refuses it and says what it expects
    # a resumed run keeps the round that was the best, or the last, when it began
    if RunDirectory.is_run(own_run):
        taken = RunDirectory.read_config(own_run).model.resume_from
        if taken and Path(taken).is_relative_to(Path(run).resolve()):
            return Path(taken)
    return model_of_round(Path(run), which)


def _check_finished(path: Path) -> None:
    """Check that `path` is no run without a model and no checkpoint; raise DataError if it is.

    The message tells how to name a round.
    """
    run = path.parent.parent if path.parent.name == "checkpoints" else path
    if RunDirectory.is_run(run) and not (run / WEIGHTS_FILE).is_file():
        raise DataError(
            f"The run in {run} has no {WEIGHTS_FILE} yet: it is not finished. Name the round to go"
            f" on from: {run}@best, {run}@last or {run}@N, of those that have a checkpoint."
        )


def _check(config: RunConfig, saved: SavedModel) -> None:
    if config.model.weights != "none":
        raise ConfigError(
            f"Setting model.weights got {config.model.weights!r}, but the run goes on from"
            f" {saved.path}, which has all weights; leave one of them out."
        )
    lost = [
        name
        for name in saved.spec.classes
        if config.data.classes and name not in config.data.classes
    ]
    if lost:
        raise ConfigError(
            f"--classes leaves out {lost[0]!r}, which the model {saved.path} knows: name all of its"
            f" classes ({', '.join(saved.spec.classes)}), and the new ones beside them."
        )


def take_over(network: Network, saved: SavedModel) -> Origin:
    """Copy a finished model into a run's first one.

    The new classes' rows stay as they were drawn. A network for scenes has no head to grow: it
    takes over all weights.
    """
    classes = network.spec.classes
    layout = network.layout
    if output_of(network.spec.name) != "classes":
        if saved.spec.classes != classes:
            raise ConfigError(
                f"The model {saved.path} tells {format_list(saved.spec.classes)}, but this run"
                f" {format_list(classes)}; expected the same."
            )
        load_fitting(network.module, saved.tensors, str(saved.path))
        return Origin(saved, None)
    expand_head(network.module, saved, classes)
    if (bias := f"{layout.head}.bias") not in layout.names:
        return Origin(saved, None)
    params = network.vector.detach().clone()
    params[layout.slice_of(bias)] = mask_new_classes(params[layout.slice_of(bias)], saved, classes)
    return Origin(saved, params)


def provenance(saved: SavedModel) -> dict[str, Any]:
    """Return the origin of a model.

    It has the SHA-256 of the model's file, and the run that made it as its model.json says.
    """
    recorded: dict[str, Any] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        recorded = dict(
            json.loads(saved.path.with_name(DESCRIPTION_FILE).read_text(encoding="utf-8"))[
                "provenance"
            ]
        )
    digest = hashlib.sha256(saved.path.read_bytes()).hexdigest()
    made = {key: recorded.get(key) for key in ("run_id", "made", "round", "weights_sha256")}
    return {"file_sha256": digest, "classes": list(saved.spec.classes), **made}


__all__ = ["Origin", "adopt", "provenance", "take_over"]
