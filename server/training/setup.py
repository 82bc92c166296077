"""The initial state of a run: the agreed plan and the first global model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fedshelf.common import models, strategies
from fedshelf.common.classes.spelling import choose_spellings
from fedshelf.common.config import RunConfig, flatten, resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.hub import HUB
from fedshelf.common.metrics import formulas
from fedshelf.common.models import expand_head
from fedshelf.common.models import saved as saved_model
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.privacy import dp_settings
from fedshelf.common.protocol.messages import Plan, StoreInfo
from fedshelf.common.tasks import TASKS, SceneTask, task_in
from fedshelf.common.training.fit import Network, check_privacy
from fedshelf.server import trackers
from fedshelf.server.store_privacy import refusals
from fedshelf.server.training.class_confirmation import unconfirmed
from fedshelf.server.training.resume_model import Origin, take_over
from fedshelf.server.updates import secure_sums

# A store has hundreds of photos, not thousands, and would take few steps a round (measured in
# docs/results.md).
PHOTOS = {"train.epochs": 5, "train.batch_size": 16}
# Stores sell different products in different shares, so class offsets use the shares (measured
# there, too).
UNLIKE = {"strategy.absent_classes": "weigh"}
NOT_CHOSEN = {
    "train.epochs": 0,
    "train.batch_size": 0,
    "strategy.absent_classes": "auto",
    "model.norm": "default",
    "run.deliver": "auto",
}


@dataclass(frozen=True)
class InitialState:
    """The start of a run.

    Attributes:
        params: float32 [P], the initial model
        layout: the places of the tensors in `params`
        origin: the finished model that the run goes on from, or None
        initial_weights: source and SHA-256 of the weights that training begins with, or None
    """

    plan: Plan
    params: Tensor
    layout: Layout
    origin: Origin | None = None
    initial_weights: Mapping[str, str] | None = None

    def identified(self, run_id: str) -> "InitialState":
        """Return the same start, with the plan's run id set to `run_id`."""
        return replace(self, plan=replace(self.plan, run_id=run_id))


@dataclass(frozen=True)
class Agreement:
    """The ordered classes of a run, and those of them that a person has to confirm.

    Attributes:
        unconfirmed: class -> the stores that have it (see `server.training.class_confirmation`)
    """

    classes: tuple[str, ...]
    unconfirmed: Mapping[str, Sequence[str]]


def agree_on_classes(config: RunConfig, stores: Mapping[str, StoreInfo]) -> Agreement:
    """Return the ordered classes of a run.

    These are the given ones, else those of the model that the run goes on from, followed by all
    other classes that the stores have, sorted.

    Raises:
        DataError: there are fewer than two, or stores spell one in several ways (see
            `common.classes.spelling`)
    """
    if classes := TASKS[config.train.objective].own_classes(config.data.classes):
        return Agreement(classes, {})
    path = config.model.resume_from
    known = saved_model.read(Path(path)).spec.classes if path and not config.data.classes else ()
    classes = config.data.classes or _joined(known, stores, merge=config.data.merge_spellings)
    if len(classes) < 2:
        raise DataError(
            f"Got {len(classes)} product class(es) ({', '.join(classes) or 'none'}); a classifier"
            " needs at least two: name them with --classes (stores may keep theirs private), or"
            " have a sub-folder of photos for each class at the stores."
        )
    return Agreement(classes, unconfirmed(config, classes, known, stores))


def _joined(
    known: tuple[str, ...], stores: Mapping[str, StoreInfo], *, merge: bool
) -> tuple[str, ...]:
    """Return the classes of a model, followed by the stores' other classes, sorted."""
    owners = {name: info.counts for name, info in sorted(stores.items())}
    return (
        *known,
        *sorted(set(choose_spellings(owners, known, merge=merge).values()) - set(known)),
    )


def settle(config: RunConfig, native_size: int | None, channels: int) -> RunConfig:
    """Return the configuration with the settings that depend on the data.

    These are `data.image_size` (for its model), `train.epochs`, `train.batch_size`,
    `strategy.absent_classes`, and `run.deliver` of a strategy in closed form. Private training at
    the stores has neither epochs nor batches, and no class offsets, which couple images. If updates
    are noised, the last model is delivered, absent classes count like others, and no update is left
    out for its norm: it is clipped.

    Raises ConfigError.

    Args:
        native_size: pixels, side of the data set's images; None: photos, which have no common size
    """
    dp_settings.check_settings(config)
    _check_output(config)
    formulas.check(config)
    trackers.check(config)
    spec = models.specify(
        config.model,
        (),
        image_size=config.data.image_size,
        native_size=native_size,
        channels=channels,
    )
    strategy = strategies.build(config.strategy)
    is_private = config.privacy.is_on
    usual: dict[str, object] = {} if is_private else {"train.epochs": config.train.passes}
    photos: dict[str, object] = {}
    if strategy.closed_form:  # goes over the images once, and a later round only knows more of them
        usual["run.deliver"] = "last"
    elif not is_private:
        usual["train.batch_size"] = config.train.batch
        photos |= PHOTOS
    own: dict[str, object] = {"data.image_size": spec.image_size}
    if config.model.name.startswith(HUB) and config.model.weights == "none":
        own["model.weights"] = models.PUBLISHED[0]
    if config.model.weights.startswith(HUB) or {config.model.weights, own.get("model.weights")} & {
        *models.PUBLISHED
    }:
        usual["model.norm"] = "frozen"
    if "absent_classes" in strategy.uses:
        usual["strategy.absent_classes"] = config.strategy.absent
        has_offsets = strategy.one_model and config.train.objective == "classes" and not is_private
        photos |= UNLIKE if has_offsets else {}
    task = task_in(config)
    if isinstance(task, SceneTask):
        own |= _of_scenes(task, config)
    if is_private and config.train.precision == "auto":
        own["train.precision"] = "float32"
    if config.privacy.protects_stores:
        usual["run.deliver"] = "last"
        photos.pop("strategy.absent_classes", None)
        own["screening.norm_factor"] = 0.0
    chosen = {key: value for key, value in flatten(config).items() if value != NOT_CHOSEN.get(key)}
    return resolve(usual, photos if native_size is None else {}, chosen, own)


def prepare(config: RunConfig, classes: tuple[str, ...], channels: int) -> InitialState:
    """Build the initial model of a settled configuration, for a run that has no identity yet.

    Raises ConfigError or DataError if anything is wrong with model, weights or strategy.
    """
    dp_settings.check_settings(config)
    strategies.check(config)
    strategies.check_compression(config)
    formulas.check(config, len(classes))
    _check_origin(config)
    _check_objective(config)
    config = resolve(flatten(config), {"data.classes": list(classes)})
    spec = models.specify(
        config.model,
        classes,
        image_size=config.data.image_size,
        native_size=None,
        channels=channels,
    )
    saved = saved_model.read(Path(config.model.resume_from)) if config.model.resume_from else None
    if saved:
        expand_head.check_expandable(saved, spec)
        spec = replace(spec, mean=saved.spec.mean, std=saved.spec.std)
    weights = models.initial_weights(config.model)
    network = Network(spec, torch.device("cpu"), weights=weights, seed=config.run.seed)
    check_privacy(network, config)
    origin = take_over(network, saved) if saved else None
    strategy = strategies.build(config.strategy, network.layout)
    _check_personal(config, strategy.personal_tensors())
    refusals.check(config, strategy, network.layout)
    secure_sums.check(config, network.layout)
    plan = Plan("", config, spec, network.frozen())
    params = network.vector.detach().clone()
    about = {"source": weights.source, "sha256": weights.sha256} if weights else None
    return InitialState(plan, params, network.layout, origin, about)


def _check_origin(config: RunConfig) -> None:
    """Check that a frozen part has learned before and that a rate has something to train."""
    model = config.model
    rate = config.train.backbone_lr
    if model.freeze != "none" and model.weights == "none" and not model.resume_from:
        raise ConfigError(
            f"Setting model.freeze got {model.freeze!r} with model.weights none: a backbone that"
            " never learned anything would be kept as it is; give model.weights or"
            " model.resume_from, or leave model.freeze out."
        )
    if model.norm == "frozen" and model.weights == "none" and not model.resume_from:
        raise ConfigError(
            "Setting model.norm got 'frozen' with model.weights none: the norms have no statistics"
            " to keep; give model.weights or model.resume_from, or leave model.norm out."
        )
    if model.freeze == "backbone" and rate != 1:
        raise ConfigError(
            f"Setting train.backbone_lr got {rate} with model.freeze backbone, which leaves nothing"
            " of the backbone to train; leave one of them out."
        )


def _check_personal(config: RunConfig, names: tuple[str, ...]) -> None:
    """Check that a model with personal layers can be judged at the stores.

    Raises ConfigError if not.
    """
    if names and not config.evaluation.stores:
        raise ConfigError(
            f"Setting evaluation.stores got False with strategy {config.strategy.name}, which keeps"
            f" {names[0]} and {len(names) - 1} tensors more at the stores: only they can judge the"
            " model; leave evaluation.stores out."
        )


def _check_output(config: RunConfig) -> None:
    """Check that the network's result is of the kind that `train.objective` needs.

    Raises ConfigError if not.
    """
    output = models.output_of(config.model.name)
    wanted = TASKS[config.train.objective].output
    if output != wanted:
        kinds = {name: kind for name, (*_, kind) in models.SCENES.items()}
        kinds |= models.TORCHVISION_SCENES
        fitting = ", ".join(name for name, kind in kinds.items() if kind == wanted)
        raise ConfigError(
            f"Setting train.objective got {config.train.objective} with model {config.model.name},"
            f" which tells {output}; choose a model that tells {wanted}"
            f"{f', for example {fitting}' if fitting else ''}, or set train.objective={output}."
        )


def _of_scenes(task: SceneTask, config: RunConfig) -> dict[str, object]:
    """Return the settings that a task on scenes decides: its metrics, and nothing about classes."""
    evaluation = config.evaluation
    metrics = tuple(dict.fromkeys([*formulas.always(task.name), *evaluation.metrics]))
    own: dict[str, object] = {"evaluation.metrics": list(metrics)}
    if evaluation.metric == "accuracy":
        own["evaluation.metric"] = task.metric
    if config.screening.detect == "auto":
        own["screening.detect"] = "off"  # it looks at the classes of the server's photos
    return own


def _check_objective(config: RunConfig) -> None:
    """Check that all settings go with `train.objective`.

    Raises ConfigError for one that does not.
    """
    refused = task_in(config).refused(config)
    if wrong := [key for key, is_set in refused.items() if is_set]:
        raise ConfigError(
            f"Setting train.objective got {config.train.objective}, which with model"
            f" {config.model.name} does not go with {wrong[0]}; leave one of them out."
        )
